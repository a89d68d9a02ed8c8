"""How much of a run's work is done: files weighed by their length and by what is still to be made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.packed import SourceRecord
from framemill.cluster.run.jobs import Job, missing_ops

if TYPE_CHECKING:
    from framemill.cluster.run.job_list import Group
    from framemill.cluster.run.planning import OpsPlan

# Of a piece at work, at most so much counts as done: nobody knows before it is.
MOST_OF_A_PIECE = 0.95
# Bytes of a second of media, while the length of no file is known.
BYTES_A_SECOND = 500_000


@dataclass(frozen=True, slots=True)
class Measured:
    """Work in seconds as expected, and the file that has been at work longest.

    Attributes:
        done, total: seconds of work; `total` is 0 where nothing can be said yet, None where none is weighed.
        file: its uri, or empty.
    """

    done: float = 0.0
    total: float | None = 0.0
    file: str = ""


class Work:
    """Weighs the jobs of a run. What is not known of a file yet is taken from what is known of others.

    Args:
        jobs: those that there are now.
        groups: sources without a job yet.
    """

    def __init__(
        self,
        plan: OpsPlan,
        jobs: Iterable[Job],
        state: DatasetState,
        retry_failed: bool,
        groups: Sequence[Group] = (),
    ) -> None:
        self._plan = plan
        self._jobs = jobs
        self._state = state
        self._retry_failed = retry_failed
        self._groups = groups
        self._costs: dict[tuple[str, ...], float] = {}
        self._started: dict[str, float] = {}
        self._num_stages: dict[str, int] = {}
        self._a_byte = 1 / BYTES_A_SECOND
        # Of what is through: work, and size and length by which others are judged.
        self._done, self._bytes, self._seconds = 0.0, 0, 0.0
        # Wall-clock seconds of finished jobs, and what they were expected to take.
        self._took, self._took_for = 0.0, 0.0

    def settle(self, jobs: Iterable[Job], now: float) -> None:
        """These are committed, and not among the jobs any more."""
        for job in jobs:
            length = self._length(job)
            if length and job.file.num_bytes > 0:
                self._bytes += job.file.num_bytes
                self._seconds += length
            if not job.is_duplicate:
                work = self._work(job, length or max(job.file.num_bytes, 0) * self._a_byte)
                self._done += work
                self._time(job, now, work)
            self._num_stages.pop(job.file.uri, None)

    def measure(self, now: float) -> Measured:
        """Where the run stands at a monotonic time."""
        jobs = list(self._jobs)
        lengths = [(job.file.num_bytes, self._length(job)) for job in jobs]
        known = [(size, seconds) for size, seconds in lengths if seconds and size > 0]
        known.append((self._bytes, self._seconds))
        known += [(group.known_bytes, group.known_seconds) for group in self._groups]
        if num_bytes := sum(size for size, _ in known):
            self._a_byte = sum(seconds for _, seconds in known) / num_bytes
        a_byte = self._a_byte
        at_work = [job for job in jobs if job.state == "open" and job.running]
        for job in at_work:
            self._started.setdefault(job.file.uri, now)
        pace = self._pace(jobs, now, a_byte)
        finished = total = self._done
        for group in self._groups:
            total += self._cost(group.num_files, group.known_seconds + a_byte * group.other_bytes, group.ops)
        by_time: list[tuple[float, float]] = []  # of open jobs: work not finished, and what seems done
        for job, (size, seconds) in zip(jobs, lengths, strict=True):
            if job.is_duplicate:
                continue
            work = self._work(job, seconds or max(size, 0) * a_byte)
            total += work
            if job.state in ("finished", "committed"):
                finished += work
                self._time(job, now, work)
            elif job.state == "open":
                share = self._finished(job)
                finished += work * share
                since = now - self._started.get(job.file.uri, now)
                seems = self._share(job, since / (work * pace)) if pace else share
                by_time.append((work * (1 - share), work * (seems - share)))
            elif job.state == "new":
                self._started.pop(job.file.uri, None)  # it begins again, after its worker died
        oldest = min(at_work, key=lambda job: self._started.get(job.file.uri, now), default=None)
        file = oldest.file.uri if oldest is not None else ""
        if not finished:
            # As long as nothing is finished to tell the pace by, no number beats a wrong one.
            return Measured(file=file)
        # What is finished vouches for what is at work: one small file that was quick says little of others.
        vouched = finished / (finished + sum(work for work, _ in by_time))
        done = finished + sum(min(seems, work * vouched) for work, seems in by_time)
        return Measured(done, total, file)

    def _time(self, job: Job, now: float, work: float) -> None:
        """A job is finished: what it took tells the pace, once."""
        started = self._started.pop(job.file.uri, None)
        if started is not None:
            self._took += now - started
            self._took_for += work

    def _pace(self, jobs: Iterable[Job], now: float, a_byte: float) -> float:
        """Wall-clock seconds for a second of expected work, of what is finished; 0 while nothing is."""
        took, took_for = self._took, self._took_for
        for job in jobs:
            if job.file.uri in self._started and (share := self._finished(job)):
                work = self._work(job, self._length(job) or max(job.file.num_bytes, 0) * a_byte)
                took += now - self._started[job.file.uri]
                took_for += work * share
        return took / took_for if took_for else 0.0

    def _length(self, job: Job) -> float:
        record = None if job.duration_seconds else self._record(job)
        return job.duration_seconds if record is None else record.duration_seconds

    def _record(self, job: Job) -> SourceRecord | None:
        """What an earlier run told of the same file."""
        record = self._state.sources.get(job.file.uri)
        is_same = record is not None and bool(job.source_id) and record.source_id == job.source_id
        return record if is_same else None

    def _work(self, job: Job, seconds: float) -> float:
        if not job.is_usable:
            seconds = 0.0  # it was given up, most often at once
        ops = job.todo
        if job.state in ("new", "opening"):
            ops = [*self._plan.ops]
            if self._record(job) is not None:
                ops = missing_ops(job, self._plan, self._state, self._retry_failed)
        return self._cost(1, seconds, tuple(ops))

    def _cost(self, num_files: int, seconds: float, ops: tuple[str, ...]) -> float:
        # What operations read is imported with NumPy, and so not before the worker is started.
        from framemill.cluster.run.costs import A_FILE, cost_a_second

        if ops not in self._costs:
            self._costs[ops] = cost_a_second(self._plan, ops)
        return num_files * A_FILE + seconds * self._costs[ops]

    def _finished(self, job: Job) -> float:
        """What part of a job's pieces is finished, over all stages."""
        stages = self._num_stages[job.file.uri] = max(self._num_stages.get(job.file.uri, 1), len(job.stages))
        pieces = max(1, len(job.shards))
        of_stage = pieces - len(job.waiting) - job.running if job.stages else 0
        return min(1.0, max(0.0, 1 - (pieces * len(job.stages) - of_stage) / (pieces * stages)))

    def _share(self, job: Job, by_time: float) -> float:
        """What part of a job is done: pieces that are, and by the time those at work."""
        finished = self._finished(job)
        pieces = max(1, len(job.shards)) * self._num_stages[job.file.uri]
        most = finished + MOST_OF_A_PIECE * max(1, job.running) / pieces
        return min(max(finished, by_time), most, 1.0)
