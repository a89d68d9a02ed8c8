"""Whole frames as the pictures that classifiers and embeddings take."""

from __future__ import annotations

import numpy as np

from framemill.models.arrays import is_on_host
from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Frames, UInt8Array
from framemill.ops.pixels.resizing import halve

# Regions are sampled bilinearly, which skips pixels of frames far larger than the picture; taken at twice
# the size and then averaged, small things still count.
OVERSAMPLING = 2


def frame_pictures(frames: Frames, size: tuple[int, int], centre: float | None) -> UInt8Array:
    """Each frame as one picture.

    Args:
        size: (width, height) of the pictures in pixels.
        centre: None to squeeze the whole frame into the picture; else the largest region in the frame's
            middle with the picture's proportions, made smaller by this factor, 0..1.

    Returns:
        uint8 [n, height, width, 3] RGB.
    """
    count, (width, height) = len(frames), size
    if not count:
        return np.empty((0, height, width, 3), np.uint8)
    sides = np.array([frames.width, frames.height], np.float32)
    region = sides
    if centre is not None:
        wanted = np.array(size, np.float32)
        region = wanted * (sides / wanted).min() * np.float32(centre)
    twice = (width * OVERSAMPLING, height * OVERSAMPLING)
    # Where a frame is smaller than that, the outermost samples would lie beyond the centres of its edge
    # pixels, halfway to the black outside.
    margin = np.maximum(0, 1 - region / np.array(twice, np.float32)) / 2
    first = np.maximum((sides - region) / 2, margin)
    box = np.concatenate([first, sides - first]).astype(np.float32)
    large = frames.crops(np.arange(count), np.tile(box, (count, 1)), twice)
    if not is_on_host(large):
        halved: UInt8Array = halve(large)  # equals OpenCV's INTER_AREA
        return halved
    out = np.empty((count, height, width, 3), np.uint8)
    for target, picture in zip(out, large, strict=True):
        cv2.resize(picture, size, dst=target, interpolation=cv2.INTER_AREA)
    return out
