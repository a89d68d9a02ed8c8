"""Merging the shards of divided sources on a Ray cluster: a task for each source and stage."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
import ray
import ray.exceptions

from framemill.actors.limits import credible_seconds
from framemill.cluster.engines.ray.messages import ActorConfig, MergeResult
from framemill.cluster.engines.ray.metrics import ActorMetrics
from framemill.cluster.engines.ray.opening import ending_late
from framemill.cluster.engines.ray.placing import TaskRoom
from framemill.cluster.engines.run import allowed_seconds
from framemill.cluster.machine import take_gpus
from framemill.cluster.results.storage import name_root
from framemill.cluster.run.failures import describe_failure
from framemill.cluster.run.jobs import Job
from framemill.cluster.run.messages import Failure, Merge, Merged, Write
from framemill.cluster.run.part_writer import PartWriter, without
from framemill.cluster.run.sandbox import enter_shared
from framemill.cluster.run.shard_runner import ShardRunner
from framemill.errors import InvariantError, LimitError

# Nodes go, too: a merge is blamed for its worker's end only when that came so often.
DEATHS = 3


class Merges:
    """Merges that wait for their turn or are at work.

    Args:
        room: where they run. coordinator: handle of the run's `Coordinator`.
    """

    def __init__(self, config: ActorConfig, coordinator: Any, room: TaskRoom) -> None:
        self._config = config
        self._coordinator = coordinator
        self._room = room
        self._waiting: deque[tuple[Job, Merge, float]] = deque()
        self._jobs: dict[Any, Job] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._jobs)

    def start(self, job: Job, request: Merge, gpus: float) -> None:
        """Asks for one; see `merge_source`.

        Args:
            gpus: share of GPUs that it holds.
        """
        self._waiting.append((job, request, gpus))
        self._start_next()

    def _start_next(self) -> None:
        while self._waiting and len(self._jobs) < self._room.most:
            job, request, gpus = self._waiting.popleft()
            config = msgspec.structs.replace(self._config, gpus=gpus)
            merge = merge_source.options(**self._room.options, scheduling_strategy="SPREAD", num_gpus=gpus)
            seconds = credible_seconds(job.duration_seconds, job.file.num_bytes)
            self._jobs[merge.remote(config, request, seconds, self._coordinator)] = job

    def take(self, timeout_seconds: float) -> list[tuple[Job, MergeResult]]:
        """What `merge_source` gave, waiting at most so long for the first."""
        taken: list[tuple[Job, MergeResult]] = []
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
                taken.append((job, MergeResult(failed=_died())))
        self._start_next()
        return taken

    def cancel(self) -> None:
        """Ends all of them."""
        for merge in self._jobs:
            ray.cancel(merge, force=True)


# One more execution than it may die of: that one only tells.
@ray.remote(max_retries=DEATHS)
def merge_source(config: ActorConfig, request: Merge, seconds: float, coordinator: Any) -> MergeResult:
    """Merges the shards of one source for one stage, and writes the parts.

    Args:
        seconds: length of the media. coordinator: handle of the run's `Coordinator`.
    """
    take_gpus(config.gpus)
    enter_shared(config.worker.sandbox)
    task_id = f"merge {','.join(request.ops)} {request.uri}"
    allowed = allowed_seconds(config.deadline_seconds, config.deadline_factor, seconds)
    # A worker that runs out of memory is replaced without end: Ray counts no such deaths.
    if ray.get(coordinator.start.remote(task_id, "", allowed)) >= DEATHS:
        ray.get(coordinator.finish.remote(task_id))
        return MergeResult(failed=_died())
    try:
        with ending_late(allowed):
            return _merge(config, request)
    except Exception as error:
        return MergeResult(failed=describe_failure(error))
    finally:
        ray.get(coordinator.finish.remote(task_id))


def _merge(config: ActorConfig, request: Merge) -> MergeResult:
    runner = ShardRunner(config.worker)
    merged = runner.merge(request)
    ActorMetrics(config.worker.run_id, "").made(merged.rows)
    writer = PartWriter(name_root(config.worker.root), config.worker.run_id, config.worker.keys)
    write = Write(tables={op: (request.source_id,) for op in merged.rows})
    written = writer.write(write, runner.finished, runner.sources.describe)
    if written.refused:
        refused = {each.operation: (InvariantError.__name__, each.message) for each in written.refused}
        merged = Merged(
            rows={op: count for op, count in merged.rows.items() if op not in refused},
            failures={**merged.failures, **refused},
            traces=(*merged.traces, *(each.trace for each in written.refused)),
        )
        written = writer.write(without(write, written.refused), runner.finished, runner.sources.describe)
    return MergeResult(merged=merged, parts=written.parts)


def _died() -> Failure:
    why = "quarantined: it ended the worker process that merged its shards, or took too long, again and again"
    return msgspec.structs.replace(describe_failure(LimitError(why)), status="quarantined")
