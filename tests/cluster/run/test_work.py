"""Time left goes by the work that is planned, and does not jump when files turn out to be long."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from framemill.actors.shards import Shard
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.commits import DatasetState, Entry, SourceRecord
from framemill.cluster.run.jobs import Job
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
