"""One timeline for files whose clock starts anew: joined recordings, chained streams, restarted encoders.

Where the clock of the picture jumps back in the order of decoding, a part begins. It is put behind everything
that came before it, with all streams of the file together, so that picture and sound keep their distance.
Jumps forward stay: the container states them, and what is missing there may really be missing.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import av.error
from av.stream import Discard

from framemill.actors.safe_open import open_media

# Times of decoding rise; muxers that round or repair them go back by a frame or two. More is another clock.
BACK_SECONDS = 0.3
# MPEG's clock counts 33 bits of 90 kHz. FFmpeg takes every time before the first one for an overflow.
_WRAP_SECONDS = Fraction(1 << 33, 90_000)
WRAPPING = ("mpegts", "mpeg")
# A track enters a part with a jump of its own up to so long before or after the picture's first time in it.
_ENTRY_SECONDS = 10


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


def is_restart(before: int | None, now: int | None, time_base: Fraction, format_name: str) -> bool:
    """Whether the clock of a stream starts anew between two packets, by their times of decoding."""
    if before is None or now is None:
        return False
    return _step(before * time_base, now * time_base, format_name) < -BACK_SECONDS


def _step(before: Fraction, now: Fraction, format_name: str) -> Fraction:
    step = now - before
    if format_name in WRAPPING and abs(step) > _WRAP_SECONDS / 2:
        step -= _WRAP_SECONDS if step > 0 else -_WRAP_SECONDS
    return step


def find_timeline(path: str, picture: int, others: Sequence[int]) -> Timeline:
    """Reads the packets of a file whose picture's clock restarts.

    Args:
        picture: index of the picture track. others: of the sound and the subtitles.

    Raises:
        MediaError: the file cannot be opened any more.
    """
    with open_media(path) as container:
        name = container.format.name
        tracks: dict[int, list[_Packet]] = {index: [] for index in (picture, *others)}
        for stream in container.streams:
            if stream.index not in tracks:
                stream.discard = Discard.all
        with contextlib.suppress(av.error.FFmpegError):
            for packet in container.demux([container.streams[index] for index in tracks]):
                if packet.size:
                    tracks[packet.stream_index].append(_seconds(packet))
    unwrapped = {index: _unwrap(packets, name) for index, packets in tracks.items()}
    starts = _restarts(tracks[picture])
    parts = {picture: starts}
    parts |= {index: _parts_of(tracks[index], tracks[picture], starts) for index in others}
    offsets = _offsets(tracks, parts, len(starts) + 1)
    found = {}
    for index, begins in parts.items():
        changes = {0: Fraction(0)} | dict(zip(begins, offsets[1:], strict=True))
        found[index] = _changes(changes, unwrapped[index])
    return Timeline(found)


def _seconds(packet: Any) -> _Packet:
    base = packet.time_base or Fraction(0)
    shown = None if packet.pts is None else packet.pts * base
    decoded = shown if packet.dts is None else packet.dts * base
    return _Packet(decoded, shown, (packet.duration or 0) * base, -1 if packet.pos is None else packet.pos)


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


def _restarts(packets: Sequence[_Packet]) -> list[int]:
    found = []
    last: Fraction | None = None
    for number, packet in enumerate(packets):
        if packet.decoded is None:
            continue
        if last is not None and packet.decoded - last < -BACK_SECONDS:
            found.append(number)
        last = packet.decoded
    return found


def _parts_of(track: Sequence[_Packet], picture: Sequence[_Packet], starts: Sequence[int]) -> list[int]:
    """Where the track enters each part: where its own clock jumps, or behind the picture's first byte."""
    jumps = _restarts(track)
    begins: list[int] = []
    for start in starts:
        first = picture[start]
        entry = begins[-1] if begins else 0
        while entry < len(track) and not track[entry].position >= first.position >= 0:
            entry += 1
        # Interleaving may put a little sound of the new part before its first picture, or of the old after.
        at = bisect_left(jumps, entry)
        near = [
            n
            for n in jumps[max(0, at - 1) : at + 1]
            if n > (begins[-1] if begins else 0) and _is_near(track[n].decoded, first.decoded)
        ]
        begins.append(min(near, key=lambda n: abs(n - entry)) if near else entry)
    return begins


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


def _changes(parts: dict[int, Fraction], unwrapped: dict[int, Fraction]) -> tuple[tuple[int, Fraction], ...]:
    found = []
    part = shift = Fraction(0)
    for number in sorted({*parts, *unwrapped}):
        part, shift = parts.get(number, part), unwrapped.get(number, shift)
        found.append((number, part + shift))
    return tuple(found)
