"""Time left goes by the work that is planned, and does not jump when files turn out to be long."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.actors.shards import Shard
from framemill.cluster.cli.progress import TimeLeft, seconds_left
from framemill.cluster.request import ExtractRequest, Snapshot
from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.run.jobs import Job, JobFailure
from framemill.cluster.run.planning import OpsPlan, plan_ops
from framemill.cluster.run.source_files import SourceFile
from framemill.cluster.run.work import Work


def plan_of(*ops: str, sample: str = "every:1") -> OpsPlan:
    return plan_ops(ExtractRequest(sources=("x",), output="y", ops=ops, sample=sample), 600.0)


def job(
    name: str, seconds: float, num_bytes: int = 1000, state: str = "open", ops: list[str] | None = None
) -> Job:
    made = Job(SourceFile(name, name, num_bytes, 1), "id" + name, state=state, duration_seconds=seconds)
    made.todo, made.stages, made.running = ops or ["frames"], [ops or ["frames"]], int(state == "open")
    made.shards = (Shard(0, 1, False, seconds),)
    return made


def test_a_file_weighs_by_what_is_still_to_be_made_of_it() -> None:
    plan = plan_of("frames", "text", "loudness")
    one = [job("a", 100.0, ops=["loudness"]), job("b", 100.0, ops=["frames", "text"])]
    one[0].state, work = "open", Work(plan, one, DatasetState(), False)
    work.measure(0.0)
    one[0].state, one[0].running = "committed", 0
    for now in (1.0, 1.0):
        measured = work.measure(now)
    assert measured.total is not None and 0 < measured.done < 0.2 * measured.total
    assert measured.file == "b"


def test_files_that_are_not_opened_weigh_by_their_size_from_the_start() -> None:
    jobs = [job("a", 10.0, 1_000), *(job(f"n{n}", 0.0, 1_000, "new") for n in range(9))]
    work = Work(plan_of("frames"), jobs, DatasetState(), False)
    assert work.measure(0.0).total == 0, "nothing is finished to tell the pace by"
    jobs[0].state = "finished"
    work.measure(9.0)
    before = work.measure(9.0).total
    for each in jobs[1:]:
        each.duration_seconds, each.state = 10.0, "open"
    assert before and work.measure(9.0).total == pytest.approx(before), (
        "nothing is added when files are opened"
    )


def total_of(plan: OpsPlan, jobs: list[Job], state: DatasetState) -> float:
    """The work of a run in which the last job is finished."""
    jobs[-1].state, jobs[-1].running = "open", 1
    work = Work(plan, jobs, state, False)
    work.measure(0.0)
    jobs[-1].state, jobs[-1].running = "finished", 0
    work.measure(1.0)
    return work.measure(1.0).total or 0.0


def test_what_is_there_already_is_not_counted_again() -> None:
    plan = plan_of("frames", "scenes")
    jobs = [job("a", 0.0, 1_000, "new"), job("b", 1.0, 1_000)]
    state = DatasetState()
    state.sources["a"] = SourceRecord("a", "ida", 1_000, 1, 50.0)
    both = total_of(plan, jobs, state)
    state.entries["frames", "ida"] = Entry("frames", "ida", plan.ops["frames"].key["digest"], rows=1)
    one = total_of(plan, jobs, state)
    assert 0 < one < both


def test_without_any_length_nothing_is_said() -> None:
    assert (
        Work(plan_of("frames"), [job("a", 0.0, state="new")], DatasetState(), False).measure(0.0).total == 0
    )


@dataclass
class Run:
    """A simulated run with one place: files take `pace` times what the table of costs says."""

    work: Work
    jobs: list[Job]
    seconds: list[float]
    now: float = 0.0
    left: list[float] = field(default_factory=list)

    def go(self) -> None:
        for each, length in zip(self.jobs, self.seconds, strict=True):
            each.state, each.duration_seconds, each.running = "open", length, 1
            each.shards, each.stages = (Shard(0, 1, False, length),), [["frames"]]
            end = self.now + 0.5 * length
            while self.now < end:
                measured = self.work.measure(self.now)
                if measured.total and measured.done:
                    self.left.append(self.now * (measured.total - measured.done) / measured.done)
                self.now += 1.0
            each.state, each.running, each.stages = "committed", 0, []


def test_the_estimate_is_near_the_truth_all_along() -> None:
    """Ten files of very different length, on a machine that is far slower than the table of costs says."""
    lengths = [900.0, 700.0, 400.0, 300.0, 200.0, 100.0, 60.0, 30.0, 20.0, 10.0]
    jobs = [job(str(n), 0.0, round(1000 * length), "new") for n, length in enumerate(lengths)]
    run = Run(Work(plan_of("frames"), jobs, DatasetState(), False), jobs, lengths)
    run.go()
    truth = [run.now - at for at in range(round(run.now))][-len(run.left) :]
    late = [(left, true) for left, true in zip(run.left, truth, strict=True) if true > 30]
    assert len(late) > 100
    assert all(0.6 * true < left < 1.7 * true for left, true in late), [
        x for x in late if not 0.6 < x[0] / x[1] < 1.7
    ]


@dataclass
class Parallel:
    """A simulated run with several places; times of its own instead of the clock's.

    On Ray, nobody tells the driver when a file is begun, nor its length before it is through.
    """

    sizes: list[int]
    seconds: list[float]
    places: int
    on_ray: bool

    def __post_init__(self) -> None:
        self.jobs = [job(str(n), 0.0, size, "new") for n, size in enumerate(self.sizes)]
        self.work = Work(plan_of("frames"), self.jobs, DatasetState(), False)
        self.shown: list[tuple[float, Snapshot, float]] = []  # when, what, and work that is not even begun

    def begin(self, number: int) -> None:
        if self.on_ray:
            return
        each = self.jobs[number]
        each.state, each.running, each.duration_seconds = "open", 1, self.seconds[number]
        each.shards, each.stages = (Shard(0, 1, False, each.duration_seconds),), [["frames"]]

    def go(self) -> float:
        """Runs it, and gives when it ended."""
        now, waiting, at_work = 0.0, list(range(len(self.jobs))), list[tuple[float, int]]()
        while waiting or at_work:
            while waiting and len(at_work) < self.places:
                number = waiting.pop(0)
                self.begin(number)
                heapq.heappush(at_work, (now + 0.1 + 0.2 * self.seconds[number], number))
            self.look(now, waiting)
            ends, number = heapq.heappop(at_work)
            for part in (0.5, 0.99):
                self.look(now + part * (ends - now), waiting)
            now = ends
            each = self.jobs[number]
            each.state, each.running, each.stages = "committed", 0, []
            each.duration_seconds = self.seconds[number]
        return now

    def look(self, now: float, waiting: list[int]) -> None:
        measured = self.work.measure(now)
        snapshot = Snapshot(
            files_done=sum(each.state == "committed" for each in self.jobs), files_total=len(self.jobs),
            files_failed=0, frames=0, rows=0, media_seconds_done=0.0, media_seconds_total=0.0,
            elapsed_seconds=now, stage="", work_done=measured.done, work_total=measured.total,
        )  # fmt: skip
        share = sum(self.seconds[number] for number in waiting) / sum(self.seconds)
        self.shown.append((now, snapshot, share))


files = st.lists(st.tuples(st.floats(0.5, 3000.0), st.floats(0.7, 1.4)), min_size=2, max_size=14)


@settings(max_examples=60, deadline=None)
@given(files, st.integers(1, 16), st.booleans())
def test_while_a_file_is_left_so_is_time(
    lengths: list[tuple[float, float]], places: int, on_ray: bool
) -> None:
    # Ray is given large files first.
    lengths = sorted(lengths, key=lambda each: -each[0] * each[1]) if on_ray else lengths
    seconds = [length for length, _ in lengths]
    sizes = [round(100_000 * length * rate) for length, rate in lengths]
    run = Parallel(sizes, seconds, places, on_ray)
    end, shown = run.go(), TimeLeft()
    for now, snapshot, share in run.shown:
        left, text = seconds_left(snapshot), shown.show(snapshot)
        if not snapshot.files_done or not now:
            assert text == "", "nothing is finished to go by"
            continue
        assert left is not None and left > 0 and not text.startswith(("0.", "more than 0."))
        # What is not begun takes its part at least, as far as sizes tell lengths.
        assert left > 0.4 * now * share
        if on_ray and places == 1:
            # Nobody tells how far the file at work is: it may be counted whole till its end, and its time for
            # a slower pace of those after it.
            longest = 0.1 + 0.2 * max(seconds)
            assert left < 3 * (end - now) + 4 * longest


def test_one_quick_file_of_eleven_says_little_of_ten_that_are_at_work() -> None:
    run = Parallel([1000] + [1_000_000] * 10, [1.0] + [1000.0] * 10, 11, on_ray=False)
    run.go()
    lefts = [seconds_left(shown) for now, shown, _ in run.shown if shown.files_done == 1]
    assert len(lefts) > 1 and all(left is not None and left > 5.0 for left in lefts), lefts


def test_files_that_were_given_up_weigh_little() -> None:
    jobs = [job("a", 0.0, 100_000_000, "new"), job("b", 10.0), job("c", 0.0, 1_000, "new")]
    jobs[0].failures = [JobFailure("*", "failed", "DecodeError", "no media")]
    work = Work(plan_of("frames"), jobs, DatasetState(), False)
    jobs[0].state, jobs[1].state = "finished", "new"
    measured = work.measure(1.0)
    assert measured.total and measured.done < 0.5 * measured.total
