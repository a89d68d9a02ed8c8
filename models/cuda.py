"""The devices that the CUDA driver reports, and the libraries that the runtimes need loaded before them."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# CUDA 13 needs driver 580, CUDA 12 needs 525 (CUDA release notes, table of minor version compatibility).
CUDA13_DRIVER, CUDA12_DRIVER = 580, 525
# Compute capability from which CUDA 13 has code: Turing (CUDA 13 release notes, removed architectures).
CUDA13_CAPABILITY = (7, 5)
# What the TensorRT provider of ONNX Runtime 1.31 links.
TENSORRT_MAJOR = 10
# Whether libraries of NVIDIA round factors to ten bits: 0 for never, 1 for wherever they can.
TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
TENSORRT_PACKAGES = ("tensorrt-cu13-libs", "tensorrt-cu12-libs", "tensorrt")

# What the driver reports when a device is gone, or its context broken for good (cudaError_t, driver_types.h).
_LOST = (
    "illegal memory access",
    "unspecified launch failure",
    "uncorrectable ecc",
    "device is lost",
    "devices are busy or unavailable",
    "no cuda-capable device",
    "hardware stack error",
)
LOST_REMEDY = "look at the driver's log for Xid errors"

# CU_CTX_SCHED_BLOCKING_SYNC, cuda.h: a thread that waits for the device sleeps. By default it spins while
# there are fewer contexts than cores, and as many threads wait as read and infer.
_BLOCKING_SYNC = 4

_COMPUTE_MAJOR, _COMPUTE_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*, cuda.h


def is_device_lost(exc: Exception) -> bool:
    """Whether an error, of whatever library, reports that a device is lost to this process."""
    text = str(exc).lower()
    return any(words in text for words in _LOST)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One CUDA device.

    Attributes:
        name: as its maker calls it.
        architecture: compute capability, such as `sm90`: engines run on no other.
        memory_bytes: all of its memory.
    """

    name: str
    architecture: str
    memory_bytes: int


@cache
def find_gpus() -> tuple[Gpu, ...]:
    """The devices that this process may use; empty without a driver."""
    driver = _driver()
    if driver is None:
        return ()
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_describe(driver, index) for index in range(count.value))


@contextmanager
def primary_context(makes_one: bool) -> Iterator[bool]:
    """Has the first device's primary context current in this thread; gives whether it is.

    Args:
        makes_one: whether it is made where there is none, which takes some hundred megabytes of its memory.
    """
    driver = _driver()
    device, flags, is_active = ctypes.c_int(), ctypes.c_uint(), ctypes.c_int()
    context = ctypes.c_void_p()
    if driver is None or driver.cuDeviceGet(ctypes.byref(device), 0):
        yield False
        return
    refused = driver.cuDevicePrimaryCtxGetState(device, ctypes.byref(flags), ctypes.byref(is_active))
    is_wanted = not refused and (makes_one or bool(is_active.value))
    if not is_wanted or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        yield False
        return
    try:
        # The thread that asks need not be one that ever worked on the device.
        if driver.cuCtxPushCurrent_v2(context):
            yield False
            return
        try:
            yield True
        finally:
            driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)


def wait_asleep() -> None:
    """Has whoever waits for a device in this process sleep meanwhile, not spin; without a driver nothing.

    To be called before any library makes a device's primary context, which all of them share and which takes
    its flags when it is made. Whoever asks this module about devices has it done, too.
    """
    _driver()


def used_memory_bytes() -> int:
    """Memory in use on the first device, by whomever; 0 where none is in use by this process."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    with primary_context(makes_one=False) as is_current:
        driver = _driver()
        if not is_current or driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)):
            return 0
    return total.value - free.value


@cache
def _driver() -> Any:
    """The driver's library, initialised, and its devices set to be waited for; None without one."""
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    from framemill.models.store import (
        cache_folder,  # which machines without a device need not import for this
    )

    # Kernels that the driver compiles for newer devices; home folders of containers are often read-only.
    os.environ.setdefault("CUDA_CACHE_PATH", str(cache_folder() / "cuda"))
    if library.cuInit(0):
        return None
    _set_flags(library)
    return library


def _set_flags(driver: Any) -> None:
    count, device = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    for index in range(count.value):
        # Refused where whoever hosts this process made the context before: then the flags of its maker hold.
        if not driver.cuDeviceGet(ctypes.byref(device), index):
            driver.cuDevicePrimaryCtxSetFlags_v2(device, _BLOCKING_SYNC)


def _describe(driver: Any, index: int) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(128), ctypes.c_size_t()
    major, minor = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_MINOR, device)
    return Gpu(name.value.decode(errors="replace"), f"sm{major.value}{minor.value}", memory.value)


def driver_version(file: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The driver's own version, such as 580.65.06, as its kernel module tells; empty where it does not."""
    try:
        words = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", words)
    return found.group(1) if found else ""


def served_cuda() -> int:
    """The newest major version of CUDA that the driver serves; 0 without a driver."""
    driver, version = _driver(), ctypes.c_int()
    return 0 if driver is None or driver.cuDriverGetVersion(ctypes.byref(version)) else version.value // 1000


def version_of(*distributions: str) -> str:
    """Version of the first of these distributions that is installed; empty where none is."""
    from importlib import metadata  # costs a worker without a device several milliseconds

    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def load_tensorrt() -> str:
    """Loads the TensorRT libraries that came as a wheel, where no loader looks for them.

    Returns:
        Why the provider of ONNX Runtime will not find them; empty where it will, or they lie elsewhere.
    """
    # It rounds factors to ten bits by default, and ONNX Runtime has no option for that.
    os.environ.setdefault(TF32_VARIABLE, "0")
    version = version_of(*TENSORRT_PACKAGES)
    if version and int(version.partition(".")[0]) != TENSORRT_MAJOR:
        return (
            f"TensorRT {version} is installed, but ONNX Runtime links version {TENSORRT_MAJOR}; "
            "install tensorrt-cu13-libs of that version, as constraints/gpu-cu13-tensorrt.txt has it"
        )
    folder = _package_folder("tensorrt_libs")
    # The parser and the plug-ins need the first.
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        path = folder / f"lib{name}.so.{TENSORRT_MAJOR}" if folder else None
        if path is not None and path.exists() and (problem := _load(path)):
            return problem
    return ""


def has_tensorrt() -> bool:
    """Whether TensorRT's libraries are there: from a wheel, or where the system looks for them."""
    return bool(version_of(*TENSORRT_PACKAGES)) or not _load(Path(f"libnvinfer.so.{TENSORRT_MAJOR}"))


def load_cublas_for_ctranslate2() -> str:
    """Loads cuBLAS 12 for CTranslate2, which is built for it alone; names of libraries differ, so both fit.

    Returns:
        Why there is none that can be loaded; empty where there is.
    """
    for package in ("nvidia.cublas", "nvidia.cu12"):
        folder = _package_folder(package)
        paths = [folder / "lib" / f"lib{name}.so.12" for name in ("cublasLt", "cublas")] if folder else []
        if paths and all(path.exists() for path in paths):
            return next((problem for path in paths if (problem := _load(path))), "")
    problem = _load(Path("libcublas.so.12"))
    return f"{problem}; CTranslate2 needs nvidia-cublas-cu12" if problem else ""


def _load(path: Path) -> str:
    try:
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except OSError as exc:
        return f"{path.name} cannot be loaded: {exc}"
    return ""


def _package_folder(package: str) -> Path | None:
    try:
        spec = find_spec(package)
    except ImportError:
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None
