"""Saliency of a picture: the spectral residual of Hou and Zhang, CVPR 2007."""

from __future__ import annotations

from typing import cast

import numpy as np

from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Float32Array, UInt8Array

SALIENCY_SIDE = 64  # the authors' size
_BLUR_SIGMA = 2.5  # of the authors' own program
_FLAT = 1.0  # standard deviation in levels below which a picture shows nothing
_AMPLITUDE_FLOOR = 1e-3


def spectral_residual(luma: UInt8Array) -> Float32Array:
    """Saliency of one picture, uint8 [64, 64], as float32 [64, 64] of sum 1; even where the picture is flat.

    The log amplitude of its spectrum less the local mean of that, with the phase kept.
    """
    picture = luma.astype(np.float32)
    if picture.std() < _FLAT:
        return np.full(luma.shape, 1 / luma.size, np.float32)
    spectrum = np.fft.fft2(picture)
    amplitude = np.log(np.abs(spectrum) + _AMPLITUDE_FLOOR)
    residual = amplitude - cv2.blur(amplitude, (3, 3), borderType=cv2.BORDER_WRAP)
    back = np.fft.ifft2(np.exp(residual) * np.exp(1j * np.angle(spectrum)))
    power = cv2.GaussianBlur(np.abs(back) ** 2, (0, 0), _BLUR_SIGMA)
    return cast(Float32Array, (power / power.sum()).astype(np.float32))


def centre(saliency: Float32Array) -> tuple[float, float]:
    """x and y of the map's centre of mass, 0..1 from the top left."""
    high, wide = saliency.shape
    x = float(saliency.sum(axis=0, dtype=np.float64) @ (np.arange(wide) + 0.5)) / wide
    y = float(saliency.sum(axis=1, dtype=np.float64) @ (np.arange(high) + 0.5)) / high
    return x, y


def share_within(saliency: Float32Array, boxes: Float32Array) -> Float32Array:
    """Share of the map that lies in each box, float32 [m], 0..1.

    Args:
        boxes: float32 [m, 4], x0, y0, x1, y1 as shares of the picture's sides, 0..1; widened to whole cells.
    """
    high, wide = saliency.shape
    sums = np.zeros((high + 1, wide + 1))
    sums[1:, 1:] = saliency.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    left, top = (np.floor(boxes[:, i] * n).astype(int).clip(0, n) for i, n in ((0, wide), (1, high)))
    right, bottom = (np.ceil(boxes[:, i] * n).astype(int).clip(0, n) for i, n in ((2, wide), (3, high)))
    shares = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return cast(Float32Array, shares.astype(np.float32))
