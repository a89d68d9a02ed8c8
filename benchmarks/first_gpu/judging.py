"""What the figures of the checks mean: the thresholds to set, and which share of the limits was reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.first_gpu.steps import SIZES
from benchmarks.suite.gpu import least_frames
from framemill.actors import dali_rules

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
    decoding = _best(figures, "decoder limit, ")
    engine = {p: _best(figures, f"TensorRT alone, {p}") for p in ("fp32", "fp16")}
    found: dict[str, float] = {}
    if decoding and (reading := _best(figures, "reader, ")):
        found["decoding alone of the decoder's limit"] = reading / decoding
    running = _best(figures, "objects, all")
    if running and decoding:
        found["objects in all frames of the decoder's limit"] = running / decoding
    for precision, bare in engine.items():
        if running and bare:
            found[f"objects in all frames of TensorRT's limit, {precision}"] = running / bare
    return found


def _best(figures: Figures, start: str) -> float:
    """The most frames a second among checks whose names begin so; 0 where none has any."""
    return max((_speed(found) for name, found in figures.items() if name.startswith(start)), default=0.0)


def _speed(found: Mapping[str, Any]) -> float:
    if "per_second" in found:
        return float(found["per_second"])
    return found["frames"] / found["seconds"] if found.get("seconds") else 0.0
