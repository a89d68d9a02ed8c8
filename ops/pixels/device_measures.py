"""Sums over batches of pictures on a device, from which the measures of single pictures are computed.

Only the sums, a few hundred numbers a picture, are copied to the host. For pictures on the host OpenCV gives
the same sums, two to ten times as fast as these would be (measured). All are sums of whole numbers and so
exact: the measures are the same on either.

Pictures are uint8 [n, height, width], 0..255; `Sums` are int64 arrays of the same module.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from framemill.models.arrays import array_module

Pictures = Any
Sums = Any


def histograms(pictures: Pictures) -> Sums:
    """How many pixels of each picture have each value: [n, 256]."""
    xp = array_module(pictures)
    count = pictures.shape[0]
    rows = xp.reshape(xp.asarray(np.arange(count, dtype=np.int32) * 256), (count, 1, 1))
    # The array standard has no histogram; sorted, equal values lie side by side.
    ordered = xp.sort(xp.reshape(xp.astype(pictures, xp.int32) + rows, (-1,)))
    edges = xp.searchsorted(ordered, xp.asarray(np.arange(count * 256 + 1, dtype=np.int32)))
    return xp.reshape(xp.astype(edges[1:] - edges[:-1], xp.int64), (count, 256))


def laplacian_sums(pictures: Pictures) -> Sums:
    """Of the 4-neighbour Laplacian, with edges as in OpenCV's: sum and sum of squares, [n, 2]."""
    xp = array_module(pictures)
    wide = xp.astype(pictures, xp.int32)
    change = -4 * wide
    for axis in (1, 2):
        for shift in (-1, 1):
            change = change + _shifted(wide, axis, shift)
    return xp.stack([_total(change), _total(change * change)], axis=1)


def blur_sums(pictures: Pictures, window: int) -> Sums:
    """Per direction, steps between neighbours and how much less they are once blurred: [n, 2, 2].

    Args:
        window: pixels that the blur averages across the direction, odd.
    """
    xp = array_module(pictures)
    sums = []
    for axis in (1, 2):
        reach = range(-(window // 2), window // 2 + 1)
        parts = [xp.astype(_shifted(pictures, axis, shift), xp.int32) for shift in reach]
        total = sum(parts[1:], parts[0])
        change = _steps(xp.astype(pictures, xp.int32), axis)
        lost = change - _steps((total + window // 2) // window, axis)
        sums.append(xp.stack([_total(change), _total(xp.where(lost > 0, lost, 0 * lost))], axis=1))
    return xp.stack(sums, axis=1)


def noise_sums(pictures: Pictures) -> Sums:
    """Absolute mixed second differences, summed over all inner pixels: [n]."""
    xp = array_module(pictures)
    wide = xp.astype(pictures, xp.int32)
    across = wide[:, :, :-2] - 2 * wide[:, :, 1:-1] + wide[:, :, 2:]
    return _total(xp.abs(across[:, :-2, :] - 2 * across[:, 1:-1, :] + across[:, 2:, :]))


def step_sums(pictures: Pictures, axis: int) -> Sums:
    """Absolute steps from each line to the next along an axis, 1 or 2: [n, lines - 1]."""
    xp = array_module(pictures)
    return xp.sum(_steps(xp.astype(pictures, xp.int32), axis), axis=3 - axis, dtype=xp.int64)


def line_sums(pictures: Pictures, axis: int) -> Sums:
    """Of each line along an axis, 1 or 2, sum and sum of squares: [n, 2, lines]."""
    xp = array_module(pictures)
    wide = xp.astype(pictures, xp.int32)
    parts = [xp.sum(part, axis=3 - axis, dtype=xp.int64) for part in (wide, wide * wide)]
    return xp.stack(parts, axis=1)


def _total(values: Any) -> Sums:
    xp = array_module(values)
    return xp.sum(values, axis=(1, 2), dtype=xp.int64)


def _steps(wide: Any, axis: int) -> Any:
    xp = array_module(wide)
    if axis == 1:
        return xp.abs(wide[:, 1:, :] - wide[:, :-1, :])
    return xp.abs(wide[:, :, 1:] - wide[:, :, :-1])


def _shifted(pictures: Any, axis: int, shift: int) -> Any:
    """Each pixel's neighbour so many places on along an axis; the outermost pixels are mirrors."""
    xp = array_module(pictures)
    length = pictures.shape[axis]
    period = max(1, 2 * (length - 1))
    place = (np.arange(length) + shift) % period
    return xp.take(pictures, xp.asarray(np.minimum(place, period - place)), axis=axis)
