"""The file of one clip, and where in its source it lies, to the frame."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np

from framemill.actors.indexing import SourceIndex
from framemill.errors import UnsupportedError
from framemill.ops.chunks import Int64Array

if TYPE_CHECKING:
    from av.container import OutputContainer

# Times in tables are those of frames, added up or rounded by people: a frame so much earlier is meant too.
SAME_SECONDS = 1e-3


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """A clip to be cut.

    Attributes:
        path: the file to write, an MP4 whatever its ending.
        start_seconds, end_seconds: half-open, since the start of the presentation.
        start_frame, end_frame: the same in frames, 0-based; None where the times decide.
    """

    path: str
    start_seconds: float
    end_seconds: float
    start_frame: int | None = None
    end_frame: int | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip whose frames are known.

    Attributes:
        path: as in `ClipRequest`.
        start_frame, end_frame: half-open, at least one frame.
        start_seconds, end_seconds: of the first frame, and where the last one ends.
        pts: int64 [n], of each frame since that of the first, rising, in units of the source's time base.
        durations: int64 [n], how long each is shown, > 0, in the same units.
    """

    path: str
    start_frame: int
    end_frame: int
    start_seconds: float
    end_seconds: float
    pts: Int64Array
    durations: Int64Array


def locate(index: SourceIndex, asked: ClipRequest) -> Clip:
    """The frames of a clip: those that begin in its time.

    Raises:
        UnsupportedError: there is none.
    """
    frames = index.frames
    seconds = frames.pts_seconds
    start, end = asked.start_frame, asked.end_frame
    if start is None:
        start = int(np.searchsorted(seconds, asked.start_seconds - SAME_SECONDS))
    if end is None:
        end = int(np.searchsorted(seconds, asked.end_seconds - SAME_SECONDS))
    start, end = max(0, start), min(end, len(frames))
    if start >= end:
        raise UnsupportedError(
            f"no frame from {asked.start_seconds:.3f} to {asked.end_seconds:.3f} s"
            if len(frames)
            else "no picture in the file"
        )
    base = float(index.time_base)
    last = round(frames.last_seconds / base) or round(float(np.median(np.diff(frames.pts))) if end > 1 else 0)
    edges = np.append(frames.pts[start : end + 1], () if end < len(frames) else frames.pts[-1] + max(1, last))
    # Frames of one time, which few files hold, follow each other by the least there is.
    steps = np.maximum(np.diff(edges.astype(np.int64)), 1)
    return Clip(
        asked.path,
        start,
        end,
        float(seconds[start]),
        float(seconds[end]) if end < len(frames) else float(seconds[-1]) + max(1, last) * base,
        np.cumsum(steps) - steps,
        steps,
    )


def clip_file(path: str) -> OutputContainer:
    """Opens a clip for writing, with its index at the start."""
    return av.open("file:" + os.path.abspath(path), "w", format="mp4", options={"movflags": "+faststart"})
