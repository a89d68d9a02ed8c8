"""What is wrong with one picture: blur, exposure, noise, blocks, bars. Each function takes one frame's luma.

Luma is uint8 [height, width], 0..255.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import cv2
import numpy as np

from ops.chunks import UInt8Array

_BLUR_WINDOW = 9  # of Crete et al.
_NOISE_SIDE = 512  # noise is much the same everywhere: the middle of a large frame tells as much as all of it
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_GRID = 8  # coders transform blocks of 8 x 8 or multiples of it
_BLOCK_LINES = 4  # every fourth line is looked at
_BLOCK_FLOOR = 0.5  # levels; without it rounding in a flat picture would count as blocks
_DARK, _BRIGHT = 12, 243  # within 5% of the ends of 0..255
# The limits of FFmpeg's blackdetect: a pixel is black up to 10%, a picture where 98% of its pixels are.
_BLACK_PIXEL, _BLACK_SHARE = 25, 0.98
# The limit of FFmpeg's cropdetect, and how much a bar's line may vary: what is merely dark varies more.
_BAR_MEAN, _BAR_SPREAD = 24.0, 2.0


class Bars(NamedTuple):
    """Black bars along the edges, each as a share of the frame's width or height, 0..1."""

    left: float
    top: float
    right: float
    bottom: float


def blur(luma: UInt8Array) -> float:
    """Perceived blur, 0 (sharp) to 1 (blurred, or flat): how little blurring it once more takes away.

    Crete et al., "The blur effect: perception and estimation with a new no-reference perceptual blur metric",
    SPIE 2007.
    """
    shares = []
    for axis, window in ((0, (1, _BLUR_WINDOW)), (1, (_BLUR_WINDOW, 1))):
        change, less = _steps(luma, axis), _steps(cast(UInt8Array, cv2.blur(luma, window)), axis)
        total = float(change.sum(dtype=np.int64))
        if total:
            lost = float(cv2.subtract(change, less).sum(dtype=np.int64))  # saturates: never below 0
            shares.append((total - lost) / total)
    return max(shares, default=1.0)


def exposure(luma: UInt8Array) -> tuple[float, float, bool]:
    """Shares of nearly black and of nearly white pixels, 0..1, and whether the whole picture is black."""
    counts = np.bincount(luma.ravel(), minlength=256) / luma.size
    dark, bright = float(counts[: _DARK + 1].sum()), float(counts[_BRIGHT:].sum())
    return dark, bright, bool(counts[: _BLACK_PIXEL + 1].sum() >= _BLACK_SHARE)


def noise(luma: UInt8Array) -> float:
    """Standard deviation of the noise in 8-bit steps in the middle 512 x 512 pixels; fine texture adds to it.

    Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 64(2), 1996.
    """
    top, left = (max(0, (side - _NOISE_SIDE) // 2) for side in luma.shape)
    middle = luma[top : top + _NOISE_SIDE, left : left + _NOISE_SIDE]
    if min(middle.shape) < 3:
        return 0.0
    inner = cv2.filter2D(middle, cv2.CV_16S, _NOISE_MASK)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) * cv2.norm(inner, cv2.NORM_L1) / (6 * inner.size))


def blockiness(luma: UInt8Array) -> float:
    """Steps across the lines of an 8 x 8 grid over steps elsewhere: about 1 without visible blocks.

    After Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG compressed images",
    ICIP 2002, who set the same two means apart. The mean of both directions.
    """
    ratios = []
    for axis, lines in ((0, luma[:, ::_BLOCK_LINES]), (1, luma[::_BLOCK_LINES])):
        change = _steps(np.ascontiguousarray(lines), axis)
        if not change.size:
            continue
        steps = change.mean(axis=1 - axis, dtype=np.float64)
        on_grid = np.arange(1, len(steps) + 1) % _GRID == 0
        if on_grid.any() and not on_grid.all():
            ratios.append((steps[on_grid].mean() + _BLOCK_FLOOR) / (steps[~on_grid].mean() + _BLOCK_FLOOR))
    return float(np.mean(ratios)) if ratios else 1.0


def bars(luma: UInt8Array) -> Bars:
    """Lines along the edges that are dark and even; none where every line is, as in a black picture."""
    shares = []
    for axis in (1, 0):  # rows, then columns
        means, spreads = luma.mean(axis=axis), luma.std(axis=axis)
        picture = np.flatnonzero(~((means <= _BAR_MEAN) & (spreads <= _BAR_SPREAD)))
        if not len(picture):
            return Bars(0.0, 0.0, 0.0, 0.0)
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
