"""Merging the shards of divided sources on a Ray cluster: a task for each source and stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
import ray.exceptions

from framemill.cluster.engines.ray.metrics import ActorMetrics
from framemill.cluster.engines.ray.pools import TASK_CPUS
from framemill.cluster.engines.ray.tasks import NOTHING_ELSE, allowed_seconds, ending_late
from framemill.cluster.machine import hide_gpus
from framemill.cluster.run.jobs import Job
from framemill.cluster.run.worker import Worker, describe_failure
from framemill.errors import LimitError
from framemill.ops import load_op
from framemill.ops.operation import Reads

# Nodes go, too: a merge is blamed for its worker's end only when that came so often.
DEATHS = 3


class Merges:
    """Merges that wait for room or are at work.

    Args:
        config: as for `framemill.cluster.run.worker.Worker`, with `deadline_seconds` and `deadline_factor`.
        coordinator: handle of the run's `Coordinator`.
    """

    def __init__(self, config: Mapping[str, Any], coordinator: Any) -> None:
        self._config = config
        self._coordinator = coordinator
        self._jobs: dict[Any, Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def start(self, job: Job, request: Mapping[str, Any]) -> None:
        """Asks for one; see `merge_source`."""
        merge = merge_source.options(num_gpus=request["gpus"])
        self._jobs[merge.remote(self._config, request, self._coordinator)] = job

    def take(self, timeout_seconds: float) -> list[tuple[Job, dict[str, Any]]]:
        """What `merge_source` gave, waiting at most so long for the first."""
        taken: list[tuple[Job, dict[str, Any]]] = []
        while self._jobs:
            left = 0.0 if taken else timeout_seconds
            ready, _ = ray.wait(list(self._jobs), num_returns=1, timeout=left)
            if not ready:
                break
            job = self._jobs.pop(ready[0])
            try:
                taken.append((job, ray.get(ready[0])))
            except (
                ray.exceptions.WorkerCrashedError,
                ray.exceptions.NodeDiedError,
                ray.exceptions.OutOfMemoryError,
            ):
                taken.append((job, {"failed": _died()}))
        return taken

    def cancel(self) -> None:
        """Ends all of them."""
        for merge in self._jobs:
            ray.cancel(merge, force=True)


# One more execution than it may die of: that one only tells.
@ray.remote(num_cpus=TASK_CPUS, max_retries=DEATHS)
def merge_source(config: Mapping[str, Any], request: Mapping[str, Any], coordinator: Any) -> dict[str, Any]:
    """Merges the shards of one source for one stage, and writes the parts.

    Args:
        request: as for `Worker.do_merge`, with `uri`, `path` and `earlier`: rows that earlier stages made;
            `gpus`, the share of GPUs that this holds; and `seconds`, the length of the media.
        coordinator: handle of the run's `Coordinator`.

    Returns:
        As `Worker.do_merge`, with `parts`; or `failed`.
    """
    if not request["gpus"]:
        hide_gpus()
    task_id = f"merge {','.join(request['ops'])} {request['uri']}"
    allowed = allowed_seconds(config, request["seconds"])
    # A worker that runs out of memory is replaced without end: Ray counts no such deaths.
    if ray.get(coordinator.start.remote(task_id, "", allowed)) >= DEATHS:
        ray.get(coordinator.finish.remote(task_id))
        return {"failed": _died()}
    try:
        with ending_late(allowed):
            return _merge(config, request)
    except Exception as error:
        return {"failed": describe_failure(error)}
    finally:
        ray.get(coordinator.finish.remote(task_id))


def _merge(config: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    worker = Worker(config)
    if any(load_op(op).reads is Reads.TABLES for op in request["ops"]):
        worker.index(request["uri"], request["path"])
    done = worker.do_merge(request)
    ActorMetrics(config["run_id"], "").made(done["rows"])
    tables = {op: [request["source_id"]] for op in done["rows"]}
    return {**done, "parts": worker.do_write({"tables": tables, **NOTHING_ELSE})["parts"]}


def _died() -> dict[str, Any]:
    why = "quarantined: it ended the worker process that merged its shards, or took too long, again and again"
    return {**describe_failure(LimitError(why)), "status": "quarantined"}
