"""Resizing, cropping and turning pictures on the host or a device: one code for NumPy and CuPy.

On the host OpenCV does the same several times as fast, so readers of the host use that. Values agree with
OpenCV's to one step of 255, where it computes with rounded weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from framemill.models.arrays import array_module
from framemill.ops.chunks import Float32Array

# Any array of uint8 pictures, [n, height, width] or [n, height, width, 3].
Pictures = Any


def resize_linear(pictures: Pictures, size: tuple[int, int], matrix: Float32Array | None = None) -> Pictures:
    """Pictures at `size` = (width, height) by bilinear sampling at pixel centres, edges repeated.

    Args:
        matrix: mixes the channels as in `mix_channels`, before values are rounded; None leaves them.
    """
    resized = pictures
    for axis, length in ((1, size[1]), (2, size[0])):
        if pictures.shape[axis] != length:
            resized = _resize_axis(resized, axis, length)
    if matrix is not None:
        return mix_channels(resized, matrix)
    return pictures if resized is pictures else _rounded(array_module(pictures), resized)


def shrink(pictures: Pictures, size: tuple[int, int]) -> Pictures:
    """Pictures at `size` without aliasing: halved by averaging while twice too large, then linear."""
    while pictures.shape[2] >= 2 * size[0] and pictures.shape[1] >= 2 * size[1]:
        pictures = halve(pictures)
    return resize_linear(pictures, size)


def halve(pictures: Pictures) -> Pictures:
    """Pictures of half the size, rounded down, each pixel the mean of those it covers."""
    xp = array_module(pictures)
    high, wide = pictures.shape[1:3]
    if high % 2 or wide % 2:
        rows = _average_axis(xp.astype(pictures, xp.float32), 1, high // 2)
        return _rounded(xp, _average_axis(rows, 2, wide // 2))
    wider = xp.astype(pictures, xp.uint16)
    rows = wider[:, 0::2, ...] + wider[:, 1::2, ...]
    total = rows[:, :, 0::2, ...] + rows[:, :, 1::2, ...]
    two, four = (xp.asarray(number, dtype=xp.uint16) for number in (2, 4))
    return xp.astype((total + two) // four, xp.uint8)  # rounded as OpenCV does


def cut_regions(
    pictures: Pictures,
    index: Any,
    boxes: Float32Array,
    size: tuple[int, int],
    matrix: Float32Array | None = None,
) -> Pictures:
    """Regions of pictures by bilinear sampling at pixel centres; what lies outside is black.

    Args:
        pictures: uint8 [n, h, w, 3].
        index: int64 [m] on the host, the picture of each region.
        boxes: float32 [m, 4] on the host, x0, y0, x1, y1 in pixels; empty ones give black.
        size: (width, height) of every region.
        matrix: as in `resize_linear`.

    Returns:
        uint8 [m, height, width, 3].
    """
    xp = array_module(pictures)
    _, high, wide, channels = pictures.shape
    flat = xp.reshape(pictures, (-1, channels))
    regions = boxes.astype(np.float64)
    empty = (regions[:, 2] <= regions[:, 0]) | (regions[:, 3] <= regions[:, 1])
    across = _samples(regions[:, 0], regions[:, 2], size[0], wide, empty)
    down = _samples(regions[:, 1], regions[:, 3], size[1], high, empty)
    total = None
    for row, row_weight in down:
        for column, column_weight in across:
            place = (np.asarray(index)[:, None, None] * high + row[:, :, None]) * wide + column[:, None, :]
            weight = (row_weight[:, :, None] * column_weight[:, None, :])[..., None].astype(np.float32)
            taken = xp.take(flat, xp.reshape(xp.asarray(place), (-1,)), axis=0)
            taken = xp.astype(xp.reshape(taken, (*place.shape, channels)), xp.float32) * xp.asarray(weight)
            total = taken if total is None else total + taken
    return _rounded(xp, total) if matrix is None else mix_channels(total, matrix)


def turn(pictures: Pictures, quarters: int) -> Pictures:
    """Pictures turned clockwise by so many quarters."""
    xp = array_module(pictures)
    if quarters % 4 == 2:
        return xp.flip(pictures, axis=(1, 2))
    if quarters % 4 == 0:
        return pictures
    turned = xp.permute_dims(pictures, (0, 2, 1, *range(3, pictures.ndim)))
    return xp.flip(turned, axis=2 if quarters % 4 == 1 else 1)


def mirror(pictures: Pictures) -> Pictures:
    """Pictures with left and right exchanged."""
    return array_module(pictures).flip(pictures, axis=2)


def mix_channels(pictures: Pictures, matrix: Float32Array) -> Pictures:
    """Each pixel's channels [.., 3] replaced by weighted sums of them.

    Args:
        pictures: of uint8 or float32. matrix: float32 [k, 3] on the host.

    Returns:
        uint8 [.., k], rounded and limited to 0..255; without the last axis where k is 1.
    """
    xp = array_module(pictures)
    planes = [xp.astype(pictures[..., channel], xp.float32) for channel in range(3)]
    mixed = [sum(float(weight) * plane for weight, plane in zip(row, planes, strict=True)) for row in matrix]
    return _rounded(xp, mixed[0] if len(mixed) == 1 else xp.stack(mixed, axis=-1))


def _resize_axis(pictures: Pictures, axis: int, length: int) -> Pictures:
    """Pictures of float32 with an axis of another length."""
    xp = array_module(pictures)
    old = pictures.shape[axis]
    centres = np.clip((np.arange(length) + 0.5) * (old / length) - 0.5, 0, old - 1)
    low = np.floor(centres).astype(np.int64)
    high = np.minimum(low + 1, old - 1)
    shape = [1] * pictures.ndim
    shape[axis] = length
    weight = xp.asarray((centres - low).astype(np.float32).reshape(shape))
    first = xp.astype(xp.take(pictures, xp.asarray(low), axis=axis), xp.float32)
    second = xp.astype(xp.take(pictures, xp.asarray(high), axis=axis), xp.float32)
    return first + (second - first) * weight


def _average_axis(pictures: Pictures, axis: int, length: int) -> Pictures:
    """Float pictures with an axis of fewer samples, each the mean of the stretch it covers."""
    xp = array_module(pictures)
    old = pictures.shape[axis]
    edges = np.arange(length + 1) * (old / length)
    first = np.floor(edges[:-1]).astype(np.int64)
    shape = [1] * pictures.ndim
    shape[axis] = length
    total = None
    for step in range(-(-old // length) + 1):
        place = first + step
        covered = np.clip(np.minimum(edges[1:], place + 1) - np.maximum(edges[:-1], place), 0, 1)
        weight = xp.asarray((covered * length / old).astype(np.float32).reshape(shape))
        part = xp.take(pictures, xp.asarray(np.minimum(place, old - 1)), axis=axis) * weight
        total = part if total is None else total + part
    return total


def _samples(
    start: np.ndarray[Any, Any],
    end: np.ndarray[Any, Any],
    count: int,
    length: int,
    empty: np.ndarray[Any, Any],
) -> list[tuple[Any, Any]]:
    """Per region [m], which two samples of an axis each of `count` new ones mixes, and their weights."""
    step = (end - start) / count
    centres = start[:, None] + (np.arange(count) + 0.5) * step[:, None] - 0.5
    low = np.floor(centres)
    fraction = centres - low
    found = []
    for place, weight in ((low, 1 - fraction), (low + 1, fraction)):
        inside = (place >= 0) & (place < length) & ~empty[:, None]
        found.append((np.clip(place, 0, length - 1).astype(np.int64), np.where(inside, weight, 0.0)))
    return found


def _rounded(xp: Any, values: Any) -> Pictures:
    return xp.astype(xp.clip(xp.round(values), 0.0, 255.0), xp.uint8)
