"""Two calls under way on a device, with ONNX Runtime on the host and a scripted device in its place."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from framemill.actors.batcher import Batcher
from framemill.errors import DeviceFullError, DeviceLostError
from framemill.models import arrays
from framemill.models.binding import launch_options
from framemill.models.provider_sessions import open_on_provider
from framemill.models.session import IN_FLIGHT, OnnxSession
from tests.models.graphs import scaler
from tests.models.test_session import entry_of, rows


class Event:
    """What a stream records: done when `finish` says so."""

    def __init__(self, block: bool, disable_timing: bool) -> None:
        assert block, "a thread would spin"
        self.done = threading.Event()

    def synchronize(self) -> None:
        assert self.done.wait(30)


class Stream:
    """The one stream of a session; keeps what is recorded on it, in order."""

    def __init__(self, is_done: bool = False) -> None:
        self.is_done = is_done
        self.events: list[Event] = []

    def __enter__(self) -> None: ...

    def __exit__(self, *given: object) -> None: ...

    def record(self, event: Event) -> Event:
        self.events.append(event)
        if self.is_done:
            event.done.set()
        return event


@pytest.fixture(autouse=True)
def cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arrays are NumPy's: what is bound and read back lies on the host."""
    module = SimpleNamespace(asarray=lambda array: array, cuda=SimpleNamespace(Event=Event))
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(arrays, "cupy_module", lambda: module)


class Scripted:
    """A session whose calls only note that they were asked for; their results are twice the input."""

    def __init__(self, error: Exception | None = None, room: int = 99) -> None:
        self.told: list[str] = []
        self.error, self.room = error, room
        self._bound: dict[str, Any] = {}

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x")]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="y")]

    def io_binding(self) -> Any:
        bound: dict[str, Any] = {}

        def bind_input(name: str, kind: str, number: int, dtype: Any, shape: Any, pointer: int) -> None:
            bound["shape"], bound["pointer"] = shape, pointer

        def output() -> Any:
            count = int(np.prod(bound["shape"]))
            memory = (np.ctypeslib.ctypes.c_float * count).from_address(bound["pointer"])
            array = np.frombuffer(memory, np.float32).reshape(bound["shape"]) * 2
            self.told.append(f"read {array.flat[0]:g}")
            return array

        value = SimpleNamespace(device_name=lambda: "cpu", numpy=output)
        return SimpleNamespace(
            bind_input=bind_input, bind_output=lambda *given: None, get_outputs=lambda: [value], bound=bound
        )

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        assert options == "ahead"
        if binding.bound["shape"][0] > self.room:
            raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer")
        if self.error is not None:
            raise self.error
        self.told.append(f"launch {binding.bound['shape'][0]}")


def wait_for(what: Any) -> None:
    for _ in range(3000):
        if what():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come about")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def test_the_next_call_is_asked_for_before_the_last_is_read_back(pool: ThreadPoolExecutor) -> None:
    device, stream = Scripted(), Stream()
    session = OnnxSession("m", device, 32, 0, "cuda", stream, options="ahead")
    assert session.in_flight == IN_FLIGHT == 2
    calls = []
    for number, count in ((1, 1), (2, 2), (3, 2)):
        calls.append(pool.submit(session.run, {"x": np.full((number, 2), number, np.float32)}))
        wait_for(lambda count=count: len(device.told) == count)
    threading.Event().wait(0.05)
    assert device.told == ["launch 1", "launch 2"]  # a third would only pile up
    stream.events[0].done.set()
    wait_for(lambda: len(device.told) == 4)
    assert set(device.told[2:]) == {"read 2", "launch 4"}  # three rows run as four
    for event in stream.events[1:]:
        event.done.set()
    wait_for(lambda: len(stream.events) == 3)
    for number, call in enumerate(calls, 1):
        np.testing.assert_array_equal(call.result(30)["y"], np.full((number, 2), 2 * number))
    assert (session.num_batches, session.num_rows) == (3, 6)


def test_the_batcher_keeps_two_batches_under_way_and_no_more(pool: ThreadPoolExecutor) -> None:
    device, stream = Scripted(), Stream()
    batcher = Batcher(OnnxSession("m", device, 4, 0, "cuda", stream, options="ahead"), 4, 0.0)
    calls = [pool.submit(batcher.run, {"x": np.full((4, 2), number, np.float32)}) for number in (5, 6, 7, 8)]
    wait_for(lambda: len(device.told) == 2)
    threading.Event().wait(0.05)
    assert device.told == ["launch 4"] * 2
    for number in range(4):
        wait_for(lambda number=number: len(stream.events) > number)
        stream.events[number].done.set()
    assert [float(call.result(30)["y"][0, 0]) for call in calls] == [10, 12, 14, 16]
    batcher.close()
    assert not any(thread.is_alive() for thread in batcher._threads)


def test_a_session_that_waits_has_one_thread() -> None:
    batcher = Batcher(OnnxSession("m", Scripted(), 4, 0), 4, 0.0)
    assert len(batcher._threads) == 1
    batcher.close()


def test_errors_are_told_apart_and_full_memory_halves_the_batch() -> None:
    stream = Stream(is_done=True)
    session = OnnxSession("m", Scripted(room=5), 16, 0, "cuda", stream, options="ahead")
    np.testing.assert_array_equal(session.run(rows(20))["y"], rows(20)["x"] * 2)
    assert (session.max_batch, session.num_halved) == (4, 2)
    full = OnnxSession("m", Scripted(room=0), 4, 0, "cuda", stream, options="ahead")
    with pytest.raises(DeviceFullError, match="model m failed on"):
        full.run(rows(1))
    lost = RuntimeError("CUDA failure 700: an illegal memory access was encountered")
    broken = OnnxSession("m", Scripted(lost), 4, 0, "cuda", stream, options="ahead")
    for _ in range(3):  # each gives its place back
        with pytest.raises(DeviceLostError):
            broken.run(rows(1))


def test_time_that_two_calls_share_is_counted_once(pool: ThreadPoolExecutor) -> None:
    device, stream = Scripted(), Stream()
    session = OnnxSession("m", device, 4, 0, "cuda", stream, options="ahead")
    calls = [pool.submit(session.run, rows(4)) for _ in range(2)]
    wait_for(lambda: len(device.told) == 2)
    threading.Event().wait(0.2)
    for event in stream.events:
        event.done.set()
    for call in calls:
        call.result(30)
    assert 0.2 <= session.busy_seconds < 0.35


def test_onnx_runtime_takes_the_calls_as_they_are_bound(tmp_path: Path) -> None:
    path = scaler(tmp_path / "m.onnx")
    opened = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    options = launch_options(onnxruntime)
    ahead = OnnxSession("m", opened, 1, 0, "cpu", Stream(is_done=True), options=options)
    plain = OnnxSession("m", opened, 1, 0)
    inputs = rows(5)
    for given in (inputs, {"x": inputs["x"][:, :, ::-1]}):
        np.testing.assert_array_equal(ahead.run(given)["y"], plain.run(given)["y"])
        np.testing.assert_array_equal(ahead.run_in_place(given)["y"], plain.run(given)["y"])
    assert ahead.num_rows == 20


def test_on_the_cpu_nothing_of_it_is_there(tmp_path: Path) -> None:
    path = scaler(tmp_path / "m.onnx")
    opened = open_on_provider(onnxruntime, "cpu", path, entry_of(path), ["CPUExecutionProvider"])
    assert opened.options is None and opened.stream is None
