"""Defects of pictures: blur, exposure, noise, blocks, bars.

Luma is uint8 [height, width], 0..255. Each function takes that of one frame, but for `measure_defects`, which
takes those of a batch, on the host or on a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from framemill.models.arrays import is_on_host, to_host
from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Float64Array, Int64Array, UInt8Array
from framemill.ops.pixels.device_measures import blur_sums, histograms, line_sums, noise_sums, step_sums

_BLUR_WINDOW = 9  # of Crete et al.
_NOISE_SIDE = 512  # noise hardly varies over a frame: its middle is representative
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_GRID = 8  # coders transform blocks of 8 x 8 or multiples of it
_BLOCK_LINES = 4  # every fourth line is measured
_BLOCK_FLOOR = 0.5  # levels; without it rounding in a flat picture would count as blocks
_DARK, _BRIGHT = 12, 243  # within 5% of the ends of 0..255
# The limits of FFmpeg's blackdetect: a pixel is black up to 10%, a picture where 98% of its pixels are.
_BLACK_PIXEL, _BLACK_SHARE = 25, 0.98
# The limit of FFmpeg's cropdetect, and how much a bar's line may vary: dark parts of a picture vary more.
_BAR_MEAN, _BAR_SPREAD = 24.0, 2.0


class Bars(NamedTuple):
    """Black bars along the edges, each as a share of the frame's width or height, 0..1."""

    left: float
    top: float
    right: float
    bottom: float


_NO_BARS = Bars(0.0, 0.0, 0.0, 0.0)


class Defects(NamedTuple):
    """All of one frame: see the functions of these names; black bars are none where the frame is black."""

    blur: float
    dark: float
    bright: float
    noise: float
    blockiness: float
    bars: Bars
    is_black: bool


def measure_defects(small: Any, full: Any) -> list[Defects]:
    """Of each frame.

    Args:
        small: luma at the size in which blur, exposure and bars are looked for, uint8 [n, height, width].
        full: the same frames at full size.
    """
    if not is_on_host(small):
        return _measure_on_device(small, full)
    return [
        _defects(blur(luma), exposure(luma), noise(whole), blockiness(whole), bars(luma))
        for luma, whole in zip(small, full, strict=True)
    ]


def _measure_on_device(small: Any, full: Any) -> list[Defects]:
    counts, blurs = to_host(histograms(small)), to_host(blur_sums(small, _BLUR_WINDOW))
    lines = [to_host(line_sums(small, axis)) for axis in (1, 2)]
    middle = _middle(full)
    noises = to_host(noise_sums(middle)) if min(middle.shape[1:]) > 2 else np.zeros(len(counts), np.int64)
    parts = full[:, :, ::_BLOCK_LINES], full[:, ::_BLOCK_LINES, :]
    steps = [to_host(step_sums(part, axis)) / part.shape[3 - axis] for axis, part in enumerate(parts, 1)]
    lengths = [small.shape[2], small.shape[1]]
    return [
        _defects(
            _blur(blurs[i]),
            _exposure(counts[i]),
            _noise(int(noises[i]), middle.shape[1:]),
            _blockiness([part[i] for part in steps]),
            _bars([_spread(part[i], length) for part, length in zip(lines, lengths, strict=True)]),
        )
        for i in range(len(counts))
    ]


def _defects(
    blurred: float, exposed: tuple[float, float, bool], noisy: float, blocky: float, edges: Bars
) -> Defects:
    dark, bright, is_black = exposed
    return Defects(blurred, dark, bright, noisy, blocky, _NO_BARS if is_black else edges, is_black)


def blur(luma: UInt8Array) -> float:
    """Perceived blur, 0 (sharp) to 1 (blurred, or flat): how little a second blur changes it.

    Crete et al., "The blur effect: perception and estimation with a new no-reference perceptual blur metric",
    SPIE 2007.
    """
    sums = []
    for axis, window in ((0, (1, _BLUR_WINDOW)), (1, (_BLUR_WINDOW, 1))):
        change, less = _steps(luma, axis), _steps(cast(UInt8Array, cv2.blur(luma, window)), axis)
        lost = cv2.subtract(change, less) if change.size else change  # saturates: never below 0
        sums.append((change.sum(dtype=np.int64), lost.sum(dtype=np.int64)))
    return _blur(np.array(sums))


def _blur(sums: Int64Array) -> float:
    """From the steps along both axes, and how much less they are once blurred."""
    return max((float(total - lost) / float(total) for total, lost in sums if total), default=1.0)


def exposure(luma: UInt8Array) -> tuple[float, float, bool]:
    """Shares of nearly black and of nearly white pixels, 0..1, and whether the whole picture is black."""
    return _exposure(np.bincount(luma.ravel(), minlength=256))


def _exposure(histogram: npt.NDArray[np.int64]) -> tuple[float, float, bool]:
    counts = histogram / histogram.sum()
    dark, bright = float(counts[: _DARK + 1].sum()), float(counts[_BRIGHT:].sum())
    return dark, bright, bool(counts[: _BLACK_PIXEL + 1].sum() >= _BLACK_SHARE)


def noise(luma: UInt8Array) -> float:
    """Standard deviation of the noise in 8-bit steps in the middle 512 x 512 pixels; fine texture adds to it.

    Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 64(2), 1996.
    """
    middle = _middle(luma[None])[0]
    if min(middle.shape) < 3:
        return 0.0
    inner = cv2.filter2D(middle, cv2.CV_16S, _NOISE_MASK)[1:-1, 1:-1]
    return _noise(cv2.norm(inner, cv2.NORM_L1), middle.shape)


def _middle(pictures: Any) -> Any:
    high, wide = (min(side, _NOISE_SIDE) for side in pictures.shape[1:])
    top, left = (pictures.shape[1] - high) // 2, (pictures.shape[2] - wide) // 2
    return pictures[:, top : top + high, left : left + wide]


def _noise(total: float, shape: Sequence[int]) -> float:
    """From the sum over all pixels but those at the edges of a picture of this shape."""
    size = max(1, (shape[0] - 2) * (shape[1] - 2))
    return float(np.sqrt(np.pi / 2) * total / (6 * size))


def blockiness(luma: UInt8Array) -> float:
    """Steps across the lines of an 8 x 8 grid over steps elsewhere: about 1 without visible blocks.

    After Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG compressed images",
    ICIP 2002, who use the same two means. The mean of both directions.
    """
    found = []
    for axis, lines in ((0, luma[:, ::_BLOCK_LINES]), (1, luma[::_BLOCK_LINES])):
        change = _steps(np.ascontiguousarray(lines), axis)
        found.append(change.mean(axis=1 - axis, dtype=np.float64) if change.size else np.zeros(0))
    return _blockiness(found)


def _blockiness(found: Sequence[Float64Array]) -> float:
    """From the mean steps between neighbouring lines, in both directions."""
    ratios = []
    for steps in found:
        on_grid = np.arange(1, len(steps) + 1) % _GRID == 0
        if on_grid.any() and not on_grid.all():
            ratios.append((steps[on_grid].mean() + _BLOCK_FLOOR) / (steps[~on_grid].mean() + _BLOCK_FLOOR))
    return float(np.mean(ratios)) if ratios else 1.0


def bars(luma: UInt8Array) -> Bars:
    """Lines along the edges that are dark and even; none where every line is, as in a black picture."""
    return _bars([(luma.mean(axis=axis), luma.std(axis=axis)) for axis in (1, 0)])


def _spread(sums: Int64Array, length: int) -> tuple[Float64Array, Float64Array]:
    """Mean and standard deviation of lines from their sums and sums of squares [2, n]."""
    mean, square = sums / length
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


def _bars(lines: Sequence[tuple[Float64Array, Float64Array]]) -> Bars:
    """From mean and spread of each row, then of each column."""
    shares = []
    for means, spreads in lines:
        picture = np.flatnonzero(~((means <= _BAR_MEAN) & (spreads <= _BAR_SPREAD)))
        if not len(picture):
            return _NO_BARS
        shares.append((picture[0] / len(means), (len(means) - 1 - picture[-1]) / len(means)))
    (top, bottom), (left, right) = shares
    return Bars(float(left), float(top), float(right), float(bottom))


def _steps(luma: UInt8Array, axis: int) -> UInt8Array:
    """Absolute differences of neighbours along an axis."""
    if luma.shape[axis] < 2:
        return np.zeros((0, 0), np.uint8)
    near = luma[1:] if axis == 0 else luma[:, 1:]
    far = luma[:-1] if axis == 0 else luma[:, :-1]
    return cast(UInt8Array, cv2.absdiff(near, far))
