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
import numpy as np
from av.stream import Discard

from framemill.actors.coded_headers import CodedHeaders
from framemill.actors.coded_pictures import picture_counter
from framemill.actors.h264_fields import FieldPairs
from framemill.actors.limits import PictureAllowance, count_packets, size_of
from framemill.actors.picture_decoder import picture_decoder
from framemill.actors.range_reader import raise_failure, skip_all_but_keys
from framemill.actors.safe_open import open_media
from framemill.actors.timeline import may_restart

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Key packets tried one by one for a first frame, and packets decoded in a row when none of them gave one.
MAX_TRIES = 8
MAX_START_PACKETS = 500
# So many packets behind a key picture may be shown before it, and so many does a decoder hold back.
MAX_LEADING = 32

# Whether the picture in a packet is shown. The second field of one that the packet before began is none.
HIDDEN, SHOWN, SECOND_FIELD = 0, 1, 2
Row = tuple[int, bool, int, int, int]  # pts, is_key, one of these, bytes, duration


@dataclass(slots=True)
class Picture:
    """What one pass over a picture track gave.

    Attributes:
        packets: in the order of the file; those without data are left out.
        first_frame: the first that could be decoded; None where none could.
        restarts: whether the clock may start anew somewhere (see `framemill.actors.timeline`).
        is_uneven: whether some packets hold more or fewer coded pictures than one, or state another size or
            other parameters than those before.
    """

    packets: list[Row]
    first_frame: av.VideoFrame | None
    restarts: bool = False
    is_uneven: bool = False


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
    num_keys = num_seconds = 0
    name = container.format.name
    untimed: list[int] = []
    restarts, last_dts = False, None
    second = round(1 / stream.time_base) if stream.time_base else 0
    codec = stream.codec_context.codec.canonical_name
    may_hide = _HIDING.get(codec)
    keys_stand_alone: bool | None = None  # not known yet
    stream.codec_context.thread_count = 1
    fields = pairs = _field_pairs(stream)
    count_pictures, is_uneven = picture_counter(codec, stream.codec_context.extradata), False
    headers = CodedHeaders(codec, stream.codec_context.extradata)
    others = [other for other in container.streams if other is not stream]
    for other in others:
        other.discard = Discard.all  # their bytes need not be read
    listed_keys = skip_all_but_keys(container, stream, MAX_TRIES)
    stated_keys = _stated_keys(stream) if listed_keys is None and name.startswith("mov") else frozenset()
    try:
        for packet in count_packets(container.demux(stream), size_of(container)):
            if not packet.size:
                continue
            is_key = packet.is_keyframe
            if not is_key and len(packets) in stated_keys:
                is_key = not slice_kinds(packet)  # FFmpeg takes the mark from a key picture that is damaged
            if listed_keys is not None and len(packets) < len(listed_keys):
                is_key = bool(listed_keys[len(packets)])
            # Of packets that are left out there is nothing to count.
            is_there = listed_keys is None or (is_key and num_keys < MAX_TRIES)
            if count_pictures is not None and is_there and count_pictures(bytes(packet)) != 1:
                count_pictures, is_uneven = None, True  # one is enough
            if not is_uneven and is_there and (is_key or codec == "vp9"):
                # What MP4 and Matroska describe anew may have another size.
                is_new = num_keys > 0 and packet.has_sidedata("new_extradata")
                is_uneven = is_new or headers.change(bytes(packet), is_key)
            pts, dts = packet.pts, packet.dts
            if dts is not None:
                if last_dts is not None and not 0 < dts - last_dts <= second and not restarts:
                    restarts = may_restart(last_dts, dts, packet.time_base, name)
                last_dts = dts
            if fields is not None:
                if fields.is_second(bytes(packet)):
                    packets.append((packets[-1][0], False, SECOND_FIELD, packet.size, packet.duration or 0))
                    num_seconds += 1
                    continue
                if not fields.may_have_fields:
                    fields = None
            if pts is None:
                untimed.append(len(packets))
                pts = dts
            if pts is None:
                # Raw streams carry no times: count packets at the nominal rate.
                rate = stream.guessed_rate or stream.average_rate or Fraction(25)
                pts = round((len(packets) - num_seconds) / rate / (stream.time_base or Fraction(1, 90000)))
            is_hidden = packet.is_discard or (may_hide and may_hide(packet))
            packets.append((pts, is_key, HIDDEN if is_hidden else SHOWN, packet.size, packet.duration or 0))
            if not is_key:
                continue
            num_keys += 1
            if first is None and tries < MAX_TRIES:
                tries += 1
                first = _decode_alone(stream, packet)
            elif stream.codec_context.name == "h264" and num_keys <= MAX_TRIES and not keys_stand_alone:
                # A few more are looked at, since the second may only be damaged.
                kinds = slice_kinds(packet)
                if kinds:
                    keys_stand_alone = 5 in kinds or _decode_alone(stream, packet) is not None
    except av.error.FFmpegError:
        pass  # what was read until here is what there is; the shortfall shows as `missing_seconds`
    raise_failure(container)
    for other in others:
        other.discard = Discard.default
    if keys_stand_alone is False:
        first_key = next(i for i, row in enumerate(packets) if row[1])
        packets = [(pts, i == first_key, *rest) for i, (pts, _, *rest) in enumerate(packets)]  # type: ignore[misc]
    if packets and first is None:
        first = _first_decoded(path, stream.index)
    if stream.codec_context.has_b_frames and (untimed or name == "avi"):  # which has times of decoding only
        order = _decoded_order(path, stream.index, len(packets))
        if name == "avi" or len(untimed) == len(packets):
            packets = _timed_by_order(packets, order)
        else:
            packets = _timed_between(packets, order, untimed)
    if num_seconds:
        packets = _with_seconds_timed(packets)
    if first is not None:
        packets = _without_lost_start(packets, path, stream.index)
    return Picture(packets, first, restarts, is_uneven or (pairs is not None and pairs.found))


def _without_lost_start(packets: list[Row], path: str, stream_index: int) -> list[Row]:
    """The same packets; pictures before the first key picture that no decoder shows count as hidden.

    They lean on what was cut off before the file begins: a recording that starts in the middle of a group, or
    leading pictures of an open group. Some can be decoded all the same, so that it is tried.
    """
    key = next((position for position, row in enumerate(packets) if row[1]), len(packets))
    if key >= MAX_START_PACKETS:
        return packets
    # Pictures shown before the key picture that follow it in the file do so at once.
    early = [
        position
        for position, (pts, _, shown, *_) in enumerate(packets[: key + 1 + MAX_LEADING])
        if shown == SHOWN and position != key and (position < key or pts < packets[key][0])
    ]
    if not early:
        return packets
    came = _shown_of_start(path, stream_index, early[-1] + MAX_LEADING)
    lost = {position for position in early if position not in came}
    return [(*row[:2], HIDDEN, *row[3:]) if i in lost else row for i, row in enumerate(packets)]


def _shown_of_start(path: str, stream_index: int, num_packets: int) -> set[int]:
    """Numbers of the packets, of so many at the start, whose pictures a decoder gives."""
    came: set[int] = set()
    with open_media(path) as container:
        stream = cast("VideoStream", container.streams[stream_index])
        context = picture_decoder(stream)
        for position, packet in enumerate(itertools.islice(_demuxed(container, stream), num_packets)):
            packet.pts = packet.dts = position
            with contextlib.suppress(av.error.FFmpegError):
                came.update(frame.pts for frame in context.decode(packet) if frame.pts is not None)
        with contextlib.suppress(av.error.FFmpegError):
            came.update(frame.pts for frame in context.decode(None) if frame.pts is not None)
    return came


def _is_hidden_vp8(packet: av.Packet[Any]) -> bool:
    """Whether a picture serves as reference alone: bit 4 of its first byte (RFC 6386, 9.1)."""
    return not memoryview(cast(Any, packet))[0] & 16


def _is_hidden_vp9(packet: av.Packet[Any]) -> bool:
    """Whether a packet holds one picture that is not shown, by its first bits (VP9 bitstream, 6.2).

    Encoders put such a picture into one packet with the next that is shown (a superframe, annex B).
    """
    data = memoryview(cast(Any, packet))
    first = data[0]
    if first >> 6 != 2 or data[-1] & 0xE0 == 0xC0:
        return False
    is_long = first & 0x30 == 0x30  # profile 3 has a reserved bit more
    shows_earlier, shown = (first & 4, first & 1) if is_long else (first & 8, first & 2)
    return not shows_earlier and not shown


_HIDING = {"vp8": _is_hidden_vp8, "vp9": _is_hidden_vp9}


def _decode_alone(stream: VideoStream, packet: av.Packet[Any]) -> av.VideoFrame | None:
    """The frame in a key packet, without waiting for the packets after it."""
    context = picture_decoder(stream)
    try:
        frames = [*context.decode(packet), *context.decode(None)]
    except av.error.FFmpegError:
        frames = []
    context.flush_buffers()
    return frames[0] if frames else None


def _stated_keys(stream: VideoStream) -> frozenset[int]:
    """Numbers of the packets that the tables of an MP4 call key pictures; of H.264 alone."""
    if stream.codec_context.name != "h264":
        return frozenset()
    entries = (entry.is_keyframe for entry in stream.index_entries if entry.size)
    return frozenset(number for number, is_key in enumerate(entries) if is_key)


def slice_kinds(packet: av.Packet[Any]) -> set[int]:
    """Which kinds of slices an H.264 packet holds, 1 to 5 (ITU-T H.264 table 7-1); none where it is damaged.

    An IDR picture has those of 5. Other key packets are recovery points: some are whole pictures, but in a
    stream refreshed bit by bit nothing can be shown until some packets later.
    """
    data = bytes(packet)
    if data.startswith((b"\0\0\1", b"\0\0\0\1")):
        found = {unit[0] & 31 for unit in data.split(b"\0\0\1")[1:] if unit}
    else:
        found = set()
        at = 0  # units behind their length in four bytes, as MP4 and Matroska have them
        while at + 4 < len(data):
            found.add(data[at + 4] & 31)
            at += 4 + int.from_bytes(data[at : at + 4], "big")
    return found & {1, 2, 3, 4, 5}


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


def _decoded_order(path: str, stream_index: int, num_packets: int) -> list[int]:
    """Numbers of the packets that give a picture, in the order of presentation that only the decoder knows.

    AVI and raw streams have no presentation times, so this decodes everything.
    """
    order: list[int] = []
    with open_media(path) as container:
        stream = cast("VideoStream", container.streams[stream_index])
        context = stream.codec_context
        allowance = PictureAllowance(size_of(container))
        for position, packet in enumerate(itertools.chain(_demuxed(container, stream), [None])):
            if packet is not None:
                packet.pts = packet.dts = position
            with contextlib.suppress(av.error.FFmpegError):
                for frame in context.decode(packet):
                    allowance.spend(frame.width, frame.height)
                    order += [frame.pts] if frame.pts is not None else []
    return [position for position in dict.fromkeys(order) if position < num_packets]


def _timed_by_order(packets: list[Row], order: list[int]) -> list[Row]:
    """The same packets with their times dealt out in the order of presentation.

    Packets that give no frame count as not shown.
    """
    times = sorted(row[0] for row in packets if row[2] != SECOND_FIELD)
    shown = dict(zip(order, times, strict=False))
    return [
        (shown.get(i, pts), is_key, kind if i in shown or kind == SECOND_FIELD else HIDDEN, *rest)  # type: ignore[misc]
        for i, (pts, is_key, kind, *rest) in enumerate(packets)
    ]


def _with_seconds_timed(packets: list[Row]) -> list[Row]:
    """The same packets, where second fields have the time of their first."""
    found: list[Row] = []
    for row in packets:
        found.append((found[-1][0], *row[1:]) if row[2] == SECOND_FIELD else row)
    return found


def _field_pairs(stream: VideoStream) -> FieldPairs | None:
    """Who knows second fields in a stream that may have some."""
    context = stream.codec_context
    pairs = FieldPairs(context.extradata) if context.name == "h264" else None
    return pairs if pairs is not None and pairs.may_have_fields else None


def _timed_between(packets: list[Row], order: list[int], untimed: list[int]) -> list[Row]:
    """The same packets, where those that are shown and have no time get one between their neighbours.

    Those that give no picture, as the ones of an open group that lean on what was cut off, are not shown.
    """
    lacking = set(untimed)
    known = [place for place, i in enumerate(order) if i not in lacking]
    steps = [row[4] for row in packets if row[4]]
    step = int(np.median(steps)) if steps else 1
    found = list(packets)
    before = next((row[0] for i, row in enumerate(packets) if i not in lacking), 0)
    for i, (pts, is_key, _, *rest) in enumerate(packets):
        if i in lacking:
            found[i] = (before - 1, is_key, HIDDEN, *rest)  # type: ignore[assignment]
        else:
            before = pts
    if not known:
        return found
    times = np.array([packets[order[place]][0] for place in known])
    places = np.array(known)
    for place, i in enumerate(order):
        if i in lacking:
            _, is_key, is_shown, *rest = packets[i]
            inside = float(np.interp(place, places, times))
            beyond = min(0, place - known[0]) + max(0, place - known[-1])
            found[i] = (round(inside) + beyond * step, is_key, is_shown, *rest)  # type: ignore[assignment]
    return found


def _demuxed(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[Any]]:
    """Packets with something in them, until the first error."""
    with contextlib.suppress(av.error.FFmpegError):
        packets = count_packets(container.demux(stream), size_of(container))
        yield from (packet for packet in packets if packet.size)
