"""Matroska files joined byte by byte: several segments, shown to FFmpeg as one, which reads two at most."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from framemill.actors.positioned import PositionedFile

if TYPE_CHECKING:
    from av.container import InputContainer

# Element ids of RFC 8794 and RFC 9559.
_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_TRACKS, _TRACK_ENTRY, _INFO = b"\x16\x54\xae\x6b", b"\xae", b"\x15\x49\xa9\x66"
_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
_TOP_LEVEL = (
    _CLUSTER, _TRACKS, _INFO, b"\x11\x4d\x9b\x74", b"\x1c\x53\xbb\x6b", b"\x12\x54\xc3\x67",
    b"\x10\x43\xa7\x70", b"\x19\x41\xa4\x69", b"\xec", b"\xbf",
)  # fmt: skip
# Hostile files hold millions of empty elements; a day of clusters of a second is below this.
MAX_ELEMENTS = 200_000
# What is searched at a time where a cluster does not tell its size.
_SEARCH_BYTES = 1 << 20

Span = tuple[int, int]  # start, end in bytes


class ByteFile(Protocol):
    """What is read of a file, wherever it lies; a read may give less than was asked for."""

    def seek(self, offset: int, /) -> int: ...
    def tell(self) -> int: ...
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Segment:
    """One of the files that were joined.

    Attributes:
        head: EBML header, of its own. facts: spans of its track list and general facts.
        clusters: spans of what holds packets, in order, those without a gap as one.
        num_tracks: entries in its track list.
    """

    head: Span
    facts: tuple[Span, ...]
    clusters: tuple[Span, ...]
    num_tracks: int


class JoinedSegments(PositionedFile):
    """The clusters of several segments behind the track list of the one with most tracks, as one file.

    Attributes:
        source: the file they are in. seams: where each segment but the first begins, in bytes of this file.
    """

    def __init__(self, source: ByteFile, segments: Sequence[Segment]) -> None:
        self.source = source
        richest = max(segments, key=lambda segment: segment.num_tracks)
        header = read_span(source, *richest.head) + _SEGMENT + _UNKNOWN_SIZE
        header += b"".join(read_span(source, *span) for span in richest.facts)
        self._header = header
        self._spans = [span for segment in segments for span in segment.clusters]
        self._ends = list(accumulate((end - start for start, end in self._spans), initial=len(header)))
        firsts = accumulate(len(segment.clusters) for segment in segments[:-1])
        self.seams = tuple(self._ends[first] for first in firsts)
        super().__init__(self._ends[-1])

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; fewer where a span ends, none at the end."""
        at = self._position
        if at < len(self._header):
            found = self._header[at : None if size < 0 else at + size]
        elif at >= self.num_bytes:
            return b""
        else:
            number = bisect_right(self._ends, at) - 1
            left = self._ends[number + 1] - at
            start = self._spans[number][0] + at - self._ends[number]
            found = read_span(self.source, start, start + (left if size < 0 else min(size, left)))
        self._position += len(found)
        return found


def seams_of(container: InputContainer) -> tuple[int, ...]:
    """Where later files begin in an open one that was joined; none in an ordinary one."""
    opened = getattr(container.file, "file", None)
    return opened.seams if isinstance(opened, JoinedSegments) else ()


def find_segments(file: ByteFile, num_bytes: int) -> list[Segment]:
    """The segments of a Matroska file that lie one behind the other; a single one is not looked into.

    Args:
        num_bytes: length of the file.
    """
    first = _body(file, 0, num_bytes)
    if first is None:
        return []
    _, end = first
    if end is not None and read_span(file, end, end + 4) != _EBML:
        return []
    segments = []
    at = 0
    while at < num_bytes and (body := _body(file, at, num_bytes)) is not None:
        segment, at = _walk(file, at, body, num_bytes)
        segments.append(segment)
    return [segment for segment in segments if segment.clusters]


def _body(file: ByteFile, at: int, num_bytes: int) -> tuple[int, int | None] | None:
    """Start and end of the content of the segment behind an EBML header; the end None where unknown."""
    header = read_element(file, at)
    if header is None or header[0] != _EBML or header[2] is None:
        return None
    segment = read_element(file, header[2])
    if segment is None or segment[0] != _SEGMENT:
        return None
    _, start, end = segment
    return start, None if end is None else min(end, num_bytes)


def _walk(file: ByteFile, at: int, body: tuple[int, int | None], num_bytes: int) -> tuple[Segment, int]:
    """The segment whose EBML header is at `at`, and where the next one may begin."""
    start, stated_end = body
    header = read_element(file, at)
    assert header is not None and header[2] is not None
    facts: list[Span] = []
    clusters: list[Span] = []
    num_tracks = 0
    here, last = start, num_bytes if stated_end is None else stated_end
    for _ in range(MAX_ELEMENTS):
        element = read_element(file, here) if here < last else None
        if element is None or element[0] not in _TOP_LEVEL:
            break
        kind, content, end = element
        if end is None:
            end = _next_header(file, content, last)
        end = min(end, last)
        if kind == _CLUSTER:
            if clusters and clusters[-1][1] == here:
                clusters[-1] = (clusters[-1][0], end)
            else:
                clusters.append((here, end))
        elif kind in (_TRACKS, _INFO):
            facts.append((here, end))
            num_tracks += _count(file, content, end) if kind == _TRACKS else 0
        here = end
    segment = Segment((at, header[2]), tuple(facts), tuple(clusters), num_tracks)
    return segment, here if stated_end is None else stated_end


def _count(file: ByteFile, at: int, end: int) -> int:
    count = 0
    while at < end and (element := read_element(file, at)) is not None and element[2] is not None:
        count += element[0] == _TRACK_ENTRY
        at = element[2]
    return count


def _next_header(file: ByteFile, at: int, end: int) -> int:
    """Where the next EBML header is that a segment follows, or the end."""
    while at < end:
        piece = read_span(file, at, min(end, at + _SEARCH_BYTES))
        found = piece.find(_EBML)
        while found >= 0:
            if _body(file, at + found, end) is not None:
                return at + found
            found = piece.find(_EBML, found + 1)
        if len(piece) < len(_EBML):
            break
        at += max(1, len(piece) - len(_EBML) + 1)
    return end


def read_element(file: ByteFile, at: int) -> tuple[bytes, int, int | None] | None:
    """Id, start and end of the content; the end None where the size is unknown. None where there is none."""
    head = read_span(file, at, at + 12)
    if not head or not head[0]:
        return None
    id_length = 9 - head[0].bit_length()
    if len(head) <= id_length or not head[id_length]:
        return None
    length = 9 - head[id_length].bit_length()
    size = int.from_bytes(head[id_length : id_length + length], "big") & ((1 << 7 * length) - 1)
    start = at + id_length + length
    return head[:id_length], start, None if size == (1 << 7 * length) - 1 else start + size


def read_span(file: ByteFile, start: int, end: int) -> bytes:
    """The bytes from `start` up to `end`, fewer where the file ends before."""
    file.seek(start)
    found = b""
    while len(found) < end - start:  # what reads in ranges may give less at a time
        piece = file.read(end - start - len(found))
        if not piece:
            break
        found += piece
    return found
