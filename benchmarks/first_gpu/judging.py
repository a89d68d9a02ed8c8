"""What the figures of the checks mean: the thresholds to set, and which share of the limits was reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.first_gpu.steps import SIZES
from benchmarks.suite.gpu import least_frames
from framemill.actors import dali_rules

_FP16 = "objects on TensorRT, all, fp16"
Figures = Mapping[str, Mapping[str, Any]]  # name of a check -> what it measured


def thresholds(figures: Figures) -> dict[str, dict[str, Any]]:
    """Name in `dali_rules` -> what it `is` and what it `should_be` here, None where nothing was measured."""
    by_size: dict[str, int | None] = {}
    for size, (width, height) in SIZES.items():
        found = figures.get(f"from how many frames on, {size}")
        least = least_frames(found) if found else None
        by_size[size] = least * width * height if least else None
    known = [pixels for pixels in by_size.values() if pixels]
    pixels = {"is": dali_rules.GPU_LEAST_PIXELS, "should_be": max(known, default=None), "by_size": by_size}
    codecs = figures.get("driver and libraries", {}).get("codecs")
    table = {
        name: [*it.least, *it.most, it.most_blocks, it.units] for name, it in dali_rules.GPU_CODECS.items()
    }
    return {"GPU_LEAST_PIXELS": pixels, "GPU_CODECS": {"is": table, "should_be": codecs}}


def shares(figures: Figures) -> dict[str, float]:
    """What was reached of each limit, 1.0 for all of it; only of what was measured."""
    pairs = {
        "decoding alone, of the decoder's limit": ("reader, ", "decoder limit, "),
        "objects every 0.5 s on CUDA, of the decoder's limit": ("objects on CUDA, every", "decoder limit, "),
        "objects in all frames on CUDA, of the decoder's limit": ("objects on CUDA, all", "decoder limit, "),
        "objects in all frames on TensorRT, fp16, of the decoder's limit": (_FP16, "decoder limit, "),
        "objects in all frames on TensorRT, fp16, of the bare engine": (_FP16, "TensorRT alone, fp16"),
    }
    speeds = {what: (_best(figures, part), _best(figures, whole)) for what, (part, whole) in pairs.items()}
    return {what: part / whole for what, (part, whole) in speeds.items() if part and whole}


def _best(figures: Figures, start: str) -> float:
    """The most frames a second among checks whose names begin so; 0 where none has any."""
    return max((_speed(found) for name, found in figures.items() if name.startswith(start)), default=0.0)


def _speed(found: Mapping[str, Any]) -> float:
    if "per_second" in found:
        return float(found["per_second"])
    return found["frames"] / found["seconds"] if found.get("seconds") else 0.0
