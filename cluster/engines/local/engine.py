"""The local engine: a small supervisor, and one worker process that does the work.

The supervisor plans, watches and commits; it touches no media and no arrays. When the worker dies, what was
at work runs alone next; a source that kills its worker twice on its own is quarantined.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framemill.cluster.engines.local.process import WorkerProcess, describe_death
from framemill.cluster.request import ExtractRequest, Reporter
from framemill.cluster.results import layout
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.marks import InFlightMarks
from framemill.cluster.results.storage import remove_tree
from framemill.cluster.run.committing import PendingCommit, PendingRun
from framemill.cluster.run.interrupts import noticing_interrupts
from framemill.cluster.run.job_states import JobStates, error_from, failure_from
from framemill.cluster.run.jobs import Failure, Job
from framemill.cluster.run.progress import Outcome, Progress
from framemill.errors import FramemillError, SetupError

if TYPE_CHECKING:
    from framemill.cluster.run.planning import OpsPlan

# Finished sources wait this long for others, so that one part and one commit serve many.
COMMIT_SECONDS = 2.0
COMMIT_SOURCES = 256
# A shard may take this long, plus `deadline_factor` times its duration.
DEADLINE_SECONDS = 120.0
WRITE_SECONDS = 3600.0
REPORT_SECONDS = 10.0
DEATHS_ALONE = 2
# A worker that dies with no source to blame, at its start or while it writes, is replaced so many times.
DEATHS_BLAMELESS = 3
TICK_SECONDS = 0.1
# A terabyte an hour is the slowest storage that is waited for.
SLOWEST_BYTES_PER_SECOND = 3e8


@dataclass(slots=True)
class _Task:
    kind: str
    job: Job | None
    started: float
    deadline: float
    pending: PendingCommit | PendingRun | None = None


class LocalRun:
    """One run over some jobs. `worker` may have been started ahead, unconfigured."""

    def __init__(
        self,
        request: ExtractRequest,
        reporter: Reporter,
        dataset: Dataset,
        plan: OpsPlan,
        jobs: list[Job],
        config: Mapping[str, Any],
        worker: WorkerProcess,
        started: float,
        num_cached: int,
    ) -> None:
        self.request = request
        self.reporter = reporter
        self.dataset = dataset
        self.plan = plan
        self.jobs = jobs
        self.config = config
        self.worker = worker
        self.states = JobStates(dataset, plan, request.retry_failed)
        self.progress = Progress(jobs, num_cached, started)
        # The longest first: the last source to finish should be a short one.
        self._new = deque(sorted(jobs, key=lambda job: -job.file.num_bytes))
        self._suspects: deque[Job] = deque()
        self._alone: Job | None = None
        self._marks = InFlightMarks(dataset.root)
        self._tasks: dict[int, _Task] = {}
        self._next_id = 0
        self._last_commit = 0.0
        self._is_interrupted = False
        self._blame: Job | None = None
        self._blame_reason = ""
        self._blameless_deaths = 0
        self._is_ready = False
        self._is_dead = False

    def run(self, conclude: Callable[[Outcome], PendingRun]) -> Outcome:
        """Works until every job is committed or it is interrupted; `conclude` tells the last commit.

        Raises:
            FramemillError: the run cannot go on (a model or the storage); what was committed stays.
        """
        self._suspect_marked()
        self.worker.configure(self.config)
        try:
            with noticing_interrupts(self._notice):
                self._loop()
                self._ask_report()
                self.progress.tell(self.reporter)
                self._conclude(conclude(self.progress.outcome))
        except BaseException:
            self.worker.kill()
            self.worker.close()
            # What was being written belongs to no commit: on a full disk it takes the space of others.
            with contextlib.suppress(FramemillError):
                self.dataset.recover()
            raise
        finally:
            self._marks.clear()
            self.worker.close()
        return self.progress.outcome

    def _notice(self) -> None:
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True

    def _loop(self) -> None:
        while True:
            if self._is_interrupted and not self.progress.outcome.interrupted:
                self._stop()
            self._schedule()
            if not self._tasks:
                return
            with contextlib.suppress(queue.Empty):
                self._handle(self.worker.messages.get(timeout=TICK_SECONDS))
            self._watch()
            self.progress.tell(self.reporter)

    def _stop(self) -> None:
        """Gives up what is at work; what is finished is still committed."""
        self.progress.outcome.interrupted = True
        self.reporter.message(0, "interrupted: committing what is finished (Ctrl-C again stops at once)")
        self._tasks = {number: task for number, task in self._tasks.items() if task.kind == "write"}

    # --- what to do next ---------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self.progress.outcome.interrupted:
            self._schedule_work()
        if self.states.finished and not any(task.kind == "write" for task in self._tasks.values()):
            is_idle = not self._tasks
            waited = time.monotonic() - self._last_commit
            if is_idle or waited >= COMMIT_SECONDS or len(self.states.finished) >= COMMIT_SOURCES:
                self._write()

    def _schedule_work(self) -> None:
        if self._alone is not None and self._alone.state in ("finished", "committed"):
            self._alone = None
        if self._suspects and self._alone is None and not any(t.job for t in self._tasks.values()):
            self._alone = self._suspects.popleft()
            self._start_open(self._alone)
        while self.states.to_merge:
            self._start_merge(self.states.to_merge.popleft())
        room = self.config["in_flight"]
        shards = sum(task.kind == "shard" for task in self._tasks.values())
        while self.states.open and shards < room:
            job = self.states.open[0]
            if not job.waiting:
                self.states.open.popleft()
                continue
            self._start_shard(job, job.waiting.pop(0))
            shards += 1
        if self._alone is not None or self._suspects or len(self.states.finished) >= 2 * COMMIT_SOURCES:
            return
        opening = sum(task.kind == "open" for task in self._tasks.values())
        waiting = len(self.states.open)
        while self._new and opening + waiting < room + 1:
            self._start_open(self._new.popleft())
            opening += 1

    def _send(self, kind: str, job: Job | None, seconds: float, message: Mapping[str, Any]) -> _Task:
        self._next_id += 1
        now = time.monotonic()
        task = _Task(kind, job, now, now + seconds)
        self._tasks[self._next_id] = task
        if job is not None:
            job.running += 1
            self._marks.write(t.job.file.uri for t in self._tasks.values() if t.job is not None)
        self.worker.send({"id": self._next_id, "do": kind, **message})
        return task

    def _allowed(self, seconds: float) -> float:
        return DEADLINE_SECONDS + self.request.deadline_factor * seconds

    def _start_open(self, job: Job) -> None:
        job.state = "opening"
        seconds = self._allowed(max(job.file.num_bytes, 0) / SLOWEST_BYTES_PER_SECOND)
        self._send("open", job, seconds, {"uri": job.file.uri, "path": job.file.path})

    def _start_shard(self, job: Job, shard_index: int) -> None:
        shard = job.shards[shard_index]
        ops = job.stages[0]
        waiting = sum(len(other.waiting) for other in self.states.open) + len(self._new)
        busy = sum(task.kind == "shard" for task in self._tasks.values())
        self._send(
            "shard",
            job,
            self._allowed(shard["seconds"]),
            {
                "uri": job.file.uri,
                "path": job.file.path,
                "source_id": job.source_id,
                "shard": shard,
                "shard_index": shard_index,
                "num_shards": len(job.shards),
                "ops": ops,
                "earlier": self.states.earlier(job, ops),
                # Alone, a file may use every core; beside others, one thread decodes best.
                "threads": max(1, self.config["threads"] // (1 + waiting + busy)),
            },
        )

    def _start_merge(self, job: Job) -> None:
        failed = {failure.operation for failure in job.failures}
        ops = [op for op in job.stages[0] if op not in failed]
        self._send(
            "merge",
            job,
            self._allowed(job.duration_seconds),
            {
                "uri": job.file.uri,
                "source_id": job.source_id,
                "ops": ops,
                "num_shards": len(job.shards),
                "earlier": self.states.earlier(job, ops),
            },
        )

    def _write(self) -> None:
        batch, self.states.finished = (
            self.states.finished[:COMMIT_SOURCES],
            self.states.finished[COMMIT_SOURCES:],
        )
        alive = {job.source_id for job in self.jobs if job.state != "committed"}
        pending = PendingCommit(self.dataset, self.plan, self.config["run_id"], batch, alive)
        self._send_write(pending)

    def _send_write(self, pending: PendingCommit | PendingRun) -> None:
        self.states.leaving = pending.leaving
        self._send("write", None, WRITE_SECONDS, pending.request).pending = pending

    # --- what came back ----------------------------------------------------------------------------

    def _handle(self, message: Mapping[str, Any]) -> None:
        if "died" in message:
            self._worker_died(message["died"])
        elif "ready" in message:
            self._is_ready = True
            now = time.monotonic()
            for waiting in self._tasks.values():  # they begin to be worked on now
                waiting.started, waiting.deadline = now, now + waiting.deadline - waiting.started
        elif "frames" in message:
            self.progress.note(message)
        elif (task := self._tasks.pop(message["id"], None)) is not None:
            if task.job is not None:
                task.job.running -= 1
            if "failed" in message:
                self._failed(task, message["failed"])
            elif task.pending is not None:
                self._commit(task.pending, message["done"]["parts"])
            elif task.job is not None:
                after = {
                    "open": self.states.opened,
                    "shard": self.states.shard_done,
                    "merge": self.states.merged,
                }
                after[task.kind](task.job, message["done"])

    def _failed(self, task: _Task, failure: Mapping[str, Any]) -> None:
        if failure["trace"]:
            self.reporter.message(2, failure["trace"])
        if failure["fatal"] or task.job is None:
            raise error_from(failure)
        self.states.failed(task.job, failure_from(failure))

    def _commit(self, pending: PendingCommit | PendingRun, parts: Sequence[Mapping[str, Any]]) -> None:
        pending.commit(parts)
        self._last_commit = time.monotonic()
        self._blameless_deaths = 0
        self.states.leaving = frozenset()
        for job in pending.jobs:
            self.worker.send({"id": 0, "do": "forget", "uri": job.file.uri})
            if len(job.shards) > 1:
                remove_tree(layout.partials_folder(self.dataset.root, job.source_id))

    def _conclude(self, pending: PendingRun) -> None:
        """A worker that dies over it is replaced, and too many of them end the run."""
        while not pending.is_committed and not self._is_dead:
            self._send_write(pending)
            self._loop()

    def _ask_report(self) -> None:
        """The last figures of the worker; one that cannot tell them any more costs no more than that."""
        if self._is_dead:
            return
        self._next_id += 1  # others may answer still, whom nobody waits for any more
        self.worker.send({"id": self._next_id, "do": "report"})
        deadline = time.monotonic() + REPORT_SECONDS
        with contextlib.suppress(queue.Empty):
            while (left := deadline - time.monotonic()) > 0:
                message = self.worker.messages.get(timeout=left)
                if "died" in message:
                    return self._worker_died(message["died"])
                if message.get("id") == self._next_id and "failed" in message:
                    raise FramemillError(message["failed"]["message"])
                if message.get("id") == self._next_id:
                    return self.progress.note(message["done"])

    # --- when things go wrong ----------------------------------------------------------------------

    def _watch(self) -> None:
        """Kills a worker that holds a shard for too long, or takes too much memory."""
        if self._blame_reason:
            return  # it is being killed
        now = time.monotonic()
        late = next((task for task in self._tasks.values() if now > task.deadline), None)
        if late is not None:
            allowed = f"{late.deadline - late.started:.0f} seconds"
            self._blame = late.job
            self._blame_reason = f"took longer than {allowed} (raise --deadline-factor if it may)"
            self.worker.kill()
        elif self._tasks and self.worker.memory_bytes() > self.config["memory_bytes"]:
            limit = f"{self.config['memory_bytes'] >> 20} MiB"
            self._blame_reason = f"took more than {limit} of memory (raise --memory if it may)"
            self.worker.kill()

    def _worker_died(self, code: int) -> None:
        """The worker is dead: finds out whom to suspect, and starts another."""
        words = self.worker.last_words() or "nothing"
        reason = self._blame_reason or f"ended its worker process ({describe_death(code)})"
        busy = {id(task.job): task.job for task in self._tasks.values() if task.job is not None}
        if not self._is_ready or not busy:
            self._blameless_deaths += 1
        # An exit code at the start is a broken installation; a signal may have been meant for anybody.
        if (not self._is_ready and code >= 0) or self._blameless_deaths >= DEATHS_BLAMELESS:
            raise SetupError(
                f"the worker process {reason} with no file to blame; run `framemill doctor`. It said: {words}"
            )
        self.reporter.message(1, f"a worker died ({reason}); starting another. It said: {words}")
        guilty = self._blame if self._blame is None or id(self._blame) in busy else None
        if guilty is None and len(busy) == 1 and self._is_ready:
            (guilty,) = busy.values()
        self._tasks.clear()
        self.progress.begin_worker()
        self._blame, self._blame_reason, self._is_ready = None, "", False
        if self.progress.outcome.interrupted:
            self.states.finished.clear()  # their rows died with the worker
            self._is_dead = True
            return
        self._start_over(reason, guilty, set(busy))
        self.dataset.recover()  # nobody writes now: what the dead one left hidden can go
        self.worker.close()
        self.worker = WorkerProcess()
        self.worker.configure(self.config)

    def _start_over(self, reason: str, guilty: Job | None, busy: set[int]) -> None:
        """Every job that is not committed begins again; those that were at work one at a time."""
        self.states.clear()
        self._new.clear()
        self._suspects.clear()
        self._alone = None
        quarantined = []
        for job in self.jobs:
            if job.state == "committed":
                continue
            job.reset()
            job.deaths += job is guilty
            job.is_suspect = job.is_suspect or id(job) in busy
            if job.deaths >= DEATHS_ALONE:
                message = f"quarantined: it {reason}, twice"
                job.fail(Failure("*", "quarantined", "LimitError", message))
                quarantined.append(job)
            else:
                (self._suspects if job.is_suspect else self._new).append(job)
        for job in quarantined:
            self.states.finish(job)

    def _suspect_marked(self) -> None:
        """What a killed run was working on runs alone first: it may be what killed it."""
        marked = self._marks.read()
        for job in [job for job in self._new if job.file.uri in marked]:
            self._new.remove(job)
            job.is_suspect = True
            self._suspects.append(job)
