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
# Each needs a process of its own: a library of the wrong kind may end the one that loads it.
_TRY_PROVIDER = """
import json, sys
from framemill.models.provider_sessions import try_provider
print(json.dumps(try_provider(sys.argv[1])))
"""
_TRY_CUBLAS = "import json; from models import cuda; print(json.dumps(cuda.load_cublas_for_ctranslate2()))"
_TRY_DALI = (
    "import json, cupy, nvidia.dali.experimental.dynamic; "
    "print(json.dumps('' if int(cupy.arange(3).sum()) == 3 else 'CuPy adds wrongly'))"
)
TRY_SECONDS = 120


def gpu_checks() -> Iterator[Finding]:
    """Findings about the GPU: nothing but one line where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        if sys.platform == "darwin":
            yield from _provider("coreml", "update macOS and onnxruntime")
            return
        yield _finding("gpu", "ok", "no NVIDIA driver found: models run on the CPU")
        return
    names = yield from _drivers(program)
    if not names:
        return
    if not cuda.version_of("onnxruntime-gpu"):
        yield _finding("gpu use", "warn", "a GPU is there, but only the CPU runtime", "see docs/gpu.md")
        return
    yield from _tensorrt()
    yield from _provider("cuda", f"{_PINS}; CUDA and cuDNN come with it")
    yield from _tried(
        "decoder on the GPU", _TRY_DALI, [], "DALI and CuPy", "frames are decoded on the CPU", _PINS
    )
    yield from _tried(
        "speech on the GPU", _TRY_CUBLAS, [], "cuBLAS 12 for CTranslate2", "speech runs on the CPU", _PINS
    )


def _drivers(program: str) -> Generator[Finding, None, list[str]]:
    """One finding for each device; returns their names."""
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield _finding("gpu", "warn", f"nvidia-smi does not answer: {error}", "check the driver")
        return []
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        output = (done.stderr or done.stdout).strip() or f"nvidia-smi ended with {done.returncode}"
        yield _finding("gpu", "warn", output, "check the driver")
        return []
    for line in lines:
        major = line.split(",")[1].strip().partition(".")[0] if "," in line else ""
        version = int(major) if major.isdigit() else 0
        if version >= cuda.CUDA13_DRIVER:
            yield _finding("gpu", "ok", line)
        elif version >= cuda.CUDA12_DRIVER:
            remedy = f"CUDA 13 needs driver {cuda.CUDA13_DRIVER} or newer; older ones take extra gpu-cu12"
            yield _finding("gpu", "warn", line, remedy)
        else:
            yield _finding("gpu", "warn", line, f"update the driver to {cuda.CUDA13_DRIVER} or newer")
    return lines


def _tensorrt() -> Iterator[Finding]:
    version = cuda.version_of(*cuda.TENSORRT_PACKAGES)
    if not version:
        yield _finding("tensorrt", "ok", "not installed: models run on CUDA, which is slower (extra `gpu`)")
    elif int(version.partition(".")[0]) != cuda.TENSORRT_MAJOR:
        yield _finding(
            "tensorrt",
            "fail",
            f"{version} is installed, but ONNX Runtime links version {cuda.TENSORRT_MAJOR}: it does not load",
            f"uninstall it, then {_PINS}",
        )
    else:
        yield from _provider("tensorrt", _PINS)


def _provider(provider: str, remedy: str) -> Iterator[Finding]:
    yield from _tried(
        provider, _TRY_PROVIDER, [provider], "a small model runs on it", "models do not run on it", remedy
    )


def _tried(
    check: str, code: str, arguments: list[str], good: str, bad: str, remedy: str
) -> Iterator[Finding]:
    """What a process of its own says: an empty text, or what is wrong."""
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
        problem = json.loads(done.stdout.strip().splitlines()[-1]) or ""
    else:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        problem = f"ended with {done.returncode}: {last}"
    if problem:
        yield _finding(check, "fail", f"{bad}: {problem}", remedy)
    else:
        yield _finding(check, "ok", good)


def _finding(check: str, status: str, detail: str, remedy: str = "") -> Finding:
    return {"check": check, "status": status, "detail": detail, "remedy": remedy}
