"""Model inputs from pictures, made where the pictures are: in memory or on a device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from framemill.models.arrays import array_module
from framemill.ops.chunks import Float32Array, UInt8Array


def planes(
    pixels: UInt8Array, colour: str, mean: Sequence[float] = (), scale: Sequence[float] = ()
) -> Float32Array:
    """Normalised pictures, channels first.

    Args:
        pixels: uint8 [n, h, w, 3] RGB, NumPy's or CuPy's.
        colour: order of the channels the model takes, rgb or bgr.
        mean, scale: the model takes (value - mean) * scale, value in 0..255; one number for all channels or
            one per channel in the model's order; empty means 0 and 1.

    Returns:
        float32 [n, 3, h, w], beside the pictures.
    """
    xp = array_module(pixels)
    batch: Float32Array = xp.empty((pixels.shape[0], 3, *pixels.shape[1:3]), dtype=xp.float32)
    _fill(batch, pixels, colour)
    _normalise(batch, mean, scale)
    return batch


def letterbox(
    pixels: UInt8Array,
    size: tuple[int, int],
    corner: tuple[int, int],
    padding: float,
    colour: str,
    mean: Sequence[float] = (),
    scale: Sequence[float] = (),
) -> Float32Array:
    """Normalised pictures inside larger ones of one grey.

    Args:
        pixels: uint8 [n, h, w, 3] RGB, NumPy's or CuPy's.
        size: (width, height) of the result; corner: (left, top) of the pictures in it.
        padding: the grey around them, 0..255, normalised as they are.
        colour, mean, scale: as in `planes`.

    Returns:
        float32 [n, 3, height, width], beside the pictures.
    """
    xp = array_module(pixels)
    count, high, wide = pixels.shape[:3]
    left, top = corner
    batch: Float32Array = xp.empty((count, 3, size[1], size[0]), dtype=xp.float32)
    batch[:, :, :top, :] = padding
    batch[:, :, top + high :, :] = padding
    batch[:, :, top : top + high, :left] = padding
    batch[:, :, top : top + high, left + wide :] = padding
    _fill(batch[:, :, top : top + high, left : left + wide], pixels, colour)
    _normalise(batch, mean, scale)
    return batch


def _fill(batch: Float32Array, pixels: UInt8Array, colour: str) -> None:
    """Channels of [n, h, w, 3] into [n, 3, h, w]."""
    order = (2, 1, 0) if colour == "bgr" else (0, 1, 2)
    if isinstance(pixels, np.ndarray):
        for target, picture in zip(batch, pixels, strict=True):
            for plane, source in enumerate(order):  # plane by plane: half the time of one transposed copy
                target[plane] = picture[:, :, source]
        return
    xp = array_module(pixels)
    for plane, source in enumerate(order):  # on a device each copy is a launch: few large ones
        batch[:, plane, ...] = xp.astype(pixels[..., source], xp.float32)


def _normalise(batch: Float32Array, mean: Sequence[float], scale: Sequence[float]) -> None:
    """(value - mean) * scale in place."""
    xp = array_module(batch)
    if any(mean):
        batch -= xp.reshape(xp.asarray(mean, dtype=xp.float32), (-1, 1, 1))
    if any(part != 1 for part in scale):
        batch *= xp.reshape(xp.asarray(scale, dtype=xp.float32), (-1, 1, 1))
