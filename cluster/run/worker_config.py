"""What a plan means for whoever works on shards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from framemill.cluster.machine import usable_cores, worker_memory_bytes
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.run.messages import Sandbox, WorkerConfig
from framemill.cluster.run.planning import OpsPlan
from framemill.cluster.run.precision import device_precision


def worker_config(
    request: ExtractRequest,
    plan: OpsPlan,
    dataset: Dataset,
    run_id: str,
    sandbox: Sandbox,
    in_flight: int = 0,
    wanted: Iterable[str] | None = None,
) -> WorkerConfig:
    """The configuration of the workers of a run.

    Args:
        sandbox: as `sandbox_plan` makes it.
        in_flight: shards worked on at once; 0 for as many as there are threads.
        wanted: operations that have something to compute; None for all of the plan.
    """
    threads = request.threads or usable_cores()
    return WorkerConfig(
        root=str(dataset.root),
        run_id=run_id,
        keys={name: op.content_key for name, op in plan.ops.items()},
        options={name: dict(op.options) for name, op in plan.ops.items()},
        plugins=plan.plugins,
        wanted=tuple(sorted(plan.ops if wanted is None else wanted)),
        after={name: op.after for name, op in plan.ops.items()},
        shard_seconds=dataset.constants["shard_seconds"],
        models=request.models,
        sampling=request.sample,
        tracks=(request.video_track, request.audio_track),
        threads=threads,
        in_flight=in_flight or threads,
        require_provider=request.require_provider,
        precision=device_precision(request),
        memory_bytes=request.memory_bytes or worker_memory_bytes(),
        profile=str(Path(request.profile).absolute()) if request.profile else "",
        sandbox=sandbox,
    )
