"""How a job moves from new to finished as answers come in. Pure but for the jobs it changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from framemill.actors.shortfalls import Shortfall, update
from framemill.cluster.results.commits import OWNED_BY_URI, WHOLE_SOURCE, Part
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.run.failures import job_failure
from framemill.cluster.run.jobs import Job, JobFailure, earlier_parts, missing_ops
from framemill.cluster.run.lost_tracks import lost_ops
from framemill.cluster.run.messages import Failures, Merged, NumRows, Opened, ShardDone
from framemill.cluster.run.outcomes import Outcome, Outcomes, outcome_of
from framemill.ops import load_op
from framemill.ops.operation import BROKEN, describe_broken, runnable

if TYPE_CHECKING:
    from framemill.cluster.run.planning import OpsPlan


class JobStates:
    """Where every job of a run stands.

    Attributes:
        open: jobs whose shards may be worked on.
        to_merge: jobs of several shards whose current stage is complete but for the merge.
        finished: jobs that wait for a commit.
        leaving: content ids whose rows the commit in the making takes away.
    """

    def __init__(self, dataset: Dataset, plan: OpsPlan, retry_failed: bool) -> None:
        self.open: deque[Job] = deque()
        self.to_merge: deque[Job] = deque()
        self.finished: list[Job] = []
        self.leaving: frozenset[str] = frozenset()
        self._dataset = dataset
        self._plan = plan
        self._stages = plan.stages()
        self._retry_failed = retry_failed
        self._by_content: dict[str, Job] = {}  # the first of each, until it is committed
        self._outcomes = Outcomes()

    def clear(self) -> None:
        """Forgets everything on the way; the caller resets the jobs that are not committed."""
        self.open.clear()
        self.to_merge.clear()
        self.finished.clear()
        self.leaving = frozenset()
        self._by_content.clear()

    def settle(self, jobs: Sequence[Job]) -> None:
        """These are committed: what came of them is remembered by content alone."""
        for job in jobs:
            if job.source_id:
                self._outcomes.put(job)
                if self._by_content.get(job.source_id) is job:
                    del self._by_content[job.source_id]

    def forget(self, source_id: str) -> None:
        """The rows of a content are gone: another file that has it is computed anew."""
        self._by_content.pop(source_id, None)

    def failed(self, job: Job, failure: JobFailure) -> None:
        """A task on this source gave nothing."""
        job.fail(failure)
        job.waiting = []
        self._go_on(job)

    def opened(self, job: Job, done: Opened) -> None:
        """The file was hashed and indexed, or at least hashed."""
        job.source_id, job.version = done.source_id, done.version
        if done.failed is not None:
            job.fail(job_failure(done.failed, WHOLE_SOURCE))
            job.is_duplicate = job.source_id in self._by_content or job.source_id in self._outcomes
            self.finish(job)
            return
        job.duration_seconds, job.delivered = done.duration_seconds, {}
        job.stated_seconds = done.duration_seconds
        job.shards = done.shards
        job.todo = missing_ops(job, self._plan, self._dataset.state, self._retry_failed)
        if job.source_id in self.leaving:
            job.todo = list(self._plan.ops)
        record = self._dataset.state.sources.get(job.file.uri)
        is_known = record is not None and record.source_id == job.source_id
        if record is not None and is_known and "media" not in job.todo:
            # What an earlier run decoded knows better than what the file states.
            job.duration_seconds = record.duration_seconds or job.duration_seconds
        if "media" in self._plan.ops and "media" not in job.todo and not is_known:
            job.todo.insert(0, "media")
        if "media" in job.todo:
            job.rows["media"] = 1
        if (outcome := self._outcomes.get(job.source_id)) is not None:
            self._copy(job)
            self._copy_outcome(job, outcome)
            return
        first = self._by_content.setdefault(job.source_id, job)
        if first is not job:
            self._join(job, first)
            return
        if done.shortfall is not None:
            job.fail(_partial(done.shortfall))
        self._recall_partial(job, is_known)
        job.stages = [
            ops for stage in self._stages if (ops := [op for op in stage if op in job.todo and op != "media"])
        ]
        self._give_up_tracks(job, done)
        self._begin_stage(job)

    def shard_done(self, job: Job, done: ShardDone) -> None:
        """One shard of the current stage is done."""
        self._take(job, done.rows, done.failures)
        job.delivered[done.shard_index] = update(job.delivered.get(done.shard_index), done.delivered)
        job.duration_seconds = done.delivered.duration_seconds or job.duration_seconds
        if done.decoder:
            job.decoders.add(done.decoder)
        if done.shortfall:
            job.shortfalls[done.shard_index] = done.shortfall
        self._go_on(job)

    def merged(self, job: Job, done: Merged) -> None:
        """The shards of the current stage were merged."""
        self._take(job, done.rows, done.failures)
        self._end_stage(job)

    def earlier(self, job: Job, ops: Sequence[str]) -> dict[str, tuple[Part, ...]]:
        """Where the dataset holds rows of this source that the operations need and this run does not make."""
        needs = {need for op in ops for need in self._plan.ops[op].key["after"]}
        return {
            need: ()  # what this run makes of it, or nothing: never what it replaces
            if need in job.todo
            else earlier_parts(self._dataset.state, self._plan.ops[need], job.source_id)
            for need in sorted(needs - set(ops))
        }

    def finish(self, job: Job) -> None:
        """Nothing is left to do with it but to commit."""
        job.state = "finished"
        if not job.is_usable:
            job.rows = {}
        elif "media" in self._plan.ops and "media" not in job.todo:
            # What other operations saw may change what its row says.
            entry = self._dataset.state.entries.get(("media", job.file.uri))
            record = self._dataset.state.sources.get(job.file.uri)
            is_as_told = record is not None and record.duration_seconds == job.duration_seconds
            if entry is None or entry.status != job.status or not is_as_told:
                job.todo.insert(0, "media")
                job.rows["media"] = 1
        self.finished.append(job)
        if job.source_id and job.source_id not in self._outcomes:
            self._by_content.setdefault(job.source_id, job)
        duplicates, job.duplicates = job.duplicates, []
        for other in duplicates:
            self._copy_outcome(other, outcome_of(job))

    def _copy(self, job: Job) -> None:
        """The same bytes under another name: another does the work."""
        job.is_duplicate = True
        job.todo = [op for op in job.todo if op in OWNED_BY_URI]

    def _join(self, job: Job, first: Job) -> None:
        self._copy(job)
        if first.state in ("finished", "committed"):
            self._copy_outcome(job, outcome_of(first))
        else:
            first.duplicates.append(job)
            job.state = "open"

    def _copy_outcome(self, job: Job, outcome: Outcome) -> None:
        """What came of the first holds for its duplicate."""
        job.failures = list(outcome.failures)
        job.keeps_partial = outcome.keeps_partial
        job.delivered = {0: outcome.delivered}
        if outcome.duration_seconds is not None:
            job.duration_seconds = outcome.duration_seconds
        self.finish(job)

    def _recall_partial(self, job: Job, is_known: bool) -> None:
        """Rows of earlier runs that are incomplete and stay make the source partial, whatever is added."""
        entries = self._dataset.state.entries
        whole = entries.get((WHOLE_SOURCE, job.source_id))
        if whole is None or whole.status != "partial" or job.source_id in self.leaving:
            return
        others = [op for op in self._dataset.state.keys if op not in job.todo]
        held = [entries.get((op, job.source_id)) for op in others]
        job.keeps_partial = any(entry is not None and entry.status == "partial" for entry in held)
        if job.keeps_partial and not is_known:
            message = "incomplete, as found before in another file with the same content"
            job.fail(JobFailure(WHOLE_SOURCE, "partial", "CorruptError", message, kind=whole.kind))

    def _give_up_tracks(self, job: Job, done: Opened) -> None:
        """A track that cannot be decoded fails the operations that read it, not the others."""
        lost = lost_ops(done, {op: self._plan.ops[op].options for stage in job.stages for op in stage})
        job.stages = [[op for op in stage if op not in lost] for stage in job.stages]
        for op, problem in lost.items():
            job.fail(JobFailure(op, "unsupported", "UnsupportedError", problem))

    def _take(self, job: Job, rows: NumRows, failures: Failures) -> None:
        job.rows.update(rows)
        for op, (error, message) in failures.items():
            job.fail(JobFailure(op, "failed", error, message))

    def _go_on(self, job: Job) -> None:
        if job.running or job.waiting:
            return
        if job.shortfalls:
            # Of the earliest shard, so that it does not depend on which one came first.
            job.fail(_partial(job.shortfalls[min(job.shortfalls)]))
        if not job.is_usable:
            self.finish(job)
        elif len(job.shards) > 1:
            self.to_merge.append(job)
        else:
            self._end_stage(job)

    def _end_stage(self, job: Job) -> None:
        job.stages.pop(0)
        self._begin_stage(job)

    def _begin_stage(self, job: Job) -> None:
        """Starts the next stage in which an operation is left, or else finishes."""
        while job.stages:
            failed = self._failed_needs(job, job.stages[0])
            needs = {op: load_op(op).required(self._plan.ops[op].key["after"]) for op in job.stages[0]}
            job.stages[0], broken = runnable(needs, failed)
            for op, need in broken.items():
                status, transient = failed[op] = failed[need]
                job.fail(JobFailure(op, status, BROKEN, describe_broken(need), transient))
            if job.stages[0]:
                job.state = "open"
                job.waiting = list(range(len(job.shards)))
                self.open.append(job)
                return
            job.stages.pop(0)
        self.finish(job)

    def _failed_needs(self, job: Job, ops: Sequence[str]) -> dict[str, tuple[str, bool]]:
        """What these operations come after and has no rows, now or from an earlier run: status, transient."""
        now = {failure.operation: (failure.status, failure.transient) for failure in job.failures}
        found: dict[str, tuple[str, bool]] = {}
        for need in {need for op in ops for need in self._plan.ops[op].key["after"]}:
            entry = self._dataset.state.entries.get((need, job.source_id))
            status = now.get(need, ("ok", False))
            if need not in job.todo and entry is not None:
                status = (entry.status, entry.transient)
            if status[0] not in ("ok", "partial"):
                found[need] = status
        return found


def _partial(shortfall: Shortfall) -> JobFailure:
    return JobFailure(WHOLE_SOURCE, "partial", "CorruptError", shortfall.message, kind=shortfall.kind)
