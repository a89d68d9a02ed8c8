"""Decoded pictures as plain arrays, for the one case in which they travel to another process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import av
import numpy as np
from av.video.plane import VideoPlane

from framemill.ops.chunks import UInt8Array

# What decides, beside the samples, how a picture is converted to RGB.
_TAGS = ("colorspace", "color_range", "color_primaries", "color_trc")


@dataclass(frozen=True, slots=True)
class PackedFrame:
    """One decoded picture.

    Attributes:
        format: FFmpeg's name of its pixel format.
        width, height: as coded, in pixels.
        tags: numbers of its matrix, range, primaries and transfer, as FFmpeg counts them.
        planes: uint8 [lines, bytes of a line with its padding] each.
    """

    format: str
    width: int
    height: int
    tags: tuple[int, ...]
    planes: tuple[UInt8Array, ...]


def pack(frame: av.VideoFrame) -> PackedFrame:
    """The picture, looking into the decoder's own buffers: pickling is what copies them."""
    return PackedFrame(
        frame.format.name,
        frame.width,
        frame.height,
        tuple(int(getattr(frame, name)) for name in _TAGS),
        tuple(_lines(plane) for plane in frame.planes),
    )


def unpack(packed: PackedFrame) -> av.VideoFrame:
    """A frame of this process with the same samples."""
    frame = av.VideoFrame(packed.width, packed.height, packed.format)
    for name, value in zip(_TAGS, packed.tags, strict=True):
        setattr(frame, name, value)
    for plane, lines in zip(frame.planes, packed.planes, strict=True):
        there = _lines(plane)
        length = min(there.shape[1], lines.shape[1])  # lines may be padded to another length
        there[:, :length] = lines[:, :length]
    return frame


def _lines(plane: VideoPlane) -> UInt8Array:
    line = plane.line_size
    if not line:  # a palette
        return np.ndarray((1, plane.buffer_size), np.uint8, cast(Any, plane))
    # Lines may run upwards in memory; the buffer then starts with the last one.
    start = (plane.height - 1) * -line if line < 0 else 0
    return np.ndarray((plane.height, abs(line)), np.uint8, cast(Any, plane), start, (line, 1))
