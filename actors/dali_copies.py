"""Short stream copies of what a shard's frames need, in the form that DALI decodes from memory.

DALI takes whole files of under 2 GiB, numbers frames by their order of presentation, and returns a black
picture and no error for a number beyond the last one. So it is given copies of a few groups of pictures with
times of our own, in which the number of every frame is known: frames that are not in a copy are never asked
for, and edit lists, gaps and negative times of the original do not matter.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from framemill.actors.packet_track import PacketTrack
from framemill.actors.pieces import Piece
from framemill.ops.chunks import BoolArray, Int64Array

if TYPE_CHECKING:
    from framemill.actors.indexing import PacketIndex

_STEP_MILLISECONDS = 40  # between frames of a copy: what Matroska's clock can resolve


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


def copy_pieces(
    track: PacketTrack, stream: Any, packets: PacketIndex, pieces: Iterable[Piece]
) -> Iterator[Copy]:
    """One copy for each piece, in one pass over the file.

    Ends early, without an error, where the file does.
    """
    for piece in pieces:
        yield _copy(stream, packets, piece, track.take(piece.packets.tolist()))


def _copy(stream: Any, packets: PacketIndex, piece: Piece, gathered: dict[int, bytes]) -> Copy:
    here = np.array(list(gathered), np.int64)
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
