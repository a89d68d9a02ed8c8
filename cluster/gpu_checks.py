"""The doctor's checks of GPUs: driver, libraries, and which runtime really runs on them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator

from framemill.models import cuda

Finding = dict[str, str]

_PINS = "pip install --no-deps -r constraints/gpu-cu13.txt"
_DALI_PACKAGES = ("nvidia-dali-cuda130", "nvidia-dali-cuda120")
_PINS_12 = "pip install --no-deps -r constraints/gpu-cu12.txt"
_PINS_TENSORRT = "pip install --no-deps -r constraints/gpu-cu13-tensorrt.txt"
# Each needs a process of its own: a library of the wrong kind may end the one that loads it.
_TRY_PROVIDER = """
import json, sys
from framemill.models.provider_sessions import try_provider
print(json.dumps(try_provider(sys.argv[1])))
"""
_TRY_CUBLAS = """
import json
from framemill.models import cuda
print(json.dumps(cuda.load_cublas_for_ctranslate2()))
"""
_TRY_DECODER = """
import json
from framemill.actors.dali_device import decoder_problem
from framemill.models.nvdec import decoder_limits, describe_limits
problem = decoder_problem()
print(json.dumps([problem, "" if problem else describe_limits(decoder_limits())]))
"""
TRY_SECONDS = 120


def gpu_checks() -> Iterator[Finding]:
    """Findings about the GPU: nothing but one line where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        if sys.platform == "darwin":
            yield from provider_check("coreml", "update macOS and onnxruntime")
            return
        if not cuda.find_gpus():
            yield _finding("gpu", "ok", "no NVIDIA driver found: models run on the CPU")
            return
        yield from _devices_alone()
    elif not (yield from _drivers(program)):
        return
    if not cuda.version_of("onnxruntime-gpu"):
        yield _finding("gpu use", "warn", "a GPU is there, but only the CPU runtime", "see docs/gpu.md")
        if cuda.version_of(*_DALI_PACKAGES):
            yield from _decoder()
        return
    yield from _tensorrt()
    yield from provider_check("cuda", f"{_PINS}; CUDA and cuDNN come with it")
    yield from _decoder()
    yield from _tried(
        "speech on the GPU", _TRY_CUBLAS, [], "cuBLAS 12 for CTranslate2", "speech runs on the CPU", _PINS
    )


def _decoder() -> Iterator[Finding]:
    yield from _tried(
        "decoder on the GPU",
        _TRY_DECODER,
        [],
        "a clip is decoded as it should",
        "frames are decoded on the CPU",
        f"{_PINS}; in a container, give it the driver's `compute`, `utility` and `video`",
    )


def _drivers(program: str) -> Generator[Finding, None, list[str]]:
    """One finding for each device; returns what the driver says of each."""
    names = ("name", "driver_version", "memory.total", "compute_cap")
    # Drivers before 510 know no compute capability, and refuse the whole question.
    for asked in (names, names[:3]):
        query = [program, f"--query-gpu={','.join(asked)}", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            yield _finding("gpu", "warn", f"nvidia-smi does not answer: {error}", "check the driver")
            return []
        lines = done.stdout.strip().splitlines()
        if done.returncode == 0 and lines:
            break
    else:
        output = (done.stderr or done.stdout).strip() or f"nvidia-smi ended with {done.returncode}"
        yield _finding("gpu", "warn", output, "check the driver")
        return []
    for line in lines:
        yield _device(*[part.strip() for part in line.split(",")])
    return lines


def _devices_alone() -> Iterator[Finding]:
    """The same of the driver itself, as in a container that was given no `utility`."""
    driver, served = cuda.driver_version(), cuda.served_cuda()
    if not driver:  # the least one that serves the CUDA that it says it serves
        least = cuda.CUDA13_DRIVER if served >= 13 else cuda.CUDA12_DRIVER
        driver = f"{least} or newer" if served >= 12 else f"of CUDA {served}"
    for gpu in cuda.find_gpus():
        digits = gpu.architecture.removeprefix("sm")
        yield _device(gpu.name, driver, f"{gpu.memory_bytes >> 20} MiB", f"{digits[:-1]}.{digits[-1]}")


def _device(name: str, driver: str = "", memory: str = "", capability: str = "") -> Finding:
    """What is to be said of one device; `capability` is empty where the driver does not tell it."""
    major = driver.partition(".")[0].partition(" ")[0]
    version = int(major) if major.isdigit() else 0
    told = f"{name}, driver {driver or 'unknown'}, {memory or 'unknown memory'}"
    told += f", compute capability {capability}" if capability else ""
    if version < cuda.CUDA12_DRIVER:
        return _finding("gpu", "warn", told, f"update the driver to {cuda.CUDA13_DRIVER} or newer")
    if _number(capability) and _number(capability) < cuda.CUDA13_CAPABILITY:
        least = ".".join(map(str, cuda.CUDA13_CAPABILITY))
        told += f": CUDA 13 serves {least} and newer, not Volta and what came before it"
        return _finding("gpu", "warn", told, f"take CUDA 12, as far as its libraries serve it: {_PINS_12}")
    if version < cuda.CUDA13_DRIVER:
        remedy = f"CUDA 13 needs driver {cuda.CUDA13_DRIVER} or newer; older ones take extra gpu-cu12"
        return _finding("gpu", "warn", told, remedy)
    return _finding("gpu", "ok", told)


def _number(capability: str) -> tuple[int, ...]:
    parts = capability.split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


def _tensorrt() -> Iterator[Finding]:
    version = cuda.version_of(*cuda.TENSORRT_PACKAGES)
    if not version:
        detail = f"not installed: models run on CUDA, which is slower ({_PINS_TENSORRT})"
        yield _finding("tensorrt", "ok", detail)
    elif int(version.partition(".")[0]) != cuda.TENSORRT_MAJOR:
        yield _finding(
            "tensorrt",
            "fail",
            f"{version} is installed, but ONNX Runtime links version {cuda.TENSORRT_MAJOR}: it does not load",
            f"uninstall it, then {_PINS_TENSORRT}",
        )
    else:
        yield from provider_check("tensorrt", _PINS_TENSORRT)


def provider_check(provider: str, remedy: str) -> Iterator[Finding]:
    """Whether a provider of ONNX Runtime runs a small model, tried in a process of its own."""
    yield from _tried(
        provider, _TRY_PROVIDER, [provider], "a small model runs on it", "models do not run on it", remedy
    )


def _tried(
    check: str, code: str, arguments: list[str], good: str, bad: str, remedy: str
) -> Iterator[Finding]:
    """What a process of its own says: what is wrong or nothing, and beside it what else is to be told."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=TRY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield _finding(check, "fail", f"{bad}: no answer within {TRY_SECONDS} s", remedy)
        return
    if done.returncode == 0:
        said = json.loads(done.stdout.strip().splitlines()[-1]) or ""
        problem, more = said if isinstance(said, list) else (said, "")
    else:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        problem, more = f"ended with {done.returncode}: {last}", ""
    if problem:
        yield _finding(check, "fail", f"{bad}: {problem}", remedy)
    else:
        yield _finding(check, "ok", f"{good}: {more}" if more else good)


def _finding(check: str, status: str, detail: str, remedy: str = "") -> Finding:
    return {"check": check, "status": status, "detail": detail, "remedy": remedy}
