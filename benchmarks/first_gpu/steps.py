"""The checks in their order: the cheapest and the most basic first, engines that take minutes last."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from framemill.models import cuda

DECODING = ("nvidia.dali", "cupy")
SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}


@dataclass(frozen=True, slots=True)
class Step:
    """One check, a process of its own.

    Attributes:
        name: as report and page show it. command: passes where it ends with 0.
        seconds: after which it is ended. modules: Python modules that it needs.
        needs: whether it needs `weights`, `tensorrt`, or `runtime`, the GPU's ONNX Runtime.
        figures: whether the last line that it prints is JSON to keep.
    """

    name: str
    command: Sequence[str]
    seconds: float
    modules: Sequence[str] = ()
    needs: Sequence[str] = ()
    figures: bool = False


def plan_steps(clips: Path, models: Path | None) -> list[Step]:
    """Every check.

    Args:
        clips: a folder with `SIZES`, each holding files of that height. models: a folder of weights, if any.
    """
    full = str(clips / "1080p")
    limit = ["-m", "benchmarks.peers.gpu_limit", full, "gpu"]
    reader = ["-m", "benchmarks.peers.gpu_paths", "reader", full, "gpu"]
    weights = ("weights",)
    steps = [
        Step("driver and libraries", _probe("driver"), 60, figures=True),
        Step("doctor", _probe("doctor"), 300, figures=True),
        Step("key frames of an H.264 clip", _tests("reading", "libx264 and keys"), 180, DECODING),
        Step("array code on the device", _tests("arrays"), 180, ("cupy",)),
        Step("sessions on CUDA", _tests("sessions", _ON_CUDA), 300, ("cupy",), ("runtime", *weights)),
        Step("all readings", _tests("reading"), 420, DECODING),
        Step("the decoder's own word", _tests("decoder"), 120, DECODING),
        Step("memory over 150 calls", _probe("memory", str(clips)), 180, DECODING, figures=True),
        Step("decoder limit, 4 sessions", [*limit, "4"], 180, figures=True),
        Step("decoder limit, 16 sessions", [*limit, "16"], 180, figures=True),
        Step("reader, 4 threads", [*reader, "4"], 180, DECODING, figures=True),
        Step("reader, 16 threads", [*reader, "16"], 180, DECODING, figures=True),
    ]
    for size in SIZES:
        words = ["-m", "benchmarks.peers.gpu_paths", "weigh", str(clips / size / "000.mp4"), "gpu", "3"]
        steps.append(Step(f"from how many frames on, {size}", words, 120, DECODING, figures=True))
    needs = ("runtime", *weights)
    for sample in ("every:0.5", "all"):
        command = _probe("objects", full, sample, "cuda", "fp32")
        steps.append(Step(f"objects on CUDA, {sample}", command, 420, DECODING, needs, figures=True))
    needs = ("tensorrt", *needs)
    for precision in ("fp32", "fp16"):
        command = _probe("engine", str(models), precision)
        steps.append(Step(f"TensorRT alone, {precision}", command, 900, ("cupy",), needs, figures=True))
    command = _probe("objects", full, "all", "tensorrt", "fp16")
    steps.append(Step("objects on TensorRT, all, fp16", command, 900, DECODING, needs, figures=True))
    command = _tests("sessions", "tensorrt or engine")
    return [*steps, Step("sessions on TensorRT", command, 900, ("cupy",), needs)]


def missing(step: Step, models: Path | None) -> str:
    """What a check needs and is not here, by name; empty where nothing is."""
    lacking = [name for name in step.modules if not _is_there(name)]
    if step.command[:2] == ["-m", "pytest"] and not _is_there("pytest"):
        lacking.append("pytest")
    if "runtime" in step.needs and not cuda.version_of("onnxruntime-gpu"):
        lacking.append("onnxruntime-gpu")
    if "tensorrt" in step.needs and not cuda.version_of(*cuda.TENSORRT_PACKAGES):
        lacking.append("TensorRT (constraints/gpu-cu13-tensorrt.txt)")
    if "weights" in step.needs and models is None:
        lacking.append("weights (--models FOLDER)")
    if "peers.gpu_limit" in " ".join(step.command) and not _is_there("nvidia.dali"):
        lacking.append("nvidia.dali")
    return ", ".join(lacking)


_ON_CUDA = "(detector and cuda) or memory or whisper"


def _probe(*words: str) -> list[str]:
    return ["-m", "benchmarks.first_gpu.probes", *words]


def _tests(name: str, chosen: str = "") -> list[str]:
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--confcutdir=tests/gpu"]
    return [*command, f"tests/gpu/test_{name}_on_device.py", *(["-k", chosen] if chosen else [])]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def command_line(step: Step) -> list[str]:
    """As it is started: with the interpreter of this process."""
    return [sys.executable, *step.command]
