"""Cutting what a shard needs into pieces that a device decodes each by itself, with the fewest packets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from framemill.actors.plan import DecodePlan, plan_decode
from framemill.ops.chunks import FrameIndex, Int64Array

if TYPE_CHECKING:
    from framemill.actors.indexing import PacketIndex

# What several groups of pictures together may hold of compressed pictures, far below what decoders take.
PIECE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Packets that a decoder needs nothing else for, and the frames to take of them.

    Attributes:
        packets: int64 [n], ascending positions in `PacketIndex`; the first is a key packet.
        frames: int64 [m], ascending indices of the frames to decode from it.
    """

    packets: Int64Array
    frames: Int64Array


def plan_pieces(packets: PacketIndex, frames: FrameIndex, wanted: Int64Array, max_frames: int) -> list[Piece]:
    """Cuts a shard into pieces at key packets, in the order of the file, so that no packet is in two.

    Args:
        wanted: sorted indices of the frames to decode.
        max_frames: wanted frames in a piece of several groups of pictures, >= 1; a single group that holds
            more is a piece as it is, for a decoder to go through once.
    """
    plan = plan_decode(packets, wanted)
    held = np.zeros(len(packets.pts), np.int64)
    shown = packets.frame >= 0
    held[shown] = frames.packet_bytes[packets.frame[shown]]
    gathered: list[tuple[list[Int64Array], list[Int64Array]]] = []
    num_frames = num_bytes = 0
    for start, end in _groups(packets, plan):
        own = np.flatnonzero(plan.needed[start:end]) + start
        # Pictures shown before the key packet they follow refer to others before it: nothing can be decoded
        # of them here, and nobody asks for them.
        own = own[packets.pts[own] >= packets.pts[start]]
        picked = np.sort(packets.frame[own[plan.wanted[own]]])
        num_frames += len(picked)
        num_bytes += int(held[own].sum())
        if not gathered or num_frames > max_frames or num_bytes > PIECE_BYTES:
            gathered.append(([], []))
            num_frames, num_bytes = len(picked), int(held[own].sum())
        gathered[-1][0].append(own)
        gathered[-1][1].append(picked)
    return [Piece(np.concatenate(own), np.concatenate(picked)) for own, picked in gathered]


def _groups(packets: PacketIndex, plan: DecodePlan) -> Iterator[tuple[int, int]]:
    """Ranges of packets that can be decoded by themselves and hold wanted frames."""
    starts = np.flatnonzero(plan.restart | (plan.needed & packets.is_key))
    ends = np.append(starts[1:], len(packets.pts))
    begin = -1
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        inside = np.flatnonzero(plan.wanted[start:end]) + start
        leans_back = bool((packets.pts[inside] < packets.pts[start]).any())
        if begin >= 0 and not leans_back:
            yield begin, start
            begin = -1
        if begin < 0:
            begin = start
    if begin >= 0:
        yield begin, len(packets.pts)
