"""What is read from the driver, with a driver that answers as told."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framemill.models import cuda


class Driver:
    """The driver's library with one device; functions return 0 or an error, and write through references."""

    def __init__(self, has_context: bool = True) -> None:
        self.has_context = has_context
        self.pushed: list[Any] = []
        self.num_held = 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:
        name.value = b"NVIDIA H200"
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        memory._obj.value = 141 << 30
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0

    def cuDevicePrimaryCtxGetState(self, device: Any, flags: Any, active: Any) -> int:
        active._obj.value = self.has_context
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        assert self.has_context, "a context is made for the question"
        context._obj.value, self.num_held = 7, self.num_held + 1
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:
        self.num_held -= 1
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:
        self.pushed.append(context.value)
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:
        context._obj.value = self.pushed.pop()
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        if not self.pushed:
            return 201  # CUDA_ERROR_INVALID_CONTEXT, as in a thread that never worked on the device
        free._obj.value, total._obj.value = 100 << 30, 141 << 30
        return 0


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    cuda.find_gpus.cache_clear()
    yield
    cuda.find_gpus.cache_clear()


def test_the_driver_describes_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(cuda, "_driver", lambda: driver)
    assert cuda.find_gpus() == (cuda.Gpu("NVIDIA H200", "sm90", 141 << 30),)
    assert cuda.used_memory_bytes() == 41 << 30
    assert not driver.pushed and not driver.num_held
    monkeypatch.setattr(cuda, "_driver", lambda: Driver(has_context=False))
    assert cuda.used_memory_bytes() == 0


def test_without_a_driver_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_driver", lambda: None)
    assert cuda.find_gpus() == () and cuda.used_memory_bytes() == 0


def test_tensorrt_of_another_major_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "version_of", lambda *names: "11.0.0.5")
    assert "TensorRT 11.0.0.5 is installed, but ONNX Runtime links version 10" in cuda.load_tensorrt()


def packages(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> list[str]:
    """Libraries in the folders of wheels; returns what is loaded, in order."""
    loaded: list[str] = []
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()

    def load(path: str, mode: int = 0) -> None:
        if not Path(path).exists():
            raise OSError(f"{path}: cannot open shared object file")
        assert mode == ctypes.RTLD_GLOBAL
        loaded.append(Path(path).name)

    places = {"tensorrt_libs": folder, "nvidia.cublas": folder / "cublas"}
    monkeypatch.setattr(cuda, "_package_folder", places.get)
    monkeypatch.setattr(cuda.ctypes, "CDLL", load)
    return loaded


def test_the_libraries_of_tensorrt_are_loaded_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ("libnvonnxparser.so.10", "libnvinfer_plugin.so.10", "libnvinfer.so.10")
    loaded = packages(monkeypatch, tmp_path, *names)
    monkeypatch.setattr(cuda, "version_of", lambda *names: "10.16.1.11")
    assert cuda.load_tensorrt() == ""
    assert loaded == list(reversed(names))


def test_ctranslate2_gets_a_cublas_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded = packages(
        monkeypatch,
        tmp_path,
        "cublas/lib/libcublas.so.12",
        "cublas/lib/libcublasLt.so.12",
        "cublas/lib/libcublas.so.13",
    )
    assert cuda.load_cublas_for_ctranslate2() == ""
    assert loaded == ["libcublasLt.so.12", "libcublas.so.12"]  # the second needs the first


def test_without_cublas_12_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packages(monkeypatch, tmp_path)
    problem = cuda.load_cublas_for_ctranslate2()
    assert "libcublas.so.12 cannot be loaded" in problem and "needs nvidia-cublas-cu12" in problem


def test_the_driver_keeps_kernels_where_models_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It reads the variable when it is initialised, so that this comes first."""
    seen: list[str | None] = []

    class Library:
        def cuInit(self, flags: int) -> int:
            seen.append(os.environ.get("CUDA_CACHE_PATH"))
            return 0

        def cuDeviceGetCount(self, count: Any) -> int:
            return 100  # CUDA_ERROR_NO_DEVICE

    monkeypatch.setattr(cuda.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(cuda.sys, "platform", "linux")
    for given, expected in ((None, str(tmp_path / "cache" / "cuda")), ("/elsewhere", "/elsewhere")):
        monkeypatch.setenv("CUDA_CACHE_PATH", given or "")
        if given is None:
            monkeypatch.delenv("CUDA_CACHE_PATH")
        assert cuda._driver.__wrapped__() is not None
        assert seen.pop() == expected
    monkeypatch.delenv("CUDA_CACHE_PATH")


def test_tensorrt_computes_in_full_precision_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_package_folder", lambda package: None)
    monkeypatch.setattr(cuda, "version_of", lambda *names: "10.16.1.11")
    monkeypatch.setenv(cuda.TF32_VARIABLE, "1")
    assert cuda.load_tensorrt() == "" and os.environ[cuda.TF32_VARIABLE] == "1"
    monkeypatch.delenv(cuda.TF32_VARIABLE)
    assert cuda.load_tensorrt() == "" and os.environ[cuda.TF32_VARIABLE] == "0"
    monkeypatch.delenv(cuda.TF32_VARIABLE)
