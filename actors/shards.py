"""Cutting a long source into pieces that can be worked on apart."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from framemill.ops.chunks import FrameIndex

# Long enough that opening, seeking and merging are lost in it, short enough that the cores of one
# machine share a film. Stored with each dataset: other lengths would give other shards.
SHARD_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Shard:
    """A piece of a source. Ranges are half-open.

    Attributes:
        start_frame, end_frame: range of presented frames; it starts at a key frame.
        with_sound: whether this piece carries the source's sound and subtitles, always as a whole.
        seconds: length of what it covers, for deadlines and progress.
    """

    start_frame: int
    end_frame: int
    with_sound: bool
    seconds: float


def cut_shards(
    frames: FrameIndex, has_sound: bool, duration_seconds: float, shard_seconds: float
) -> list[Shard]:
    """Pieces of about `shard_seconds`, each starting at a key frame, in time order.

    A pure function of its arguments. Sound is never cut, since a decoder or resampler started half-way
    need not give the same samples: a source of one piece has it there, a longer one gets a piece of its
    own for it, put first because it is the longest.
    """
    if not len(frames):
        return [Shard(0, 0, has_sound, duration_seconds)]
    keys = np.flatnonzero(frames.is_key)
    ticks = np.arange(shard_seconds, frames.pts_seconds[-1] - shard_seconds / 2, shard_seconds)
    # The first key frame at or after each tick.
    at = np.searchsorted(frames.pts_seconds[keys], ticks)
    cuts = [0, *np.unique(keys[at[at < len(keys)]]).tolist(), len(frames)]
    if len(cuts) == 2:
        return [Shard(0, len(frames), has_sound, duration_seconds)]
    ends = np.append(frames.pts_seconds[1:], max(duration_seconds, frames.pts_seconds[-1]))
    pieces = [
        Shard(int(a), int(b), False, float(ends[b - 1] - frames.pts_seconds[a]))
        for a, b in itertools.pairwise(cuts)
    ]
    return [Shard(0, 0, True, duration_seconds), *pieces] if has_sound else pieces
