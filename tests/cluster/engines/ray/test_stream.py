"""Results come as soon as they are there, and a pipeline ends when it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

pytest.importorskip("ray")

import ray
import ray.data
import ray.exceptions

from framemill.cluster.engines.ray import stream as stream_module
from framemill.cluster.engines.ray.connecting import beside_driver
from framemill.cluster.engines.ray.ray_logging import PipelineError, one_line
from framemill.cluster.engines.ray.stream import PipelineRunner, ResultStream, open_runner
from tests.cluster.engines.ray.ray_local import small_ray

MOST_SECONDS = 180


class _Pipeline:
    """Stands in for a dataset of Ray Data."""

    def __init__(self, iterate: Callable[[], Iterator[pa.Table]]) -> None:
        self._iterate = iterate

    def iter_batches(self, **asked: object) -> Iterator[pa.Table]:
        return self._iterate()


def _run_here(iterate: Callable[[], Iterator[pa.Table]]) -> PipelineRunner:
    runner = PipelineRunner()
    runner.begin(cast(Any, _Pipeline(iterate)))
    return runner


def _take(stream: ResultStream) -> list[str]:
    deadline = time.monotonic() + MOST_SECONDS
    while not (taken := stream.take(0.2)):
        assert time.monotonic() < deadline and not stream.is_done
    return taken


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (KeyError("operator"), PipelineError, "KeyError: 'operator'"),
        (ray.exceptions.NodeDiedError("gone"), ray.exceptions.NodeDiedError, "gone"),
    ],
)
def test_what_ends_a_pipeline_is_an_error_of_rays(
    error: Exception, raised: type[Exception], said: str
) -> None:
    def iterate() -> Iterator[pa.Table]:
        yield pa.table({"result": ["first"]})
        raise error

    runner = _run_here(iterate)
    assert runner.take() == ["first"]
    with pytest.raises(raised, match=said):
        runner.take()


def test_what_waits_is_taken_at_once_and_an_end_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "ANSWER_SECONDS", 0.05)
    go_on = threading.Event()

    def iterate() -> Iterator[pa.Table]:
        yield pa.table({"result": ["a", "b"]})
        yield pa.table({"result": ["c"]})
        assert go_on.wait(MOST_SECONDS)

    runner = _run_here(iterate)
    taken: list[str] = []
    while len(taken) < 3:
        taken += runner.take() or []
    assert taken == ["a", "b", "c"] and runner.take() == []
    go_on.set()
    while (last := runner.take()) == []:
        pass
    assert last is None


def test_a_pipeline_pauses_while_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MOST_WAITING", 2)
    made: list[int] = []

    def iterate() -> Iterator[pa.Table]:
        for number in range(20):
            made.append(number)
            yield pa.table({"result": [str(number)]})

    runner = _run_here(iterate)
    time.sleep(0.2)
    assert len(made) <= 4
    taken: list[str] = []
    while (some := runner.take()) is not None:
        taken += some
    assert taken == [str(number) for number in range(20)]


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    with small_ray():
        yield


def _run(tmp_path: Path, num_rows: int) -> tuple[Any, ResultStream]:
    """A runner with a pipeline whose row 0 is ready at once, and whose others wait for a file `go`."""

    def work(batch: pa.Table) -> pa.Table:
        number = batch["number"][0].as_py()
        (tmp_path / f"began-{number}").touch()
        while number and not (tmp_path / "go").exists():
            time.sleep(0.05)
        return pa.table({"result": [str(number)]})

    rows = [pa.table({"number": [number]}) for number in range(num_rows)]
    runner = open_runner(beside_driver())
    results = ray.data.from_arrow(rows).map_batches(cast(Any, work), batch_format="pyarrow")
    return runner, ResultStream(runner, results)


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_a_result_does_not_wait_for_the_next(tmp_path: Path) -> None:
    runner, stream = _run(tmp_path, 3)
    assert _take(stream) == ["0"]
    (tmp_path / "go").touch()
    taken: list[str] = []
    deadline = time.monotonic() + MOST_SECONDS
    while not stream.is_done:
        taken += stream.take(0.2)
        assert time.monotonic() < deadline
    assert sorted(taken) == ["1", "2"]
    ray.kill(runner)


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("is_at_work", [True, False])
def test_whoever_kills_the_runner_ends_what_is_at_work(tmp_path: Path, is_at_work: bool) -> None:
    known: Any = ray
    runner, stream = _run(tmp_path, 3)
    deadline = time.monotonic() + MOST_SECONDS
    while is_at_work and not (tmp_path / "began-2").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ray.kill(runner)
    while known.available_resources().get("CPU", 0) < 4:
        assert time.monotonic() < deadline, "the tasks hold their CPUs still"
        time.sleep(0.1)
    with pytest.raises(ray.exceptions.RayActorError):
        while not stream.is_done:
            stream.take(0.2)


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_an_error_of_a_pipeline_crosses_to_the_driver(tmp_path: Path) -> None:
    def work(batch: pa.Table) -> pa.Table:
        raise KeyError("operator")

    rows = ray.data.from_blocks([pa.table({"number": [1]})])
    stream = ResultStream(
        open_runner(beside_driver()), rows.map_batches(cast(Any, work), batch_format="pyarrow")
    )
    with pytest.raises(ray.exceptions.RayError) as told:
        _take(stream)
    assert one_line(told.value) == "KeyError: 'operator'"
