"""Where a transport stream was joined, by its counters of packets (ISO/IEC 13818-1, 2.4.3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from framemill.actors.segments import ByteFile, read_span

_SYNC = 0x47
# Sizes of a packet, with what may follow or precede it, and where in it the sync byte is.
_LAYOUTS = ((188, 0), (192, 4), (204, 0))
# What is looked at before a seam, and at the start of the file: at least one picture and one table.
_WINDOW_BYTES = 1 << 20
_TABLE = 0  # PID of the program association table


def begins_anew(file: ByteFile, position: int) -> bool:
    """Whether the counters of a stream begin again at a packet as they did at the start of the file.

    A gap in a recording leaves counters where chance has it; what another muxer wrote begins at the first.

    Args:
        position: of the packet, in bytes.
    """
    head = read_span(file, 0, _WINDOW_BYTES)
    layout = _layout(head)
    if layout is None or position < 0:
        return False
    size, offset = layout
    # FFmpeg names the byte behind what may precede the sync byte, or the one before.
    position -= position % size
    first = position - min(position, _WINDOW_BYTES) // size * size
    at = list(_counters(read_span(file, first, position + size), size, offset))
    if not at:
        return False
    pid, counter = at[-1]
    before = [number for other, number in at[:-1] if other == pid]
    own = next((number for other, number in _counters(head, size, offset) if other == pid), None)
    if counter != own or not before:
        return False
    tables = [number for other, number in at if other == _TABLE]
    table = next((number for other, number in _counters(head, size, offset) if other == _TABLE), None)
    starts = [b for a, b in pairwise(tables) if b != (a + 1) & 15]
    if starts:
        return starts[-1] == table
    return counter != (before[-1] + 1) & 15


def _layout(head: bytes) -> tuple[int, int] | None:
    for size, offset in _LAYOUTS:
        if all(head[at : at + 1] == b"G" for at in range(offset, min(len(head), 5 * size), size)):
            return size, offset
    return None


def _counters(data: bytes, size: int, offset: int) -> Iterator[tuple[int, int]]:
    """PID and counter of the packets with content."""
    for at in range(offset, len(data) - 3, size):
        if data[at] == _SYNC and data[at + 3] & 16:
            yield (data[at + 1] & 31) << 8 | data[at + 2], data[at + 3] & 15
