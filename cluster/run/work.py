"""How much of a run's work is done: files weighed by their length and by what is still to be made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from framemill.cluster.results.commits import DatasetState
from framemill.cluster.run.jobs import Job, missing_ops

if TYPE_CHECKING:
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
    """Weighs the jobs of a run. What is not known of a file yet is taken from what is known of others."""

    def __init__(self, plan: OpsPlan, jobs: Sequence[Job], state: DatasetState, retry_failed: bool) -> None:
        self._plan = plan
        self._jobs = jobs
        self._ops: dict[int, list[str]] = {}
        self._seconds: dict[int, float] = {}
        for job in jobs:
            record = state.sources.get(job.file.uri)
            is_same = record is not None and bool(job.source_id) and record.source_id == job.source_id
            self._ops[id(job)] = missing_ops(job, plan, state, retry_failed) if is_same else list(plan.ops)
            if record is not None and is_same:
                self._seconds[id(job)] = record.duration_seconds
        self._costs: dict[tuple[str, ...], float] = {}
        self._started: dict[int, float] = {}
        self._num_stages: dict[int, int] = {}
        # Wall-clock seconds of finished jobs, and what they were expected to take.
        self._took: dict[int, tuple[float, float]] = {}

    def measure(self, now: float) -> Measured:
        """Where the run stands at a monotonic time."""
        lengths = [(job.file.num_bytes, self._length(job)) for job in self._jobs]
        known = [(size, seconds) for size, seconds in lengths if seconds and size > 0]
        a_byte = 1 / BYTES_A_SECOND
        if known:
            a_byte = sum(seconds for _, seconds in known) / sum(size for size, _ in known)
        at_work = [job for job in self._jobs if job.state == "open" and job.running]
        for job in at_work:
            self._started.setdefault(id(job), now)
        pace = self._pace(now, a_byte)
        finished = total = 0.0
        by_time: list[tuple[float, float]] = []  # of open jobs: work not finished, and what seems done
        for job, (size, seconds) in zip(self._jobs, lengths, strict=True):
            if job.is_duplicate:
                continue
            work = self._work(job, seconds or max(size, 0) * a_byte)
            total += work
            if job.state in ("finished", "committed"):
                finished += work
                if id(job) in self._started:
                    self._took[id(job)] = (now - self._started.pop(id(job)), work)
            elif job.state == "open":
                share = self._finished(job)
                finished += work * share
                since = now - self._started.get(id(job), now)
                seems = self._share(job, since / (work * pace)) if pace else share
                by_time.append((work * (1 - share), work * (seems - share)))
            elif job.state == "new":
                self._started.pop(id(job), None)  # it begins again, after its worker died
        oldest = min(at_work, key=lambda job: self._started.get(id(job), now), default=None)
        file = oldest.file.uri if oldest is not None else ""
        if not finished:
            # As long as nothing is finished to tell the pace by, no number beats a wrong one.
            return Measured(file=file)
        # What is finished vouches for what is at work: one small file that was quick says little of others.
        vouched = finished / (finished + sum(work for work, _ in by_time))
        done = finished + sum(min(seems, work * vouched) for work, seems in by_time)
        return Measured(done, total, file)

    def _pace(self, now: float, a_byte: float) -> float:
        """Wall-clock seconds for a second of expected work, of what is finished; 0 while nothing is."""
        took = list(self._took.values())
        for job in self._jobs:
            if id(job) in self._started and (share := self._finished(job)):
                work = self._work(job, self._length(job) or max(job.file.num_bytes, 0) * a_byte)
                took.append((now - self._started[id(job)], work * share))
        return sum(seconds for seconds, _ in took) / sum(work for _, work in took) if took else 0.0

    def _length(self, job: Job) -> float:
        return job.duration_seconds or self._seconds.get(id(job), 0.0)

    def _work(self, job: Job, seconds: float) -> float:
        # What operations read is imported with NumPy, and so not before the worker is started.
        from framemill.cluster.run.costs import A_FILE, cost_a_second

        if not job.is_usable:
            seconds = 0.0  # it was given up, most often at once
        ops = tuple(job.todo if job.state not in ("new", "opening") else self._ops[id(job)])
        if ops not in self._costs:
            self._costs[ops] = cost_a_second(self._plan, ops)
        return A_FILE + seconds * self._costs[ops]

    def _finished(self, job: Job) -> float:
        """What part of a job's pieces is finished, over all stages."""
        stages = self._num_stages[id(job)] = max(self._num_stages.get(id(job), 1), len(job.stages))
        pieces = max(1, len(job.shards))
        of_stage = pieces - len(job.waiting) - job.running if job.stages else 0
        return min(1.0, max(0.0, 1 - (pieces * len(job.stages) - of_stage) / (pieces * stages)))

    def _share(self, job: Job, by_time: float) -> float:
        """What part of a job is done: pieces that are, and by the time those at work."""
        finished = self._finished(job)
        pieces = max(1, len(job.shards)) * self._num_stages[id(job)]
        most = finished + MOST_OF_A_PIECE * max(1, job.running) / pieces
        return min(max(finished, by_time), most, 1.0)
