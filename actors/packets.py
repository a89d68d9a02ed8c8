"""The packets of one picture track: their times, which of them stand alone, and the first frame."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
from av.stream import Discard

from framemill.actors.limits import count_packets, size_of
from framemill.actors.picture_decoder import picture_decoder
from framemill.actors.range_reader import raise_failure, skip_all_but_keys
from framemill.actors.safe_open import open_media

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Key packets tried one by one for a first frame, and packets decoded in a row when none of them gave one.
MAX_TRIES = 8
MAX_START_PACKETS = 500

Row = tuple[int, bool, bool, int, int]  # pts, is_key, is_shown, bytes, duration


@dataclass(slots=True)
class Picture:
    """What one pass over a picture track gave.

    Attributes:
        packets: in the order of the file; those without data are left out.
        first_frame: the first that could be decoded; None where none could.
    """

    packets: list[Row]
    first_frame: av.VideoFrame | None


def read_packets(container: InputContainer, stream: VideoStream, path: str) -> Picture:
    """Reads the track to its end, or to where the file is broken.

    Args:
        container: at its first packet.
        stream: the track.
        path: the same file, for the few that must be read twice.
    """
    packets: list[Row] = []
    first: av.VideoFrame | None = None
    tries = 0
    num_keys = 0
    is_timed = container.format.name != "avi"  # which has times of decoding only
    keys_stand_alone = True
    stream.codec_context.thread_count = 1
    others = [other for other in container.streams if other is not stream]
    for other in others:
        other.discard = Discard.all  # their bytes need not be read
    listed_keys = skip_all_but_keys(container, stream, MAX_TRIES)
    try:
        for packet in count_packets(container.demux(stream), size_of(container)):
            if not packet.size:
                continue
            is_key = packet.is_keyframe
            if listed_keys is not None and len(packets) < len(listed_keys):
                is_key = bool(listed_keys[len(packets)])
            pts = packet.pts
            if pts is None:
                is_timed = False
                pts = packet.dts
            if pts is None:
                # Raw streams carry no times: count packets at the nominal rate.
                rate = stream.guessed_rate or stream.average_rate or Fraction(25)
                pts = round(len(packets) / rate / (stream.time_base or Fraction(1, 90000)))
            packets.append((pts, is_key, not packet.is_discard, packet.size, packet.duration or 0))
            if not is_key:
                continue
            num_keys += 1
            if first is None and tries < MAX_TRIES:
                tries += 1
                first = _decode_alone(stream, packet)
            elif stream.codec_context.name == "h264" and (
                num_keys == 2 or (num_keys <= MAX_TRIES and not keys_stand_alone)
            ):
                # A few more are looked at, since the second may only be damaged.
                keys_stand_alone = _is_idr(packet) or _decode_alone(stream, packet) is not None
    except av.error.FFmpegError:
        pass  # what was read until here is what there is; the shortfall shows as `missing_seconds`
    raise_failure(container)
    for other in others:
        other.discard = Discard.default
    if not keys_stand_alone:
        first_key = next(i for i, row in enumerate(packets) if row[1])
        packets = [(pts, i == first_key, *rest) for i, (pts, _, *rest) in enumerate(packets)]  # type: ignore[misc]
    if packets and first is None:
        first = _first_decoded(path, stream.index)
    if not is_timed and stream.codec_context.has_b_frames:
        packets = _in_decoded_order(path, stream.index, packets)
    return Picture(packets, first)


def _decode_alone(stream: VideoStream, packet: av.Packet[Any]) -> av.VideoFrame | None:
    """The frame in a key packet, without waiting for the packets after it."""
    context = picture_decoder(stream)
    try:
        frames = [*context.decode(packet), *context.decode(None)]
    except av.error.FFmpegError:
        frames = []
    context.flush_buffers()
    return frames[0] if frames else None


def _is_idr(packet: av.Packet[Any]) -> bool:
    """Whether an H.264 packet holds a slice of an IDR picture (unit type 5, ITU-T H.264 table 7-1).

    Other key packets are recovery points: some are whole pictures, but in a stream refreshed bit by bit
    nothing can be shown until some packets later.
    """
    data = bytes(packet)
    if data.startswith((b"\0\0\1", b"\0\0\0\1")):
        return any(unit[:1] and unit[0] & 31 == 5 for unit in data.split(b"\0\0\1")[1:])
    at = 0  # units behind their length in four bytes, as MP4 and Matroska have them
    while at + 4 < len(data):
        if data[at + 4] & 31 == 5:
            return True
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return False


def _first_decoded(path: str, stream_index: int) -> av.VideoFrame | None:
    """The first frame that comes when no key packet gave one by itself."""
    with open_media(path) as container:
        stream = cast("VideoStream", container.streams[stream_index])
        context = picture_decoder(stream)
        for packet in itertools.islice(_demuxed(container, stream), MAX_START_PACKETS):
            try:
                for frame in context.decode(packet):
                    return frame
            except av.error.FFmpegError:
                continue
    return None


def _in_decoded_order(path: str, stream_index: int, packets: list[Row]) -> list[Row]:
    """The same packets with the order of presentation that only the decoder knows.

    AVI and raw streams have no presentation times, so this decodes everything. Packets that give no
    frame count as not shown.
    """
    order: list[int] = []
    with open_media(path) as container:
        stream = cast("VideoStream", container.streams[stream_index])
        context = stream.codec_context
        for position, packet in enumerate(_demuxed(container, stream)):
            packet.pts = packet.dts = position
            with contextlib.suppress(av.error.FFmpegError):
                order += [frame.pts for frame in context.decode(packet) if frame.pts is not None]
        with contextlib.suppress(av.error.FFmpegError):
            order += [frame.pts for frame in context.decode(None) if frame.pts is not None]
    order = [position for position in dict.fromkeys(order) if position < len(packets)]
    times = sorted(row[0] for row in packets)
    shown = dict(zip(order, times, strict=False))
    return [
        (shown.get(i, pts), is_key, is_shown and i in shown, *rest)  # type: ignore[misc]
        for i, (pts, is_key, is_shown, *rest) in enumerate(packets)
    ]


def _demuxed(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[Any]]:
    """Packets with something in them, until the first error."""
    with contextlib.suppress(av.error.FFmpegError):
        yield from (packet for packet in container.demux(stream) if packet.size)
