"""A run on this machine: a small supervisor, and worker processes that do the work.

The supervisor plans, watches and commits; it touches no media and no arrays. When a worker dies, all begin
anew, and what it was working on runs alone; a source that kills its worker twice on its own is quarantined.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from framemill.actors.limits import credible_seconds
from framemill.cluster.engines.base import Setup
from framemill.cluster.engines.local.process import Died, WorkerProcess, describe_death
from framemill.cluster.engines.local.workers import Workers
from framemill.cluster.engines.run import (
    DEADLINE_SECONDS,
    DEATHS_ALONE,
    SLOWEST_BYTES_PER_SECOND,
    Run,
    allowed_seconds,
)
from framemill.cluster.results.marks import InFlightMarks
from framemill.cluster.run.committing import PendingCommit, PendingRun
from framemill.cluster.run.jobs import Job
from framemill.cluster.run.messages import (
    Answer,
    Figures,
    Forget,
    Merge,
    Merged,
    Opened,
    OpenSource,
    Preparing,
    Ready,
    Report,
    Request,
    RunShard,
    ShardDone,
    Write,
    Written,
)
from framemill.errors import FramemillError, SetupError

WRITE_SECONDS = 3600.0
REPORT_SECONDS = 10.0
# A worker may take so long from one step to the next of what it does before it is ready.
PREPARE_SECONDS = 3600.0
# While only long files wait, so many for each place are opened to find short ones.
MOST_WAITING = 2
# A worker that dies with no source to blame, at its start or while it writes, is replaced so many times.
DEATHS_BLAMELESS = 3


@dataclass(slots=True)
class _Sent:
    """A request that is not answered yet."""

    task: OpenSource | RunShard | Merge | Write | Report
    job: Job | None
    worker: WorkerProcess
    started: float
    deadline: float
    pending: PendingCommit | PendingRun | None = None


class LocalRun(Run):
    """A run through worker processes, which may have been started ahead and are not configured yet.

    A source belongs to the worker that opened it: its rows wait there for their commit, and one commit takes
    the sources of one worker. Only shards of a divided source go to any.
    """

    most_sources = 256

    def __init__(self, setup: Setup, workers: Sequence[WorkerProcess]) -> None:
        super().__init__(setup)
        self.workers = Workers(workers, setup.config)
        # The longest first: the last source to finish should be a short one.
        self._new = setup.jobs.by_size()
        self._suspects: deque[Job] = deque()
        self._alone: Job | None = None
        self._marks = InFlightMarks(setup.dataset.root)
        self._sent: dict[int, _Sent] = {}
        self._next_id = 0
        self._blame: Job | None = None
        self._blame_reason = ""
        self._blameless_deaths = 0
        self._is_dead = False

    def start(self) -> None:
        # What a killed run was working on runs alone first: it may be what killed it.
        marked = self._marks.read()
        for place in [place for place in self._new if self.jobs.file(place).uri in marked] if marked else ():
            self._new.remove(place)
            job = self.jobs.begin(place)
            job.is_suspect = True
            self._suspects.append(job)
        self.workers.configure()

    def close(self, has_failed: bool) -> None:
        if has_failed:
            self.workers.kill()
        self._marks.clear()
        self.workers.close()

    def is_idle(self) -> bool:
        return not self._sent

    def is_writing(self) -> bool:
        return any(isinstance(sent.task, Write) for sent in self._sent.values())

    def is_lost(self) -> bool:
        return self._is_dead

    def interrupt(self) -> None:
        self._sent = {number: sent for number, sent in self._sent.items() if isinstance(sent.task, Write)}

    def is_ready_to_commit(self, job: Job, is_last: bool) -> bool:
        """Rows lie with the worker that made them: a commit takes those of one, that of the first in line."""
        return self.workers.home(job) is self.workers.home(self.states.finished[0])

    # --- what to do next ---------------------------------------------------------------------------

    def place(self) -> None:
        if self._alone is not None and self._alone.state in ("finished", "committed"):
            self._alone = None
        if self._suspects and self._alone is None and not any(sent.job for sent in self._sent.values()):
            self._alone = self._suspects.popleft()
            self._start_open(self._alone)
        while self.states.to_merge:
            job = self.states.to_merge.popleft()
            request = self.merge_request(job, self.states.earlier)
            seconds = credible_seconds(job.duration_seconds, job.file.num_bytes)
            self._send(request, job, self._allowed(seconds), self.workers.home(job))
        room = self.workers.room
        shards = Counter(sent.worker.name for sent in self._sent.values() if isinstance(sent.task, RunShard))
        while shards.total() < room and (ready := self._next_open(room, shards)) is not None:
            job, worker = ready
            self._start_shard(job, job.waiting.pop(0), worker)
            shards[worker.name] += 1
        most_finished = 2 * self.most_sources * len(self.workers)
        if self._alone is not None or self._suspects or len(self.states.finished) >= most_finished:
            return
        opening = self._count(OpenSource)
        waiting = len(self.states.open)
        while self._new and opening + waiting < room + 1:
            self._start_open(self.jobs.begin(self._new.first()))
            opening += 1
        # Long files that wait must not keep short ones from being found: look from the other end.
        if self._new and not opening and shards.total() < room and waiting < MOST_WAITING * room:
            self._start_open(self.jobs.begin(self._new.last()))

    def _next_open(self, room: int, shards: Counter[str]) -> tuple[Job, WorkerProcess] | None:
        """Whose shard is to be worked on next, and by whom; long files leave one place to others while there
        are any.

        What is long by its header alone may hold its place for as long as its deadline allows.
        """
        while self.states.open and not self.states.open[0].waiting:
            self.states.open.popleft()
        is_one_stage = len(self.plan.stages()) == 1
        waiting = (
            (job, worker)
            for job in self.states.open
            if job.waiting and (worker := self.workers.free_for(job, shards, is_one_stage)) is not None
        )
        num_long = sum(
            isinstance(sent.task, RunShard) and sent.job is not None and self._is_long(sent.job)
            for sent in self._sent.values()
        )
        if num_long < max(1, room - 1) or self._alone is not None:
            return next(waiting, None)
        found = list(waiting)
        short = next((each for each in found if not self._is_long(each[0])), None)
        may_come = self._count(OpenSource) or (self._new and len(found) < MOST_WAITING * room)
        return short if short is not None or may_come or not found else found[0]

    def _is_long(self, job: Job) -> bool:
        return job.duration_seconds > self.config.shard_seconds

    def _count(self, kind: type[OpenSource] | type[RunShard]) -> int:
        return sum(isinstance(sent.task, kind) for sent in self._sent.values())

    def _send(
        self,
        task: OpenSource | RunShard | Merge | Write | Report,
        job: Job | None,
        seconds: float,
        worker: WorkerProcess,
    ) -> _Sent:
        self._next_id += 1
        now = time.monotonic()
        sent = _Sent(task, job, worker, now, now + seconds)
        self._sent[self._next_id] = sent
        if job is not None:
            job.running += 1
            self._marks.write(s.job.file.uri for s in self._sent.values() if s.job is not None)
        worker.send(Request(id=self._next_id, task=task))
        return sent

    def _start_open(self, job: Job) -> None:
        job.state = "opening"
        seconds = self._allowed(max(job.file.num_bytes, 0) / SLOWEST_BYTES_PER_SECOND)
        loads = Counter(sent.worker.name for sent in self._sent.values())
        loads.update(self.workers.home(other).name for other in self.states.open if other.waiting)
        worker = self.workers.least_loaded(loads)
        self.workers.settle(job, worker)
        self._send(OpenSource(uri=job.file.uri, path=job.file.path_bytes), job, seconds, worker)

    def _start_shard(self, job: Job, shard_index: int, worker: WorkerProcess) -> None:
        shard = job.shards[shard_index]
        ops = tuple(job.stages[0])
        waiting = sum(len(other.waiting) for other in self.states.open) + len(self._new)
        request = RunShard(
            uri=job.file.uri,
            path=job.file.path_bytes,
            source_id=job.source_id,
            version=job.version,
            shard=shard,
            shard_index=shard_index,
            num_shards=len(job.shards),
            ops=ops,
            earlier=self.states.earlier(job, ops),
            duration_seconds=job.duration_seconds,
            # Alone, a file may use every core; beside others, one thread decodes best.
            threads=max(1, self.config.threads // (1 + waiting + self._count(RunShard))),
        )
        seconds = credible_seconds(shard.seconds, job.file.num_bytes)
        self._send(request, job, self._allowed(seconds), worker)

    def _allowed(self, media_seconds: float) -> float:
        return allowed_seconds(DEADLINE_SECONDS, self.request.deadline_factor, media_seconds)

    def write(self, pending: PendingCommit | PendingRun) -> None:
        worker = self.workers.home(pending.jobs[0]) if pending.jobs else next(iter(self.workers))
        self._send(pending.request, None, WRITE_SECONDS, worker).pending = pending

    def forget(self, job: Job) -> None:
        self.workers.forget(job)
        for worker in self.workers:
            worker.send(Request(id=0, task=Forget(uri=job.file.uri)))

    # --- what came back ----------------------------------------------------------------------------

    def take(self, timeout_seconds: float) -> None:
        worker, message = self.workers.receive(timeout_seconds)
        match message:
            case Died(code=code):
                self._replace_workers(worker, code)
            case Preparing(text=text):
                self.reporter.message(0, text)
                self.workers.patience[worker.name] = time.monotonic() + PREPARE_SECONDS
            case Ready(sandbox=layers):
                self.workers.begun(worker, layers, self.reporter)
                now = time.monotonic()
                for sent in self._sent.values():  # they begin to be worked on now
                    if sent.worker is worker:
                        sent.started, sent.deadline = now, now + sent.deadline - sent.started
            case Figures():
                self.progress.record(worker.name, message)
            case Answer():
                self._take_answer(message)
        self._watch()

    def _take_answer(self, answer: Answer) -> None:
        sent = self._sent.pop(answer.id, None)
        if sent is None:
            return
        if sent.job is not None:
            sent.job.running -= 1
        if answer.failed is not None:
            if sent.job is None:
                self.refuse(answer.failed)
            return self.fail(sent.job, answer.failed)
        match answer.done:
            case Written(refused=refused) if sent.pending is not None and refused:
                self.write_without(sent.pending, refused)
            case Written(parts=parts) if sent.pending is not None:
                self.commit(sent.pending, parts)
                self._blameless_deaths = 0
            case Opened() as opened if sent.job is not None:
                self.states.opened(sent.job, opened)
            case ShardDone() as done if sent.job is not None:
                self.tell_traces(done.traces)
                self.states.shard_done(sent.job, done)
            case Merged() as merged if sent.job is not None:
                self.tell_traces(merged.traces)
                self.states.merged(sent.job, merged)

    def last_figures(self) -> None:
        """Asks the worker; one that cannot answer any more costs no more than that."""
        if self._is_dead:
            return
        asked: set[int] = set()
        for worker in self.workers:
            self._next_id += 1  # others may answer still, whom nobody waits for any more
            asked.add(self._next_id)
            worker.send(Request(id=self._next_id, task=Report()))
        deadline = time.monotonic() + REPORT_SECONDS
        while asked and (left := deadline - time.monotonic()) > 0:
            worker, message = self.workers.receive(left)
            match message:
                case Died(code=code):
                    return self._replace_workers(worker, code)
                case Answer(id=number, failed=failed, done=done) if number in asked:
                    asked.remove(number)
                    if failed is not None:
                        raise FramemillError(failed.message)
                    if isinstance(done, Figures):
                        self.progress.record(worker.name, done)
        return None

    # --- when things go wrong ----------------------------------------------------------------------

    def _watch(self) -> None:
        """Kills a worker that holds a shard for too long, or takes too much memory."""
        if self._blame_reason:
            return  # it is being killed
        now = time.monotonic()
        late = next((sent for sent in self._sent.values() if now > self._deadline(sent)), None)
        if late is not None:
            allowed = f"{late.deadline - late.started:.0f} seconds"
            # One that is not ready has not looked at any file yet.
            self._blame = late.job if late.worker.name in self.workers.ready else None
            self._blame_reason = f"took longer than {allowed} (raise `deadline_factor` if it may)"
            return late.worker.kill()
        # Alone, a file may take what all workers together may: as much as on a machine of few cores.
        most = self.workers.memory_bytes if self._alone is None else self.config.memory_bytes
        if self._sent and (large := self.workers.too_large(most, now)) is not None:
            limit = f"{most >> 20} MiB"
            self._blame_reason = f"took more than {limit} of memory (raise `memory_bytes` if it may)"
            large.kill()

    def _deadline(self, sent: _Sent) -> float:
        return max(sent.deadline, self.workers.patience.get(sent.worker.name, 0.0))

    def _replace_workers(self, dead: WorkerProcess, code: int) -> None:
        """A worker is dead: finds out whom to suspect, and starts all of them anew."""
        output = dead.last_output() or "nothing"
        reason = self._blame_reason or f"ended its worker process ({describe_death(code)})"
        is_ready = dead.name in self.workers.ready
        held = [sent for sent in self._sent.values() if sent.worker is dead]
        busy = {id(sent.job): sent.job for sent in held if sent.job is not None}
        if not is_ready or not busy:
            self._blameless_deaths += 1
        # An exit code at the start is a broken installation; a signal may have been meant for anybody.
        if (not is_ready and code >= 0) or self._blameless_deaths >= DEATHS_BLAMELESS:
            raise SetupError(
                f"the worker process {reason} with no file to blame; run `framemill doctor`. "
                f"It said: {output}"
            )
        self.reporter.message(1, f"a worker died ({reason}); starting another. It said: {output}")
        guilty = self._blame if self._blame is None or id(self._blame) in busy else None
        if guilty is None and len(busy) == 1 and is_ready:
            (guilty,) = busy.values()
        self._sent.clear()
        self._blame, self._blame_reason = None, ""
        self.workers.kill()
        if self.progress.outcome.interrupted:
            self.states.finished.clear()  # their rows died with the worker
            self._is_dead = True
            return
        self._start_over(reason, guilty, set(busy))
        self.dataset.recover()  # nobody writes now: what the dead one left hidden can go
        self.workers.renew()

    def _start_over(self, reason: str, guilty: Job | None, busy: set[int]) -> None:
        """Every job that is not committed begins again; those that were at work one at a time."""
        self.states.clear()
        self._suspects.clear()
        self._alone = None
        quarantined, returned = [], []
        for job in self.jobs:
            is_waiting = job.state == "new" and not job.is_suspect  # again, and among the new ones still
            job.reset()
            job.deaths += job is guilty
            job.is_suspect = job.is_suspect or id(job) in busy
            if job.deaths >= DEATHS_ALONE:
                quarantined.append(job)
            elif job.is_suspect:
                self._suspects.append(job)
            elif not is_waiting:
                returned.append(self.jobs.place(job))
        self._new.put_back(returned)
        for job in quarantined:
            self.quarantine(job, f"{reason}, twice")
