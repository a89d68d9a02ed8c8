"""Pictures in the form that a model takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ops.chunks import Float32Array, UInt8Array


def planes(
    pixels: UInt8Array, colour: str, mean: Sequence[float] = (), scale: Sequence[float] = ()
) -> Float32Array:
    """Normalised pictures, channels first.

    Args:
        pixels: uint8 [n, h, w, 3] RGB.
        colour: order of the channels the model takes, rgb or bgr.
        mean, scale: the model takes (value - mean) * scale, value in 0..255; one number for all channels or
            one per channel in the model's order; empty means 0 and 1.

    Returns:
        float32 [n, 3, h, w].
    """
    order = (2, 1, 0) if colour == "bgr" else (0, 1, 2)
    means = np.broadcast_to(np.asarray(mean or (0.0,), np.float32), (3,))
    scales = np.broadcast_to(np.asarray(scale or (1.0,), np.float32), (3,))
    batch = np.empty((len(pixels), 3, *pixels.shape[1:3]), np.float32)
    for target, source in enumerate(order):
        np.subtract(pixels[..., source], means[target], out=batch[:, target])
        batch[:, target] *= scales[target]
    return batch


def letterbox(
    pixels: UInt8Array,
    size: tuple[int, int],
    corner: tuple[int, int],
    padding: int,
    colour: str,
    mean: Sequence[float] = (),
    scale: Sequence[float] = (),
) -> Float32Array:
    """Normalised pictures inside larger ones of one grey.

    Args:
        pixels: uint8 [n, h, w, 3] RGB.
        size: (width, height) of the result; corner: (left, top) of the pictures in it.
        padding: the grey around them, 0..255, normalised as they are.
        colour, mean, scale: as in `planes`.

    Returns:
        float32 [n, 3, height, width].
    """
    count, high, wide = pixels.shape[:3]
    left, top = corner
    batch = np.empty((count, 3, size[1], size[0]), np.float32)
    batch[:, :, :top] = batch[:, :, top + high :] = padding
    batch[:, :, top : top + high, :left] = batch[:, :, top : top + high, left + wide :] = padding
    order = (2, 1, 0) if colour == "bgr" else (0, 1, 2)
    for target, picture in zip(batch, pixels, strict=True):
        for plane, source in enumerate(order):  # plane by plane: half the time of one transposed copy
            target[plane, top : top + high, left : left + wide] = picture[:, :, source]
    if mean:
        batch -= np.asarray(mean, np.float32).reshape(-1, 1, 1)
    if scale:
        batch *= np.asarray(scale, np.float32).reshape(-1, 1, 1)
    return batch
