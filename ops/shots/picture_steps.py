"""Global motion from frame to frame, and the classification of frames by it.

Shifts come from phase correlation (Kuglin and Hines, "The phase correlation image alignment method", 1975).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array

# In order of precedence: a frame is of the first kind that applies.
KINDS = ("frozen", "shaky", "static", "moving")
ASSUMED_STEP_SECONDS = 0.04  # between frames where timestamps are equal or missing
# The shift of the whole picture is the median of the shifts of 3 x 3 parts, so that something that moves in
# front of a camera at rest does not count. Measured as the largest trembling in the first 300 frames of five
# clips from cameras at rest, in long sides a second: 0.18 from the picture as one part, 0.07 from 2 x 2 parts
# (both on every other sample), 0.02 from 3 x 3 parts on every sample.
_PARTS = 3
_LEAST_PART = 16  # samples; smaller planes are taken as one part
_FLAT = 2.0  # standard deviation in levels below which a part has no texture to track
# The share of the correlation around its peak. Below it the shift is chance, as at a cut. Measured on parts
# of 40 x 80 samples: pure noise has less in 95% of the cases, shifted pictures have 0.4 and more.
_LEAST_RESPONSE = 0.25
_STATIC_WINDOW_SECONDS = 0.5
# Trembling is faster than half a second; what is slower is a pan.
_PAN_WINDOW_SECONDS = 0.5
_SHAKE_WINDOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Steps:
    """Frames of a source and the step into each from the one before; the first has none.

    Attributes:
        frame_index: int64 [n]. pts_seconds: float64 [n].
        difference: float64 [n], mean absolute difference in 8-bit levels.
        shift_x, shift_y: float64 [n], of the picture, in long sides of the frame.
    """

    frame_index: Int64Array
    pts_seconds: Float64Array
    difference: Float64Array
    shift_x: Float64Array
    shift_y: Float64Array


def measure_step(before: UInt8Array, after: UInt8Array) -> tuple[float, float, float]:
    """Mean absolute difference in levels and shift in long sides of the frame, of two planes uint8 [h, w].

    The shift is 0 where less than half of the picture has texture to track.
    """
    difference = cv2.norm(before, after, cv2.NORM_L1) / before.size
    if difference == 0:
        return 0.0, 0.0, 0.0
    count = _PARTS if min(before.shape) >= _PARTS * _LEAST_PART else 1
    high, wide = (_part_side(side // count) for side in before.shape)
    found = []
    for row in range(0, count * high, high):
        for left in range(0, count * wide, wide):
            cut = np.s_[row : row + high, left : left + wide]
            shift = _shift(before[cut].astype(np.float32), after[cut].astype(np.float32))
            if shift is not None:
                found.append(shift)
    if 2 * len(found) < count * count:
        return difference, 0.0, 0.0
    x, y = np.median(found, axis=0) / max(before.shape)
    return difference, float(x), float(y)


def _shift(before: Float32Array, after: Float32Array) -> tuple[float, float] | None:
    """Shift in samples between two parts, float32 [h, w]; None where it cannot be measured."""
    mean, deviation = cv2.meanStdDev(before)
    if deviation[0, 0] < _FLAT:
        return None
    # Without their means, so that the edge of the window does not act as a feature at rest.
    window = _window(*before.shape)
    (x, y), response = cv2.phaseCorrelate(before - float(mean[0, 0]), after - float(after.mean()), window)
    return (x, y) if response >= _LEAST_RESPONSE else None


@cache
def _part_side(most: int) -> int:
    """The largest even side up to `most` that phase correlation need not pad.

    OpenCV takes the middle of an odd side to lie between two samples, which moves every shift by half of one.
    """
    return next((n for n in range(most, 1, -1) if n % 2 == 0 and cv2.getOptimalDFTSize(n) == n), most)


@cache
def _window(height: int, width: int) -> Float32Array:
    window: Float32Array = cv2.createHanningWindow((width, height), cv2.CV_32F)  # type: ignore[assignment]
    return window


def classify(
    steps: Steps,
    frozen_difference: float,
    static_difference: float,
    shake: float,
    min_still_seconds: float,
    min_shake_seconds: float,
) -> tuple[Int64Array, Float64Array]:
    """Kind of each frame, int64 [n] in KINDS, and speed of trembling, float64 [n], long sides a second."""
    seconds = steps.pts_seconds
    gaps = np.diff(seconds, prepend=seconds[:1])
    usual = float(np.median(gaps[1:])) if len(gaps) > 1 else ASSUMED_STEP_SECONDS
    gaps = np.where(gaps > 0, gaps, usual or ASSUMED_STEP_SECONDS)
    jitter = np.zeros((2, len(seconds)))
    for row, shift in zip(jitter, (steps.shift_x, steps.shift_y), strict=True):
        speed = shift / gaps
        row[:] = speed - running_mean(speed, seconds, _PAN_WINDOW_SECONDS)
    squared = (jitter**2).sum(axis=0)
    trembling = np.sqrt(np.maximum(running_mean(squared, seconds, _SHAKE_WINDOW_SECONDS), 0))

    still = steps.difference <= frozen_difference
    still[0] = False
    # A picture stands still from its first frame on, not from the second.
    frozen = still | np.append(still[1:], False)
    static = running_mean(steps.difference, seconds, _STATIC_WINDOW_SECONDS) <= static_difference
    kind = np.full(len(seconds), KINDS.index("moving"), np.int64)
    ends = np.append(seconds[1:], seconds[-1] + (usual or ASSUMED_STEP_SECONDS))
    for name, holds, least in (
        ("static", static, min_still_seconds),
        ("shaky", trembling >= max(shake, 1e-9), min_shake_seconds),
        ("frozen", frozen, min_still_seconds),
    ):
        kind[_long_runs(holds, seconds, ends, least)] = KINDS.index(name)
    return kind, np.sqrt(squared)


def running_mean(values: Float64Array, seconds: Float64Array, window: float) -> Float64Array:
    """Mean of the values at most half a window away in time."""
    low = np.searchsorted(seconds, seconds - window / 2 - 1e-6)
    high = np.searchsorted(seconds, seconds + window / 2 + 1e-6)
    sums = np.append(0.0, np.cumsum(values))
    mean: Float64Array = (sums[high] - sums[low]) / (high - low)
    return mean


def _long_runs(holds: BoolArray, starts: Float64Array, ends: Float64Array, least: float) -> BoolArray:
    """Where a condition holds for at least some seconds on end."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(np.int8)))
    kept = np.zeros(len(holds), np.bool_)
    for first, stop in edges.reshape(-1, 2).tolist():
        kept[first:stop] = ends[stop - 1] - starts[first] >= least - 1e-6
    return kept
