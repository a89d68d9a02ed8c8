"""Short stream copies of what a shard's frames need, in the form that DALI decodes from memory.

DALI takes whole files of under 2 GiB, numbers frames by their order of presentation, and returns a black
picture and no error for a number beyond the last one. So it is given copies of a few groups of pictures with
times of our own, in which the number of every frame is known: frames that are not in a copy are never asked
for, and edit lists, gaps and negative times of the original do not matter.

H.264 and H.265 code whole blocks, and tell how many rows at the bottom and columns at the right are not to be
shown. A decoder that is kept fits those files alone that show all that they code (`kept_decoders`): on demand
copies say so, and whoever takes their pictures cuts them himself.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np
from av.bitstream import BitStreamFilterContext

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


# Codecs of which copies can be told to show all that is coded, by FFmpeg's names.
WIDENED = ("h264", "hevc")


def copy_pieces(
    track: PacketTrack, stream: Any, packets: PacketIndex, pieces: Iterable[Piece], widens: bool = False
) -> Iterator[Copy]:
    """One copy for each piece, in one pass over the file.

    Ends early, without an error, where the file does.

    Args:
        widens: whether copies show all that is coded; their pictures then have more rows below and columns on
            the right, unless both sides are whole blocks of 16 as they are shown.
    """
    context = stream.codec_context
    in_blocks = not (context.width % 16 or context.height % 16)
    is_open = widens and context.codec.canonical_name in WIDENED and not in_blocks
    size: tuple[int, int] | None = None
    for piece in pieces:
        gathered = track.take(piece.packets.tolist())
        if is_open and gathered:
            size, is_open = _coded_size(stream, packets, gathered), False
        yield _copy(stream, packets, piece, gathered, size)


def _coded_size(stream: Any, packets: PacketIndex, gathered: dict[int, bytes]) -> tuple[int, int] | None:
    """(width, height) of what is coded, from the first key picture; None where that cannot be decoded."""
    context = stream.codec_context
    first = next(iter(gathered))
    piece = Piece(np.array([first]), packets.frame[[first]])
    # FFmpeg's decoder of H.264 takes a size from the header that is coded by as many blocks.
    width, height = ((side + 15) // 16 * 16 for side in (context.width, context.height))
    trial = _copy(stream, packets, piece, {first: gathered[first]}, (width, height))
    with contextlib.suppress(av.error.FFmpegError), av.open(io.BytesIO(trial.content), "r") as container:
        for picture in container.decode(video=0):
            return picture.width, picture.height
    return None


def _copy(
    stream: Any,
    packets: PacketIndex,
    piece: Piece,
    gathered: dict[int, bytes],
    size: tuple[int, int] | None,
) -> Copy:
    """The copy of a piece, which shows as much as `size` tells, or as much as the source where it is None."""
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
        filters = _widening(stream, track, size) if size else None
        track.time_base = Fraction(1, 1000)
        is_key: BoolArray = packets.is_key[here]
        for place, at in enumerate(here.tolist()):
            packet: Any = av.Packet(gathered[at])
            if filters:
                # Parameters come with key pictures, where they do not come before all of them.
                (packet,) = filters[0 if is_key[place] else 1].filter(packet)
            packet.stream = track
            packet.time_base = track.time_base
            packet.pts = (int(rank[place]) + delay) * _STEP_MILLISECONDS
            packet.dts = place * _STEP_MILLISECONDS
            packet.is_keyframe = bool(is_key[place])
            out.mux(packet)
    return Copy(buffer.getvalue(), frames, numbers)


def _widening(stream: Any, track: Any, size: tuple[int, int]) -> tuple[Any, Any]:
    """FFmpeg's filter by which key packets and the header have nothing cut off at the right and below.

    It changes how packets tell where their units begin, so that all others have to pass through the second.
    """
    name = stream.codec_context.codec.canonical_name
    tag = track.codec_context.codec_tag
    widening = BitStreamFilterContext(f"{name}_metadata=crop_right=0:crop_bottom=0", stream, track)
    track.codec_context.codec_tag = tag  # not the source's, which other containers do not know
    track.codec_context.width, track.codec_context.height = size
    return widening, BitStreamFilterContext(f"{name}_mp4toannexb", stream)
