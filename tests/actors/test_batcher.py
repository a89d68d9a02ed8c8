"""The batcher: full batches, nobody gets another's rows, one caller's fault stays his own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.actors.batcher import Batcher
from framemill.models.runner import run_in_place


class Doubler:
    """Doubles each row; slow at random; fails where a row holds 13."""

    max_batch = 32

    def __init__(self, seed: int = 0, seconds: float = 0.0, in_flight: int = 1) -> None:
        self.in_flight = in_flight
        self.random = random.Random(seed)
        self.seconds = seconds
        self.batches: list[int] = []

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        values = inputs["x"]
        assert len(values) <= self.max_batch
        self.batches.append(len(values))
        time.sleep(self.random.random() * self.seconds)
        if (values == 13).any():
            raise ArithmeticError("thirteen")
        return {"y": values * 2, "sum": values.reshape(len(values), -1).sum(axis=1)}

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return {"whole": inputs["x"] + 1}


@contextmanager
def batcher(runner: Doubler, max_wait_seconds: float = 0.002) -> Iterator[Batcher]:
    opened = Batcher(runner, runner.max_batch, max_wait_seconds)
    try:
        yield opened
    finally:
        opened.close()


def rows(first: int, count: int, width: int = 3) -> npt.NDArray[np.float32]:
    """Rows that no other caller has."""
    return np.arange(first, first + count, dtype=np.float32)[:, None].repeat(width, axis=1)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 70), st.sampled_from([2, 3])), min_size=1, max_size=24),
    seed=st.integers(0, 1000),
    in_flight=st.sampled_from([1, 2]),
)
@settings(max_examples=25, deadline=None)
def test_every_caller_gets_his_own_rows(sizes: list[tuple[int, int]], seed: int, in_flight: int) -> None:
    runner, shuffled = Doubler(seed, 0.002, in_flight), random.Random(seed)
    jobs = [rows(1000 * i + 100, count, width) for i, (count, width) in enumerate(sizes)]
    delays = [shuffled.random() * 0.005 for _ in jobs]
    with batcher(runner) as shared, ThreadPoolExecutor(len(jobs)) as pool:

        def call(job: npt.NDArray[np.float32], delay: float) -> dict[str, npt.NDArray[Any]]:
            time.sleep(delay)
            return shared.run({"x": job})

        answers = list(pool.map(call, jobs, delays))
        stats = shared.stats()
    for job, answer in zip(jobs, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], job * 2)
        np.testing.assert_array_equal(answer["sum"], job.sum(axis=1))
    assert sum(runner.batches) == stats.num_rows == sum(count for count, _ in sizes)
    assert stats.num_batches == len(runner.batches)
    assert stats.num_retried == 0 and 0 < stats.fill <= 1


def test_waiting_calls_fill_whole_batches() -> None:
    runner, gate = Doubler(), threading.Event()
    run = runner.run

    def gated(inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        gate.wait(10)
        return run(inputs)

    runner.run = gated  # type: ignore[method-assign]
    with batcher(runner) as shared, ThreadPoolExecutor(65) as pool:
        first = pool.submit(shared.run, {"x": rows(0, 1)})
        time.sleep(0.1)  # the first call now holds the model
        others = [pool.submit(shared.run, {"x": rows(1000 + 10 * i, 1)}) for i in range(64)]
        deadline = time.monotonic() + 10
        while shared.stats().num_calls < 65 and time.monotonic() < deadline:
            time.sleep(0.005)
        gate.set()
        assert first.result(10)["sum"].shape == (1,)
        for i, other in enumerate(others):
            assert other.result(10)["y"][0, 0] == 2 * (1000 + 10 * i)
    assert runner.batches == [1, 32, 32]


def test_a_lone_call_waits_no_longer_than_told() -> None:
    with batcher(Doubler(), max_wait_seconds=0.05) as shared:
        started = time.monotonic()
        shared.run({"x": rows(0, 1)})
        assert 0.045 <= time.monotonic() - started < 1
        started = time.monotonic()
        shared.run({"x": rows(100, 32)})  # a full batch need not wait
        assert time.monotonic() - started < 0.045


def test_only_the_guilty_caller_fails() -> None:
    runner = Doubler()
    with batcher(runner, max_wait_seconds=0.3) as shared, ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(shared.run, {"x": rows(13 if i == 2 else 100 * (i + 1), 2)}) for i in range(5)]
        for i, call in enumerate(calls):
            if i == 2:
                with pytest.raises(ArithmeticError, match="thirteen"):
                    call.result(10)
            else:
                np.testing.assert_array_equal(call.result(10)["y"], rows(100 * (i + 1), 2) * 2)
        assert shared.stats().num_retried == 5
        np.testing.assert_array_equal(shared.run({"x": rows(7, 1)})["y"], rows(7, 1) * 2)  # still serves
    assert runner.batches[0] == 10


def test_an_output_without_the_batch_axis_is_an_error() -> None:
    runner = Doubler()
    runner.run = lambda inputs: {"y": np.zeros((1, 4), np.float32)}  # type: ignore[method-assign]
    with batcher(runner, max_wait_seconds=0.3) as shared, ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(shared.run, {"x": rows(0, 2)}) for _ in range(2)]
        for call in calls:
            with pytest.raises(ValueError, match="1 rows for 2"):
                call.result(10)


def test_whole_calls_pass_untouched() -> None:
    with batcher(Doubler()) as shared:
        assert shared.run_whole({"x": np.zeros(5)})["whole"].tolist() == [1] * 5
        assert shared.stats().num_calls == 0


@pytest.mark.parametrize("inputs", [{}, {"x": rows(0, 0)}, {"x": rows(0, 1), "z": rows(0, 2)}])
def test_rows_must_agree_in_number(inputs: dict[str, npt.NDArray[Any]]) -> None:
    with batcher(Doubler()) as shared, pytest.raises(ValueError, match="same number of rows"):
        shared.run(inputs)


def test_close_serves_what_waits_and_refuses_the_rest() -> None:
    shared = Batcher(Doubler(seconds=0.02), 32, 5.0)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(shared.run, {"x": rows(100 * i, 3)}) for i in range(4)]
        deadline = time.monotonic() + 10
        while shared.stats().num_calls < 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        started = time.monotonic()
        shared.close()
        assert time.monotonic() - started < 2  # the waiting time was cut short
        for i, call in enumerate(calls):
            np.testing.assert_array_equal(call.result(1)["y"], rows(100 * i, 3) * 2)
    shared.close()
    with pytest.raises(RuntimeError, match="closed"):
        shared.run({"x": rows(0, 1)})


class OnDevice:
    """Rows that NumPy cannot look at, nor join with its own."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values, self.dtype, self.shape = values, values.dtype, values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> OnDevice:
        return OnDevice(self.values[rows])

    def __array_namespace__(self) -> type[OnDevice]:
        return OnDevice

    @staticmethod
    def concat(parts: list[OnDevice]) -> OnDevice:
        return OnDevice(np.concatenate([part.values for part in parts]))


def test_rows_of_two_memories_do_not_share_a_batch() -> None:
    """Files that a device decodes, beside one that PyAV reads."""

    class OnBoth(Doubler):
        def run(self, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
            given = inputs["x"]
            return super().run({"x": given.values if isinstance(given, OnDevice) else given})

    firsts = (0, 100, 200, 300)
    jobs: list[Any] = [rows(first, 2) for first in firsts]
    jobs[1::2] = [OnDevice(job) for job in jobs[1::2]]
    with batcher(OnBoth(), 0.2) as shared, ThreadPoolExecutor(len(jobs)) as pool:
        answers = list(pool.map(lambda job: shared.run({"x": job}), jobs))
        stats = shared.stats()
    for first, answer in zip(firsts, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], 2 * rows(first, 2))
    assert (stats.num_retried, stats.num_rows, stats.num_batches) == (0, 8, 2)


class Leaving(Doubler):
    """Takes arrays of a device, and leaves outputs there where it is asked to."""

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return super().run({"x": inputs["x"].values})

    def run_in_place(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: OnDevice(values) for name, values in self.run(inputs).items()}


def test_outputs_stay_on_the_device_for_those_who_ask() -> None:
    jobs = [rows(1000 * i + 100, 1 + 13 * i % 70) for i in range(24)]
    runner = Leaving(seconds=0.002, in_flight=2)
    with batcher(runner) as shared, ThreadPoolExecutor(len(jobs)) as pool:
        calls = [
            pool.submit(run_in_place if i % 2 else Batcher.run, shared, {"x": OnDevice(job)})
            for i, job in enumerate(jobs)
        ]
        for i, (job, call) in enumerate(zip(jobs, calls, strict=True)):
            answer: Any = call.result(30)["y"]
            assert isinstance(answer, OnDevice if i % 2 else np.ndarray)
            np.testing.assert_array_equal(answer.values if i % 2 else answer, job * 2)
