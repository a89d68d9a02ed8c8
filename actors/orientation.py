"""How a coded picture is shown: mirrored, turned, and stretched to square pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
from av.sidedata.sidedata import Type

from framemill.actors.safe_open import MAX_PIXELS
from framemill.errors import LimitError

if TYPE_CHECKING:
    from av.video.stream import VideoStream

# The longest side that pixels which are not square may stretch a picture to, as large as H.265 codes one.
MAX_STRETCHED = 16384


@dataclass(frozen=True, slots=True)
class Geometry:
    """From the coded to the displayed picture: mirrored first, then turned.

    Attributes:
        quarters: clockwise quarter turns, 0..3.
        is_mirrored: whether left and right of the coded picture are exchanged.
        width, height: of the displayed picture in pixels; 0 where there is none.
    """

    quarters: int = 0
    is_mirrored: bool = False
    width: int = 0
    height: int = 0


def picture_geometry(stream: VideoStream, first: av.VideoFrame) -> Geometry:
    """How the pictures of a track are shown, all of them as its first.

    Raises:
        LimitError: the pixels are so far from square that the picture would be larger than any coded one.
    """
    # Pictures that begin late in a transport stream are unknown to the container; their decoder has seen one.
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    width, height = displayed_size(first.width, first.height, aspect)
    quarters, is_mirrored = orientation_of(first)
    if quarters % 2:
        width, height = height, width
    return Geometry(quarters, is_mirrored, width, height)


def displayed_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height with square pixels; one of them grows, none shrinks.

    Args:
        width, height: as coded, in pixels.
        aspect: width of a pixel by its height; None or 0 where it is unknown, which counts as 1.

    Raises:
        LimitError: a side beyond `MAX_STRETCHED`, or more than `MAX_PIXELS` pixels.
    """
    if not aspect or aspect < 0:
        return width, height
    wide = max(width, round(width * aspect))
    high = max(height, round(height / aspect))
    if (wide, high) != (width, height) and (max(wide, high) > MAX_STRETCHED or wide * high > MAX_PIXELS):
        raise LimitError(
            f"the picture of {width} x {height} is to be shown with pixels of {aspect.numerator}:"
            f"{aspect.denominator}, {wide} x {high} in all; it may be stretched to {MAX_STRETCHED} pixels a "
            f"side and {MAX_PIXELS} in all (correct the pixel aspect ratio of the file first)"
        )
    return wide, high


def orientation_of(frame: av.VideoFrame) -> tuple[int, bool]:
    """Clockwise quarter turns, 0..3, and whether the picture is mirrored before them.

    Angles between quarters go to the nearest.
    """
    try:
        matrix = cast(Any, frame.side_data).get(Type.DISPLAYMATRIX)
    except ValueError:
        # PyAV lists no side data at all beside a kind that it does not know, but still tells the angle;
        # for a matrix that holds none, a number that is no angle.
        return (round(-frame.rotation / 90) % 4 if abs(frame.rotation) <= 180 else 0), False
    return (0, False) if matrix is None else _orientation(np.frombuffer(bytes(matrix), np.int32))


def _orientation(matrix: np.ndarray[tuple[int], np.dtype[np.int32]]) -> tuple[int, bool]:
    """Of a display matrix as FFmpeg has it: a b u c d v x y w, where (p, q) goes to (a p + c q, b p + d q).

    The matrix of a clockwise turn by t is a = d = cos t, b = -c = sin t (ISO/IEC 14496-12, 8.3.2), with a
    and b of the other sign where the picture is mirrored before.
    """
    a, b, c, d = (float(matrix[i]) for i in (0, 1, 3, 4))
    area = a * d - b * c
    if not area:
        return 0, False  # it would show nothing, so it says nothing about a turn
    sign = -1 if area < 0 else 1
    return round(math.degrees(math.atan2(sign * b - c, sign * a + d)) / 90) % 4, sign < 0
