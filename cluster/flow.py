"""How a job moves from new to finished as answers come in. Pure but for the jobs it changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from cluster.commits import WHOLE_SOURCE
from cluster.dataset import Dataset
from cluster.jobs import Job, missing_ops
from cluster.planning import OpsPlan


class Flow:
    """Where every job of a run stands.

    Attributes:
        open: jobs whose shards may be worked on.
        to_merge: jobs of several shards whose current stage is complete but for the merge.
        finished: jobs that wait for a commit.
    """

    def __init__(self, dataset: Dataset, plan: OpsPlan, retry_failed: bool) -> None:
        self.open: deque[Job] = deque()
        self.to_merge: deque[Job] = deque()
        self.finished: list[Job] = []
        self._dataset = dataset
        self._plan = plan
        self._retry_failed = retry_failed
        self._by_content: dict[str, Job] = {}

    def clear(self) -> None:
        """Forgets everything on the way; the caller resets the jobs."""
        self.open.clear()
        self.to_merge.clear()
        self.finished.clear()
        self._by_content.clear()

    def failed(self, job: Job, failure: Mapping[str, Any]) -> None:
        """A task on this source gave nothing."""
        job.fail(failure)
        job.waiting = []
        self._go_on(job)

    def opened(self, job: Job, done: Mapping[str, Any]) -> None:
        """The file was hashed and indexed, or at least hashed."""
        job.source_id = done["source_id"]
        first = self._by_content.setdefault(job.source_id, job)
        if "failed" in done:
            job.fail(done["failed"])
            self.finish(job)
            return
        job.duration_seconds = done["duration_seconds"]
        job.shards = done["shards"]
        job.todo = missing_ops(job, self._plan, self._dataset.state, self._retry_failed)
        if "media" in self._plan.ops and "media" not in job.todo:
            job.todo.insert(0, "media")  # the file is new or changed, so its row is
        if "media" in job.todo:
            job.rows["media"] = 1
        if first is not job and first.state != "committed":
            # The same bytes under another name: the first does the work, this one adds its row of `media`.
            job.todo = [op for op in job.todo if op == "media"]
            if first.state in ("opening", "open", "new"):
                first.duplicates.append(job)
                job.state = "open"
                return
        job.stages = [
            ops
            for stage in self._plan.stages()
            if (ops := [op for op in stage if op in job.todo and op != "media"])
        ]
        for problem, reads in ((done["picture_problem"], "frames signals"), (done["sound_problem"], "audio")):
            if problem:
                self._give_up_track(job, problem, reads.split())
        if not job.stages:
            self.finish(job)
            return
        job.state = "open"
        job.begin_stage()
        self.open.append(job)

    def shard_done(self, job: Job, done: Mapping[str, Any]) -> None:
        """One shard of the current stage is done."""
        self._take(job, done)
        if done["shortfall"] and not any(f.operation == WHOLE_SOURCE for f in job.failures):
            job.fail(
                {
                    "status": "partial",
                    "error": "CorruptError",
                    "message": done["shortfall"],
                    "transient": False,
                }
            )
        self._go_on(job)

    def merged(self, job: Job, done: Mapping[str, Any]) -> None:
        """The shards of the current stage were merged."""
        self._take(job, done)
        self._end_stage(job)

    def finish(self, job: Job) -> None:
        """Nothing is left to do with it but to commit."""
        job.state = "finished"
        if job.status not in ("ok", "partial"):
            job.rows = {}
        self.finished.append(job)
        for other in job.duplicates:
            other.failures = [f for f in job.failures if f.operation == WHOLE_SOURCE]
            self.finish(other)
        job.duplicates = []

    def _give_up_track(self, job: Job, problem: str, reads: list[str]) -> None:
        """A track that cannot be decoded fails the operations that read it, not the others."""
        for stage in job.stages:
            for op in [op for op in stage if self._plan.ops[op].reads.value in reads]:
                stage.remove(op)
                job.fail(
                    {
                        "status": "unsupported",
                        "error": "UnsupportedError",
                        "message": problem,
                        "transient": False,
                    },
                    op,
                )
        job.stages = [stage for stage in job.stages if stage]

    def _take(self, job: Job, done: Mapping[str, Any]) -> None:
        job.rows.update(done["rows"])
        for op, (error, message) in done["failures"].items():
            if not any(failure.operation == op for failure in job.failures):
                job.fail({"status": "failed", "error": error, "message": message, "transient": False}, op)

    def _go_on(self, job: Job) -> None:
        if job.running or job.waiting:
            return
        if job.status not in ("ok", "partial"):
            self.finish(job)
        elif len(job.shards) > 1:
            self.to_merge.append(job)
        else:
            self._end_stage(job)

    def _end_stage(self, job: Job) -> None:
        job.stages.pop(0)
        if job.stages:
            job.begin_stage()
            self.open.append(job)
        else:
            self.finish(job)
