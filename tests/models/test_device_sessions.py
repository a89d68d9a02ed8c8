"""Sessions on a device, with devices that behave as told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from framemill.errors import DeviceFullError, DeviceLostError, ProviderError
from framemill.models import cuda, provider_sessions
from framemill.models.cuda import Gpu
from framemill.models.memory_plan import plan_memory
from framemill.models.provider_sessions import may_build_engines
from framemill.models.providers import GPU_BATCH, LADDER
from framemill.models.session import OnnxSession, open_model
from framemill.models.store import cache_folder
from tests.models.graphs import mixer, scaler
from tests.models.test_session import Devices, devices, entry_of, rows

__all__ = ["devices"]  # a fixture


class Cuda:
    """A session on a device with room for `room` rows in a call; the rest runs out of memory, or is lost."""

    def __init__(self, room: int, words: str) -> None:
        self.room, self.words = room, words
        self.sizes: list[int] = []

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x")]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="y")]

    def run(self, names: None, inputs: dict[str, Any]) -> list[Any]:
        self.sizes.append(len(inputs["x"]))
        if len(inputs["x"]) > self.room:
            raise RuntimeError(self.words)
        return [inputs["x"] * 2]


FULL = "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 708837376"


def test_out_of_memory_halves_the_batch_and_goes_on() -> None:
    device = Cuda(5, FULL)
    session = OnnxSession("m", device, 32, 0)
    inputs = rows(40)
    np.testing.assert_array_equal(session.run(inputs)["y"], inputs["x"] * 2)
    assert device.sizes == [32, 16, 8, *[4] * 10]
    assert (session.max_batch, session.num_halved, session.num_rows) == (4, 3, 40)
    session.run(inputs)
    assert session.num_halved == 3 and max(device.sizes[13:]) == 4  # for good


def test_one_row_that_does_not_fit_is_an_error() -> None:
    session = OnnxSession("m", Cuda(0, "CUDA error 2: out of memory"), 4, 0)
    with pytest.raises(
        DeviceFullError, match=r"model m failed on .*out of memory.*FRAMEMILL_GPU_MEMORY_SHARE"
    ):
        session.run(rows(3))
    assert (session.max_batch, session.num_halved) == (1, 1)


def test_a_device_that_is_lost_is_told_apart() -> None:
    session = OnnxSession("m", Cuda(0, "CUDA failure 700: an illegal memory access was encountered"), 4, 0)
    with pytest.raises(DeviceLostError, match="Xid"):
        session.run(rows(1))


def test_a_device_sees_few_lengths_and_the_caller_its_own() -> None:
    device = Cuda(99, "")
    session = OnnxSession("m", device, 32, 0)
    for count in (1, 3, 5, 17, 33):
        inputs = rows(count)
        np.testing.assert_array_equal(session.run(inputs)["y"], inputs["x"] * 2)
    assert device.sizes == [1, 4, 8, 32, 32, 1]
    assert (session.num_batches, session.num_rows) == (6, 59)


H200 = Gpu("NVIDIA H200", "sm90", 141 << 30)


def test_an_engine_is_built_in_its_folder_and_its_time_told(
    tmp_path: Path, devices: Callable[..., Devices], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = devices(tensorrt="ok", cuda="ok")
    monkeypatch.setattr(cuda, "find_gpus", lambda: (H200,))
    path = scaler(tmp_path / "m.onnx")
    report = open_model(entry_of(path), path, 1, sharing=4)[1]
    assert report.build_seconds > 0 and report.precision == "fp32"
    (engine,) = [f for f in (cache_folder() / "tensorrt" / "engines").iterdir() if f.is_dir()]
    building, using = made.options
    assert using["trt_engine_cache_path"] == str(engine) != building["trt_engine_cache_path"]
    assert using["trt_profile_max_shapes"] == f"x:{GPU_BATCH}x3x4x4"
    assert using["trt_timing_cache_path"].endswith("sm90")
    # TensorRT and CUDA, which gets what TensorRT leaves, share the part of one of four models.
    (limit,) = {int(options["trt_max_workspace_size"]) for options in made.options}
    assert limit == int(made.others[0]["gpu_mem_limit"])
    assert 2 * limit <= plan_memory(H200.memory_bytes).onnxruntime // 4 < 2 * limit + 2
    assert open_model(entry_of(path), path, 1)[1].build_seconds == 0
    report = open_model(entry_of(path), path, 1, precision="fp16")[1]
    assert report.precision == "fp16" and report.build_seconds > 0  # another engine
    monkeypatch.setenv(cuda.TF32_VARIABLE, "1")
    assert open_model(entry_of(path), path, 1)[1].build_seconds > 0  # and another


def test_engines_may_be_built_only_where_a_gpu_and_tensorrt_are(
    monkeypatch: pytest.MonkeyPatch, devices: Callable[..., Devices]
) -> None:
    devices(tensorrt="ok", cuda="ok")
    monkeypatch.setattr(cuda, "find_gpus", lambda: (Gpu("NVIDIA L4", "sm89", 24 << 30),))
    monkeypatch.setattr(cuda, "has_tensorrt", lambda: True)
    assert may_build_engines() and may_build_engines("tensorrt") and not may_build_engines("cuda")
    assert may_build_engines("cuda", "fp16") and not may_build_engines("cpu", "fp16")
    monkeypatch.setattr(cuda, "has_tensorrt", lambda: False)
    assert not may_build_engines() and may_build_engines("", "fp16"), "halves are tried first"
    monkeypatch.setattr(cuda, "has_tensorrt", lambda: True)
    monkeypatch.setattr(cuda, "find_gpus", lambda: ())
    assert not may_build_engines()


def test_without_tensorrts_libraries_models_run_on_cuda_and_no_engine_is_left(
    tmp_path: Path, devices: Callable[..., Devices]
) -> None:
    """ONNX Runtime lists the provider all the same, and leaves it out of the session without a word."""
    devices(tensorrt="absent", cuda="ok")
    path = scaler(tmp_path / "m.onnx")
    _, report = open_model(entry_of(path), path, 1)
    assert report.provider == "cuda" and "silently absent" in report.attempts[0][1]
    engines = cache_folder() / "tensorrt" / "engines"
    assert not [folder for folder in engines.iterdir() if folder.is_dir()]


def test_tensorrt_of_another_major_falls_to_the_next_provider(
    tmp_path: Path, devices: Callable[..., Devices], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices(tensorrt="ok", cuda="ok")
    monkeypatch.setattr(cuda, "version_of", lambda *names: "11.0.0.5")
    path = scaler(tmp_path / "m.onnx")
    report = open_model(entry_of(path), path, 1)[1]
    assert report.provider == "cuda" and "links version 10" in report.attempts[0][1]
    with pytest.raises(ProviderError, match="must run on tensorrt, but tensorrt: TensorRT 11"):
        open_model(entry_of(path), path, 1, "tensorrt")


def test_core_ml_gets_closed_shapes(
    tmp_path: Path, devices: Callable[..., Devices], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: dict[str, int] = {}
    real = onnxruntime.SessionOptions

    class Options(real):  # type: ignore[misc, valid-type]
        def add_free_dimension_override_by_name(self, name: str, length: int) -> None:
            closed[name] = length
            super().add_free_dimension_override_by_name(name, length)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    devices(coreml="ok")
    path = mixer(tmp_path / "m.onnx", "n")
    model, report = open_model(entry_of(path, "dynamic"), path, 1)
    assert (report.provider, report.max_batch, closed) == ("coreml", 1, {"n": 1})
    assert model.runner.run(rows(3))["y"].shape == (3, 3, 4, 4)


def test_core_ml_keeps_what_it_compiles_of_each_model(
    tmp_path: Path, devices: Callable[..., Devices]
) -> None:
    made = devices(coreml="ok")
    for number, path in enumerate((mixer(tmp_path / "m.onnx", "n"), scaler(tmp_path / "s.onnx"))):
        for _ in range(2):
            open_model(entry_of(path, ("dynamic", "none")[number]), path, 1)
    folders = [Path(options["ModelCacheDirectory"]) for options in made.options]
    assert folders[0] == folders[1] != folders[2] == folders[3]
    assert all(folder.is_dir() and cache_folder() in folder.parents for folder in folders)


def test_each_session_on_a_device_has_a_stream_that_its_work_goes_to(
    tmp_path: Path, devices: Callable[..., Devices], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    entered: list[int] = []

    class Stream:
        def __init__(self, non_blocking: bool) -> None:
            assert non_blocking
            self.ptr = 1000 + len(streams)
            streams.append(self)

        def __enter__(self) -> None:
            entered.append(self.ptr)

        def __exit__(self, *given: object) -> None: ...

        def record(self, event: Any) -> Any:
            return event

    streams: list[Stream] = []
    pool = SimpleNamespace(set_limit=lambda size: limits.append(size))
    event = SimpleNamespace(synchronize=lambda: None)
    cupy = SimpleNamespace(
        get_default_memory_pool=lambda: pool,
        asarray=lambda array: array,
        cuda=SimpleNamespace(Stream=Stream, Event=lambda **settings: event),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cuda, "find_gpus", lambda: (H200,))
    made = devices(cuda="ok")
    path = scaler(tmp_path / "m.onnx")
    models = [open_model(entry_of(path), path, 1)[0] for _ in range(2)]
    assert [options["user_compute_stream"] for options in made.options] == ["1000", "1001"]
    assert set(limits) == {plan_memory(H200.memory_bytes).arrays}
    runner = models[1].runner
    assert isinstance(runner, OnnxSession) and runner.in_flight == 2, "all nodes run on the device"
    runner._device = "cpu"  # where this build of ONNX Runtime can leave outputs
    np.testing.assert_array_equal(runner.run(rows(40))["y"], rows(40)["x"].reshape(40, -1) * 2)
    assert entered == [1001, 1001]


def test_a_session_with_nodes_on_the_host_waits_for_each_call(
    tmp_path: Path, devices: Callable[..., Devices], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they exchange with the device passes through memory of the host that the next call would use."""
    devices(cuda="ok")
    monkeypatch.setattr(provider_sessions, "own_stream", lambda: SimpleNamespace(ptr=1))
    path = scaler(tmp_path / "m.onnx")
    mixed = {LADDER["cuda"]: 7, LADDER["cpu"]: 1}
    for nodes, is_ahead in (({LADDER["cuda"]: 8}, True), (mixed, False)):
        monkeypatch.setattr(provider_sessions, "count_nodes", lambda session, nodes=nodes: nodes)
        opened = provider_sessions.open_on_provider(
            onnxruntime, "cuda", path, entry_of(path), [LADDER["cuda"], LADDER["cpu"]]
        )
        assert (opened.options is not None) == is_ahead


class Build:
    """A build of ONNX Runtime for CUDA, or not, on a machine where its libraries are absent."""

    def __init__(self, cuda_version: str) -> None:
        self.cuda_version = cuda_version
        self.num_calls = 0

    def preload_dlls(self) -> None:
        self.num_calls += 1
        print("Failed to load libcublas.so.13: cannot open shared object file")
        print("Please follow the installation page")


def test_libraries_that_are_absent_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    build, other = Build("13.0"), Build("")
    for _ in range(2):
        assert provider_sessions.load_cuda(build).startswith(
            "Failed to load libcublas.so.13: cannot open shared object"
        )
        assert provider_sessions.load_cuda(other) == ""
    assert (build.num_calls, other.num_calls) == (1, 0) and capsys.readouterr().out == ""
    said = provider_sessions._absent(build, ["CPUExecutionProvider"])
    assert said.startswith("silently absent: the session has CPUExecutionProvider; Failed to load libcublas")
