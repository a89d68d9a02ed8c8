"""One timeline for files whose clock starts anew: joined recordings, chained streams, restarted encoders.

Where the clock of the picture jumps back in the order of decoding, a part begins; where the bytes tell that
another file begins, one does whatever its clock. It is put behind everything that came before it, with all
streams of the file together, so that picture and sound keep their distance. Other jumps forward stay: the
container states them, and what is missing there may really be missing.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, pairwise
from statistics import median_low
from typing import Any

import av
import av.error
from av.stream import Discard

from framemill.actors.limits import count_packets, size_of
from framemill.actors.safe_open import open_bytes, open_media
from framemill.actors.segments import seams_of
from framemill.actors.transport_seams import begins_anew

# Times of decoding rise; muxers that round or repair them go back by a frame or two. More is another clock.
BACK_SECONDS = 0.3
# MPEG's clock counts 33 bits of 90 kHz. FFmpeg takes every time before the first one for an overflow.
_WRAP_SECONDS = Fraction(1 << 33, 90_000)
WRAPPING = ("mpegts", "mpeg")
# Of a clock that runs on, players take a step forward of more than this for another clock.
FORWARD_SECONDS = 10
# A track enters a part with a jump of its own up to so long before or after the picture's first time in it.
_ENTRY_SECONDS = 10
# Each look reads a megabyte: hostile files leap at every packet.
MOST_LOOKS = 100
# A jump back by less than a few pictures is a new part only if it is so near to where that begins.
_NEAR_PACKETS = 32


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is added to the times of packets; nothing in an ordinary file.

    Attributes:
        offsets: stream index -> (packet number, seconds), ascending: from this packet on, counted among those
            of the stream that hold data, so much is added.
    """

    offsets: dict[int, tuple[tuple[int, Fraction], ...]] = field(default_factory=dict)

    def ticks(self, stream_index: int, number: int, time_base: Fraction) -> int:
        """What is added to the times of a stream's packet `number`, in units of its time base."""
        changes = self.offsets.get(stream_index, ())
        at = bisect_right(changes, number, key=lambda change: change[0]) - 1
        return round(changes[at][1] / time_base) if at >= 0 else 0


class Shift:
    """Puts the packets of one stream, given in order, on the timeline of the file."""

    def __init__(self, timeline: Timeline, stream: Any) -> None:
        self._timeline = timeline
        self._stream = stream
        self._number = 0

    def apply(self, packet: Any) -> None:
        """Changes the times of the next packet."""
        if not packet.size:
            return
        if self._stream.index in self._timeline.offsets:
            ticks = self._timeline.ticks(self._stream.index, self._number, self._stream.time_base)
            if packet.pts is not None:
                packet.pts += ticks
            if packet.dts is not None:
                packet.dts += ticks
        self._number += 1


@dataclass(slots=True)
class _Packet:
    """Times in seconds; `decoded` is None where the packet has none at all."""

    decoded: Fraction | None
    shown: Fraction | None
    duration: Fraction
    position: int
    is_key: bool


def is_restart(
    before: int | Fraction | None, now: int | Fraction | None, time_base: Fraction, format_name: str
) -> bool:
    """Whether the clock of a stream starts anew between two packets, by their times of decoding."""
    if before is None or now is None:
        return False
    return _step(before * time_base, now * time_base, format_name) < -BACK_SECONDS


def may_restart(before: int, now: int, time_base: Fraction, format_name: str) -> bool:
    """Whether two times of decoding are worth a look of `find_timeline`: they stand still, fall or leap."""
    step = _step(before * time_base, now * time_base, format_name)
    return step <= 0 or (format_name in WRAPPING and step > FORWARD_SECONDS)


def _step(before: Fraction, now: Fraction, format_name: str) -> Fraction:
    step = now - before
    if format_name in WRAPPING and abs(step) > _WRAP_SECONDS / 2:
        step -= _WRAP_SECONDS if step > 0 else -_WRAP_SECONDS
    return step


def find_timeline(path: str, leader: int, others: Sequence[int]) -> Timeline:
    """Reads the packets of a file whose clock may restart.

    Args:
        leader: index of the picture track; of the sound where there is none.
        others: of the sound and the subtitles.

    Raises:
        MediaError: the file cannot be opened any more.
    """
    with open_media(path) as container:
        name = container.format.name
        seams = seams_of(container)
        tracks: dict[int, list[_Packet]] = {index: [] for index in (leader, *others)}
        for stream in container.streams:
            if stream.index not in tracks:
                stream.discard = Discard.all
        with contextlib.suppress(av.error.FFmpegError):
            packets = container.demux([container.streams[index] for index in tracks])
            for packet in count_packets(packets, size_of(container)):
                if packet.size:
                    tracks[packet.stream_index].append(_seconds(packet))
    if name in WRAPPING and tracks[leader]:
        # FFmpeg makes up how long pictures last, and of a single one it knows nothing.
        usual = median_low(packet.duration for packet in tracks[leader])
        for picture in tracks[leader]:
            picture.duration = usual
    unwrapped = {index: _unwrap(packets, name) for index, packets in tracks.items()}
    if seams:
        parts = {index: _behind(packets, seams) for index, packets in tracks.items()}
        num_parts = len(seams) + 1
    else:
        starts = _restarts(tracks[leader], name, path)
        parts = {leader: starts}
        parts |= {index: _parts_of(tracks[index], tracks[leader], starts) for index in others}
        num_parts = len(starts) + 1
    if num_parts == 1 and not any(unwrapped.values()):
        return Timeline()
    strays = {leader: _strays(tracks[leader], parts[leader])} if name == "mpeg" else {}
    offsets = _offsets(tracks, parts, num_parts)
    found = {}
    for index, begins in parts.items():
        changes = {0: Fraction(0)} | dict(zip(begins, offsets[1:], strict=True))
        found[index] = _changes(changes, unwrapped[index], strays.get(index, {}))
    return Timeline(found)


def _seconds(packet: Any) -> _Packet:
    base = packet.time_base or Fraction(0)
    shown = None if packet.pts is None else packet.pts * base
    decoded = shown if packet.dts is None else packet.dts * base
    position = -1 if packet.pos is None else packet.pos
    return _Packet(decoded, shown, (packet.duration or 0) * base, position, packet.is_keyframe)


def _unwrap(packets: Sequence[_Packet], format_name: str) -> dict[int, Fraction]:
    """Takes overflows out of the times, and tells by how much from which packet on."""
    changes: dict[int, Fraction] = {}
    shift = Fraction(0)
    last: Fraction | None = None
    for number, packet in enumerate(packets):
        if packet.decoded is None:
            continue
        if last is not None:
            straight = packet.decoded + shift - last
            turn = _step(last, packet.decoded + shift, format_name) - straight
            if turn:
                shift += turn
                changes[number] = shift
        packet.decoded += shift
        if packet.shown is not None:
            packet.shown += shift
        last = packet.decoded
    return changes


def _restarts(track: Sequence[_Packet], format_name: str, path: str) -> list[int]:
    """Numbers of the packets with which a part begins.

    Parts of a picture or two step back by less than muxers do that repair times. But no picture before a
    key picture is shown after it.
    """
    found: list[int] = []
    last: Fraction | None = None
    highest: Fraction | None = None
    looks = 0
    for number, packet in enumerate(track):
        if packet.decoded is None:
            continue
        begins = is_restart(last, packet.decoded, Fraction(1), format_name)
        if last is not None and not begins:
            step = packet.decoded - last
            if packet.is_key and packet.shown is not None and highest is not None:
                begins = packet.shown <= highest - (0 if step <= 0 else Fraction(BACK_SECONDS))
            is_leap = step > FORWARD_SECONDS and format_name in WRAPPING
            if not begins and is_leap and looks < MOST_LOOKS:
                looks += 1
                begins = _begins_anew(path, format_name, packet)
        if begins:
            found.append(number)
            highest = None
        last = packet.decoded
        if packet.shown is not None:
            highest = packet.shown if highest is None else max(highest, packet.shown)
    return found


def _begins_anew(path: str, format_name: str, packet: _Packet) -> bool:
    """Whether a jump forward is where another file begins.

    Transport streams are recorded as they are sent, so that what is missing may have been lost on the way.
    """
    if format_name != "mpegts":
        return packet.is_key
    with open_bytes(path) as file:
        return begins_anew(file, packet.position)


def _behind(track: Sequence[_Packet], seams: Sequence[int]) -> list[int]:
    """Numbers of the first packets at or behind these bytes."""
    positions = list(accumulate((packet.position for packet in track), max))
    return [bisect_left(positions, seam) for seam in seams]


def _parts_of(track: Sequence[_Packet], picture: Sequence[_Packet], starts: Sequence[int]) -> list[int]:
    """Where the track enters each part: where its own clock jumps, or behind the picture's first byte."""
    if not starts:
        return []
    entries = _behind(track, [picture[start].position for start in starts])
    # Interleaving may put a little sound of the new part before its first picture, or of the old after.
    jumps: dict[int, list[int]] = {}
    for number in range(1, len(track)):
        step = _between(track[number - 1], track[number])
        if step is None or 0 < step < FORWARD_SECONDS:
            continue
        part = min(range(len(starts)), key=lambda part: abs(entries[part] - number))
        is_small = -BACK_SECONDS < step <= 0
        if is_small and abs(entries[part] - number) > _NEAR_PACKETS:
            continue
        if _is_near(track[number].decoded, picture[starts[part]].decoded):
            jumps.setdefault(part, []).append(number)
    begins: list[int] = []
    for part, entry in enumerate(entries):
        least = begins[-1] if begins else 0
        near = [number for number in jumps.get(part, ()) if number > least]
        begins.append(min(near, key=lambda n: abs(n - entry)) if near else max(entry, least))
    return begins


def _between(before: _Packet, now: _Packet) -> Fraction | None:
    return None if before.decoded is None or now.decoded is None else now.decoded - before.decoded


def _is_near(a: Fraction | None, b: Fraction | None) -> bool:
    return a is not None and b is not None and abs(a - b) < _ENTRY_SECONDS


def _offsets(tracks: dict[int, list[_Packet]], parts: dict[int, list[int]], num_parts: int) -> list[Fraction]:
    """What each part is moved by, so that it begins where all streams of the parts before it have ended."""
    offsets = [Fraction(0)]
    end = Fraction(0)
    for part in range(num_parts):
        mine = []
        for index, packets in tracks.items():
            edges = [0, *parts[index], len(packets)]
            mine += packets[edges[part] : edges[part + 1]]
        times = [packet.shown if packet.shown is not None else packet.decoded for packet in mine]
        known = [
            (time, packet.duration) for time, packet in zip(times, mine, strict=True) if time is not None
        ]
        if part:
            offsets.append(end - min(time for time, _ in known) if known else offsets[-1])
        if known:
            end = max(time + length for time, length in known) + offsets[-1]
    return offsets


def _strays(track: Sequence[_Packet], begins: Sequence[int]) -> dict[int, Fraction]:
    """What is to be added to times that are of the next part's clock.

    In program streams a picture that others lean on may have no time of its own. It is shown when the next of
    these is decoded, so that FFmpeg gives it that time, and to the last one of a part one of the next.
    """
    found = {}
    edges = [0, *begins, len(track)]
    for start, end in pairwise(edges):
        stray, ends = [], []
        for number in range(start, end):
            packet = track[number]
            if packet.shown is None or packet.decoded is None:
                continue
            if packet.shown - packet.decoded > FORWARD_SECONDS:
                stray.append(number)
            else:
                ends.append(packet.shown + packet.duration)
        for number in stray if ends else ():
            packet = track[number]
            assert packet.shown is not None
            found[number] = max(ends) - packet.shown
            packet.shown = max(ends)
            ends.append(packet.shown + packet.duration)
    return found


def _changes(
    parts: dict[int, Fraction], unwrapped: dict[int, Fraction], strays: dict[int, Fraction]
) -> tuple[tuple[int, Fraction], ...]:
    found = []
    part = shift = Fraction(0)
    for number in sorted({*parts, *unwrapped, *strays, *(number + 1 for number in strays)}):
        part, shift = parts.get(number, part), unwrapped.get(number, shift)
        found.append((number, part + shift + strays.get(number, 0)))
    return tuple(found)
