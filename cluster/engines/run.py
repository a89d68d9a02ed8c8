"""What runs on all engines share: the way of jobs to commits, merges, interrupts, and what is given up.

An engine's own run places work and hands over what came back; when rows are committed, and what becomes of
what failed, is decided here.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NoReturn

from framemill.cluster.engines.base import Setup
from framemill.cluster.engines.interrupts import Ended, noticing_interrupts
from framemill.cluster.results import layout
from framemill.cluster.results.commits import WHOLE_SOURCE, Part, Refused
from framemill.cluster.results.storage import remove_tree
from framemill.cluster.run.committing import PendingCommit, PendingRun
from framemill.cluster.run.failures import error_from, job_failure
from framemill.cluster.run.job_states import JobStates
from framemill.cluster.run.jobs import Job, JobFailure
from framemill.cluster.run.messages import Earlier, Failure, Merge
from framemill.cluster.run.progress import Outcome, Progress
from framemill.cluster.run.work import Work
from framemill.errors import FramemillError

# Finished sources wait this long for others, so that one part and one commit serve many.
COMMIT_SECONDS = 2.0
TICK_SECONDS = 0.1
# A shard may take this long, plus `deadline_factor` times its duration.
DEADLINE_SECONDS = 120.0
# A terabyte an hour is the slowest storage that is waited for.
SLOWEST_BYTES_PER_SECOND = 3e8
# So many sources that nobody told of are given up together.
MOST_AT_ONCE = 10_000
# A source that ends its worker so often, alone, is quarantined.
DEATHS_ALONE = 2


def allowed_seconds(least_seconds: float, factor: float, media_seconds: float) -> float:
    """How long work on so much media may take; what else is at work slows it down no more than the factor."""
    return least_seconds + factor * media_seconds


class Run(ABC):
    """One run over some jobs: `run` is called once.

    Attributes:
        states: where every job stands. progress: what was done so far.
    """

    most_sources: ClassVar[int]  # of a commit

    def __init__(self, setup: Setup) -> None:
        self.request = setup.request
        self.reporter = setup.reporter
        self.dataset = setup.dataset
        self.plan = setup.plan
        self.jobs = setup.jobs
        self.config = setup.config
        self.states = JobStates(setup.dataset, setup.plan, setup.request.retry_failed)
        state, retry = setup.dataset.state, setup.request.retry_failed
        self._weights = Work(setup.plan, setup.jobs, state, retry, setup.jobs.groups)
        self.progress = Progress(
            setup.jobs, setup.jobs.num_cached, setup.started, self._weights, setup.jobs.tally
        )
        self._last_commit = 0.0
        self._ended_by = 0

    # --- what an engine is asked for -----------------------------------------------------------------

    @abstractmethod
    def start(self) -> None:
        """Called once, before anything else."""

    @abstractmethod
    def place(self) -> None:
        """Begins as much of what is open as there is room for."""

    @abstractmethod
    def is_idle(self) -> bool:
        """Whether nothing is at work, and nothing is left that `place` would begin."""

    @abstractmethod
    def take(self, timeout_seconds: float) -> None:
        """Hands over what came back, waiting at most so long for the first, and watches what is at work."""

    @abstractmethod
    def write(self, pending: PendingCommit | PendingRun) -> None:
        """Has written what a commit needs, and calls `commit` with the parts, at once or from `take`."""

    def is_writing(self) -> bool:
        """Whether a `write` is under way."""
        return False

    def is_ready_to_commit(self, job: Job, is_last: bool) -> bool:
        """Whether a finished job may be committed already."""
        return True

    @abstractmethod
    def interrupt(self) -> None:
        """It is to end: gives up what is at work, but not what is being written."""

    def last_figures(self) -> None:  # noqa: B027  an engine may leave it out
        """All work is done: `progress` should get the last figures now."""

    def is_lost(self) -> bool:
        """Whether nothing can be written any more, as when a worker died after an interrupt."""
        return False

    def forget(self, job: Job) -> None:  # noqa: B027  an engine may leave it out
        """A job is committed: what is held for it can go."""

    @abstractmethod
    def close(self, has_failed: bool) -> None:
        """Ends everything; called once, in any case."""

    def explain(self, error: BaseException) -> BaseException:
        """What to raise for an error that ended the run."""
        return error

    # --- what an engine calls ------------------------------------------------------------------------

    def fail(self, job: Job, failure: Failure) -> None:
        """Records that a task on a source gave nothing.

        Raises:
            FramemillError: the failure concerns the run.
        """
        if failure.fatal:
            self.refuse(failure)
        if failure.trace:
            self.reporter.message(2, failure.trace)
        self.states.failed(job, job_failure(failure, WHOLE_SOURCE))

    def tell_traces(self, traces: Sequence[str]) -> None:
        """Passes on where operations failed, to who wants to know all."""
        for trace in traces:
            self.reporter.message(2, trace)

    def refuse(self, failure: Failure) -> NoReturn:
        """Raises what concerns the run and not one source."""
        if failure.trace:
            self.reporter.message(2, failure.trace)
        raise error_from(failure)

    def quarantine(self, job: Job, reason: str) -> None:
        """Gives up a source that ended its worker too often; `reason` goes on after "it"."""
        failure = JobFailure(WHOLE_SOURCE, "quarantined", "LimitError", f"quarantined: it {reason}")
        self.states.failed(job, failure)

    def merge_request(self, job: Job, earlier: Callable[[Job, Sequence[str]], Earlier]) -> Merge:
        """Asks for the merge of the current stage of a divided source."""
        failed = {failure.operation for failure in job.failures}
        ops = tuple(op for op in job.stages[0] if op not in failed)
        return Merge(
            uri=job.file.uri,
            path=job.file.path_bytes,
            source_id=job.source_id,
            ops=ops,
            num_shards=len(job.shards),
            earlier=earlier(job, ops),
            duration_seconds=job.duration_seconds,
        )

    def write_without(self, pending: PendingCommit | PendingRun, refused: Sequence[Refused]) -> None:
        """Has a commit written again, without rows that cannot be."""
        self.tell_traces([each.trace for each in refused])
        if not isinstance(pending, PendingCommit):
            raise FramemillError(f"the row of this run cannot be written: {refused[0].message}")
        self.write(pending.without(refused))

    def commit(self, pending: PendingCommit | PendingRun, parts: Sequence[Part]) -> None:
        """Commits what was written."""
        pending.commit(parts)
        self._last_commit = time.monotonic()
        self.states.leaving = frozenset()
        for job in pending.jobs:
            self.forget(job)
            if len(job.shards) > 1:
                remove_tree(layout.partials_folder(self.dataset.root, job.source_id))
        self.states.settle(pending.jobs)
        self._weights.settle(pending.jobs, self._last_commit)
        self.jobs.settle(pending.jobs, self.dataset)

    # --- the run itself ------------------------------------------------------------------------------

    def run(self, conclude: Callable[[Outcome], PendingRun]) -> Outcome:
        """Works until every job is committed or it is interrupted; `conclude` gives the last commit.

        Raises:
            FramemillError: the run cannot go on (a model, storage, the cluster); what is committed stays.
        """
        has_failed = True
        try:
            with noticing_interrupts(self._notice_interrupt):
                self.start()
                self._work()
                self.last_figures()
                self.progress.report(self.reporter)
                pending = conclude(self.progress.outcome)
                while not pending.is_committed and not self.is_lost():
                    self.write(pending)
                    self._work()
            has_failed = False
        except BaseException as error:
            explained = self.explain(error)
            if explained is error:
                raise
            raise explained from error
        finally:
            self.close(has_failed)
            if has_failed:
                # What was being written belongs to no commit: on a full disk it takes the space of others.
                with contextlib.suppress(FramemillError):
                    self.dataset.recover()
        return self.progress.outcome

    def _work(self) -> None:
        while True:
            if self._ended_by and not self.progress.outcome.interrupted:
                self.progress.outcome.ended_by = self._ended_by
                text = "interrupted: committing what is finished (Ctrl-C again stops at once)"
                self.reporter.message(0, text)
                self.interrupt()
            if not self.progress.outcome.interrupted:
                self.place()
            self._commit_finished(self.is_idle())
            if self.is_idle() and (self.progress.outcome.interrupted or not self._give_up_rest()):
                return
            self.take(TICK_SECONDS)
            self.progress.report(self.reporter)

    def _notice_interrupt(self, number: int) -> None:
        if self._ended_by:
            raise Ended(number)
        self._ended_by = number

    def _give_up_rest(self) -> bool:
        """Fails jobs of which nobody reported, as when another file that was to speak for one changed."""
        why = "no worker told what came of it, or of another file with the same content: run again"
        rest = [job for job in self.jobs if job.state in ("new", "open") and not job.is_duplicate]
        rest = rest or self.jobs.begin_left(MOST_AT_ONCE)
        for job in rest:
            failure = JobFailure(WHOLE_SOURCE, "failed", "FramemillError", why, transient=True)
            self.states.failed(job, failure)
        return bool(rest)

    def _commit_finished(self, is_idle: bool) -> None:
        if self.is_writing():
            return
        finished = self.states.finished
        ready = [job for job in finished if self.is_ready_to_commit(job, is_idle)][: self.most_sources]
        waited = time.monotonic() - self._last_commit
        # Who ends a run may kill it soon after: Ray's jobs within three seconds.
        is_due = is_idle or waited >= COMMIT_SECONDS or self.progress.outcome.interrupted
        if not ready or not (is_due or len(ready) >= self.most_sources):
            return
        taken = {id(job) for job in ready}
        self.states.finished = [job for job in finished if id(job) not in taken]
        # Rows of a content that other jobs of the run count on must stay.
        alive = {job.source_id for job in self.jobs if job.state != "committed"}
        pending = PendingCommit(self.dataset, self.plan, self.config.run_id, ready, alive)
        self.states.leaving = pending.leaving
        self.write(pending)
