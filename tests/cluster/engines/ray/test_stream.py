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

import ray.exceptions

from framemill.cluster.engines.ray.ray_logging import PipelineError
from framemill.cluster.engines.ray.stream import ResultStream
from tests.cluster.engines.ray.ray_local import small_ray

MOST_SECONDS = 180


class _Pipeline:
    """Stands in for a dataset of Ray Data."""

    def __init__(self, iterate: Callable[[], Iterator[pa.Table]]) -> None:
        self._iterate = iterate

    def _create_executor(self) -> object:
        return object()

    def iter_batches(self, **asked: object) -> Iterator[pa.Table]:
        cast(Any, self)._create_executor()
        return self._iterate()


def _stream(iterate: Callable[[], Iterator[pa.Table]]) -> ResultStream:
    return ResultStream(cast(Any, _Pipeline(iterate)))


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

    stream = _stream(iterate)
    assert _take(stream) == ["first"]
    with pytest.raises(raised, match=said):
        _take(stream)


def test_closing_lets_go_of_a_reader_that_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framemill.cluster.engines.ray.stream.MOST_WAITING", 1)

    def iterate() -> Iterator[pa.Table]:
        while True:
            yield pa.table({"result": ["again"]})

    stream = _stream(iterate)
    time.sleep(0.1)
    stream.close(20.0)
    assert not stream._thread.is_alive()


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    with small_ray():
        yield


def _run(tmp_path: Path, num_rows: int) -> ResultStream:
    """A pipeline whose row 0 is ready at once, and whose others wait for a file `go`."""
    import ray.data

    def work(batch: pa.Table) -> pa.Table:
        number = batch["number"][0].as_py()
        (tmp_path / f"began-{number}").touch()
        while number and not (tmp_path / "go").exists():
            time.sleep(0.05)
        return pa.table({"result": [str(number)]})

    rows = [pa.table({"number": [number]}) for number in range(num_rows)]
    return ResultStream(ray.data.from_arrow(rows).map_batches(cast(Any, work), batch_format="pyarrow"))


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_a_result_does_not_wait_for_the_next(tmp_path: Path) -> None:
    stream = _run(tmp_path, 3)
    try:
        assert _take(stream) == ["0"]
        (tmp_path / "go").touch()
        assert sorted([*_take(stream), *_take(stream)]) == ["1", "2"]
        deadline = time.monotonic() + MOST_SECONDS
        while not stream.is_done:
            assert stream.take(0.2) == [] and time.monotonic() < deadline
    finally:
        stream.close(20.0)


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("is_at_work", [True, False])
def test_closing_ends_what_is_at_work(tmp_path: Path, is_at_work: bool) -> None:
    import ray

    known: Any = ray
    stream = _run(tmp_path, 3)
    deadline = time.monotonic() + MOST_SECONDS
    while is_at_work and not (tmp_path / "began-2").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stream.close(MOST_SECONDS)
    assert not stream._thread.is_alive()
    assert [one.name for one in threading.enumerate() if one.name.startswith("StreamingExecutor")] == []
    while known.available_resources().get("CPU", 0) < 4:
        assert time.monotonic() < deadline, "the tasks hold their CPUs still"
        time.sleep(0.1)
