"""Which frames to decode: sampling policies, and the packets that a set of frames needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from framemill.errors import UsageError
from framemill.ops.chunks import BoolArray, FrameIndex, Int64Array

if TYPE_CHECKING:
    from framemill.actors.indexing import PacketIndex

# Raise it when the frames or samples that a file gives would change: part of every operation key.
DECODE_VERSION = 3
POLICIES = "keyframes, keyframes:N, every:SECONDS, scenes, adaptive, all"
# Tables that determine which frames to look at, where the policy cannot from the index alone.
STEERED_BY = {"scenes": "scenes", "adaptive": "sampling"}
MOST_KEY_FRAMES = 1_000_000


@dataclass(frozen=True, slots=True)
class Sampling:
    """A sampling policy.

    Attributes:
        kind: keyframes, every, scenes, adaptive or all.
        seconds: interval of `every`, > 0; 0 otherwise.
        num_frames: most frames of `keyframes`, spread evenly; 0 for all key frames.
    """

    kind: str
    seconds: float = 0.0
    num_frames: int = 0


def parse_sampling(text: str) -> Sampling:
    """Reads a policy as typed.

    Raises:
        UsageError: unknown policy or bad interval.
    """
    kind, colon, value = text.partition(":")
    if kind == "every" and colon:
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not (1e-3 <= seconds <= 86400.0):
            raise UsageError(
                f"`sample={text!r}`: the interval must be 0.001 to 86400 seconds, as in every:0.5"
            )
        return Sampling("every", seconds)
    if kind == "keyframes" and colon:
        if not (value.isdecimal() and 1 <= int(value) <= MOST_KEY_FRAMES):
            raise UsageError(
                f"`sample={text!r}`: the number must be 1 to {MOST_KEY_FRAMES} frames, as in keyframes:24"
            )
        return Sampling("keyframes", num_frames=int(value))
    if kind in ("keyframes", "scenes", "adaptive", "all") and not colon:
        return Sampling(kind)
    raise UsageError(f"`sample={text!r}` is not a policy; choose one of {POLICIES}")


def sample_frames(index: FrameIndex, sampling: Sampling, shots: Int64Array | None = None) -> Int64Array:
    """Sorted indices of the frames that the policy picks; those of `adaptive` are in the table `sampling`.

    Wherever there are frames it picks at least the first.

    Args:
        index: frames of the whole source.
        sampling: the policy; `every` takes the last frame at or before each multiple of its interval
            (the first frame where none is), as long as ticks lie before the end of the last frame.
        shots: for `scenes`, int64 [n, 2]: start and end frame of each shot, half-open; the middle
            frame is picked.
    """
    if not len(index):
        return np.zeros(0, np.int64)
    if sampling.kind == "all":
        return np.arange(len(index), dtype=np.int64)
    if sampling.kind == "keyframes":
        keys = np.flatnonzero(index.is_key).astype(np.int64)
        if not len(keys):  # as where a film was cut without encoding it again, and its key frame is not shown
            return np.zeros(1, np.int64)
        most = sampling.num_frames or len(keys)
        return keys if len(keys) <= most else keys[(2 * np.arange(most) + 1) * len(keys) // (2 * most)]
    if sampling.kind == "scenes":
        assert shots is not None
        if not len(shots):
            return np.zeros(1, np.int64)
        return np.unique((shots[:, 0] + shots[:, 1]) // 2).astype(np.int64)
    step = np.median(np.diff(index.pts_seconds)) if len(index) > 1 else 0.0
    ticks = np.arange(0.0, index.pts_seconds[-1] + max(step, 1e-9), sampling.seconds)
    # Times are rounded to the container's time base: a tick that lies on a frame must find it.
    picked = np.searchsorted(index.pts_seconds, ticks + 1e-6, side="right") - 1
    return np.unique(np.maximum(picked, 0)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """What to send to the decoder, over positions in `PacketIndex`.

    Attributes:
        needed: bool [n], packets to decode.
        wanted: bool [n], packets whose frames are delivered; a subset of needed.
        restart: bool [n], needed key packets before which the decoder is emptied, because packets
            between it and the last needed one are left out.
    """

    needed: BoolArray
    wanted: BoolArray
    restart: BoolArray


def plan_decode(packets: PacketIndex, wanted_frames: Int64Array) -> DecodePlan:
    """The fewest packets that give these frames exactly.

    A frame needs every packet from the last key at or before it (in the order of decoding and of
    presentation: pictures shown before the key that precedes them in the file need the group before it
    too) up to its own.
    """
    n = len(packets.pts)
    wanted = np.zeros(n, bool)
    if n == 0 or len(wanted_frames) == 0:
        return DecodePlan(np.zeros(n, bool), wanted, np.zeros(n, bool))
    position = np.full(int(packets.frame.max()) + 1, -1, np.int64)
    shown = np.flatnonzero(packets.frame >= 0)
    position[packets.frame[shown]] = shown
    at = position[wanted_frames]  # of two fields the second
    is_wanted = np.zeros(len(position) + 1, bool)  # one more, for what is not shown
    is_wanted[wanted_frames] = True
    wanted = is_wanted[packets.frame]

    keys = np.flatnonzero(packets.is_key)
    if len(keys) == 0 or keys[0] != 0:
        keys = np.insert(keys, 0, 0)  # damaged start: decode from the first packet and see
    group = np.searchsorted(keys, at, side="right") - 1
    leading = (packets.pts[at] < packets.pts[keys[group]]) & (group > 0)
    first = keys[np.where(leading, group - 1, group)]
    # +1 at the first needed packet, -1 after the last: the running sum is positive where needed.
    edges = np.zeros(n + 1, np.int64)
    np.add.at(edges, first, 1)
    np.add.at(edges, at + 1, -1)
    needed = np.cumsum(edges[:-1]) > 0
    restart = needed & ~np.concatenate(([False], needed[:-1]))
    return DecodePlan(needed, wanted, restart)
