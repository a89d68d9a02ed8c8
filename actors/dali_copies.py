"""Short stream copies of what a shard's frames need, in the form that DALI decodes from memory.

DALI takes whole files of under 2 GiB, numbers frames by their order of presentation, and returns a black
picture and no error for a number beyond the last one. So it is given copies of a few groups of pictures with
times of our own, in which the number of every frame is known: frames that are not in a copy are never asked
for, and edit lists, gaps and negative times of the original do not matter.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np

from framemill.actors.plan import DecodePlan, plan_decode
from framemill.ops.chunks import BoolArray, FrameIndex, Int64Array

if TYPE_CHECKING:
    from framemill.actors.indexing import PacketIndex

# What one copy may hold of compressed pictures, far below DALI's limit.
COPY_BYTES = 64 << 20
# A group of pictures with more wanted frames than fit is decoded anew for each part, at most so often.
MAX_READS = 4
_STEP_MILLISECONDS = 40  # between frames of a copy: what Matroska's clock can resolve


@dataclass(frozen=True, slots=True)
class Piece:
    """What one copy is made of.

    Attributes:
        packets: int64 [n], ascending positions in `PacketIndex`; the first is a key packet.
        frames: int64 [m], ascending indices of the frames to decode from it.
    """

    packets: Int64Array
    frames: Int64Array


@dataclass(frozen=True, slots=True)
class Copy:
    """One piece, copied.

    Attributes:
        content: a file in memory.
        frames: int64 [m], the piece's frames that are in it; fewer than asked for where the source ended.
        numbers: int32 [m], DALI's number of each.
    """

    content: bytes
    frames: Int64Array
    numbers: np.ndarray[Any, np.dtype[np.int32]]


def plan_pieces(
    packets: PacketIndex, frames: FrameIndex, wanted: Int64Array, max_frames: int
) -> list[Piece] | None:
    """Cuts a shard into pieces at key packets, in the order of the file.

    Args:
        wanted: sorted indices of the frames to decode.
        max_frames: frames that one call may decode, >= 1.

    Returns:
        None where a group of pictures holds so many wanted frames that it would be decoded more than
        `MAX_READS` times.
    """
    plan = plan_decode(packets, wanted)
    held = np.zeros(len(packets.pts), np.int64)
    shown = packets.frame >= 0
    held[shown] = frames.packet_bytes[packets.frame[shown]]
    pieces: list[Piece] = []
    for start, end in _groups(packets, plan):
        own = np.flatnonzero(plan.needed[start:end]) + start
        # Pictures shown before the key packet they follow refer to others before it: nothing can be decoded
        # of them here, and nobody asks for them.
        own = own[packets.pts[own] >= packets.pts[start]]
        picked = np.sort(packets.frame[own[plan.wanted[own]]])
        parts = -(-len(picked) // max_frames)
        if parts > MAX_READS:
            return None
        last = pieces[-1] if pieces else None
        if (
            last is not None
            and parts == 1
            and len(last.frames) + len(picked) <= max_frames
            and held[last.packets].sum() + held[own].sum() <= COPY_BYTES
        ):
            pieces[-1] = Piece(np.concatenate([last.packets, own]), np.concatenate([last.frames, picked]))
            continue
        pieces += [Piece(own, part) for part in np.array_split(picked, parts)]
    return pieces


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


def copy_pieces(container: Any, stream: Any, packets: PacketIndex, pieces: Sequence[Piece]) -> Iterator[Copy]:
    """One copy for each piece, in one pass over the file.

    Ends early, without an error, where the file does.
    """
    gathered: dict[int, bytes] = {}
    keep = np.zeros(len(packets.pts), bool)
    for piece in pieces:
        keep[piece.packets] = True
    ended = False
    reading = _packets(container, stream)
    position = -1
    for number, piece in enumerate(pieces):
        last = int(piece.packets[-1])
        while position < last and not ended:
            data = next(reading, None)
            ended = data is None
            if data is not None:
                position += 1
                if position < len(keep) and keep[position]:
                    gathered[position] = data
        yield _copy(stream, packets, piece, gathered)
        still = int(pieces[number + 1].packets[0]) if number + 1 < len(pieces) else len(keep)
        gathered = {at: data for at, data in gathered.items() if at >= still}


def _packets(container: Any, stream: Any) -> Iterator[bytes]:
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield bytes(packet)
    except av.error.FFmpegError:
        return


def _copy(stream: Any, packets: PacketIndex, piece: Piece, gathered: dict[int, bytes]) -> Copy:
    here = np.array([at for at in piece.packets.tolist() if at in gathered], np.int64)
    shown = packets.frame[here]
    rank = np.argsort(np.argsort(shown))
    number = dict(zip(shown.tolist(), rank.tolist(), strict=True))
    frames = piece.frames[np.isin(piece.frames, shown)]
    numbers = np.array([number[frame] for frame in frames.tolist()], np.int32)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(here):
        raise AssertionError(f"frame {numbers.max()} of a copy that has {len(here)}")
    buffer = io.BytesIO()
    # Each is shown no earlier than it is decoded.
    delay = int(np.max(np.arange(len(here)) - rank, initial=0))
    with av.open(buffer, "w", format="matroska") as out:
        track = out.add_stream_from_template(stream)
        track.time_base = Fraction(1, 1000)
        is_key: BoolArray = packets.is_key[here]
        for place, at in enumerate(here.tolist()):
            packet: Any = av.Packet(gathered[at])
            packet.stream = track
            packet.time_base = track.time_base
            packet.pts = (int(rank[place]) + delay) * _STEP_MILLISECONDS
            packet.dts = place * _STEP_MILLISECONDS
            packet.is_keyframe = bool(is_key[place])
            out.mux(packet)
    return Copy(buffer.getvalue(), frames, numbers)
