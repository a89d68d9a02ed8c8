"""Whether a device's pictures are those of PyAV under the same numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from framemill.actors.indexing import SourceIndex
from framemill.actors.pieces import Piece
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.ops.chunks import Float32Array, Frames, Int64Array

# How far pictures of both readers may differ on average, in steps of 255. Measured with DALI's conversion on
# real clips: 0.0 to 0.25, and 1.6 to 16 where the range is taken wrongly.
MEAN_STEPS = 1.5
# By so much nearer to a neighbour's picture than to its own, one is taken for the neighbour's.
NEARER_STEPS = 0.1
# So many packets PyAV decodes for it at most, where a wanted frame lies within.
MOST_PACKETS = 64
# Pictures are compared at so many pixels along their longer side.
_SIDE = 160


def find_difference(path: str, index: SourceIndex, frames: Frames, threads: int) -> str:
    """Holds a frame against PyAV's, and against those before and behind it.

    A picture that a device counts and PyAV does not shifts all later ones by one, and nothing else shows it:
    so a frame has to be nearer to its own picture than to its neighbours'.

    Args:
        frames: one from the device (see `late_row`).
        threads: decoder threads for PyAV, >= 1.

    Returns:
        How they differ, in words; empty where they do not.
    """
    (number,) = frames.frame_index.tolist()
    near = np.arange(max(0, number - 1), min(len(index.frames), number + 2))
    scale = max(1.0, max(frames.width, frames.height) / _SIDE)
    size = (max(1, round(frames.width / scale)), max(1, round(frames.height / scale)))
    request = ReadRequest(near, np.zeros(0, np.int64), False, threads)
    here: dict[int, Float32Array] = {}
    for chunk in read_shard(path, index, request, ReadReport()):
        if isinstance(chunk, Frames):
            pictures = chunk.rgb(size).astype(np.float32)
            here |= dict(zip(chunk.frame_index.tolist(), pictures, strict=True))
    if number not in here:
        return f"frame {number} comes from the device alone"
    there = frames.on_host().rgb(size)[0].astype(np.float32)
    away = {other: float(np.abs(there - picture).mean()) for other, picture in here.items()}
    nearest = min(away, key=lambda other: away[other])
    if away[nearest] < away[number] - NEARER_STEPS:
        return f"the device gives the picture of frame {nearest} as that of frame {number}"
    if away[number] > MEAN_STEPS:
        return f"frame {number} of the device differs from that of the CPU by {away[number]:.1f} steps of 255"
    return ""


def late_row(index: SourceIndex, frames: Int64Array) -> int:
    """Which of some frames to compare: the last that PyAV reaches from a key within `MOST_PACKETS`.

    What shifts numbers shows in all frames behind it, so that the last is best, but costs the host as many
    packets as lie between it and its key.
    """
    packets = index.packets
    shown = np.flatnonzero(packets.frame >= 0)
    position = np.zeros(len(index.frames), np.int64)
    position[packets.frame[shown]] = shown
    keys = np.union1d(0, np.flatnonzero(packets.is_key))
    at = position[frames]
    distance = at - keys[np.searchsorted(keys, at, side="right") - 1]
    near = np.flatnonzero(distance <= MOST_PACKETS)
    return int(near[-1]) if len(near) else int(distance.argmin())


def late_piece(pieces: Sequence[Piece]) -> int:
    """The longest of the later half, in which most can have shifted, and of equal ones the last."""
    lengths = [len(piece.packets) for piece in pieces[len(pieces) // 2 :]]
    return len(pieces) - 1 - lengths[::-1].index(max(lengths))
