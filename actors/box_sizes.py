"""What the outermost boxes of a file say of its length: a box that reaches beyond the end was cut off."""

from __future__ import annotations

import os

from framemill.actors.segments import ByteFile, read_element, read_span

# Outermost boxes of ISO/IEC 14496-12 and QuickTime; other names are what somebody appended.
_BOXES = frozenset(
    (b"ftyp", b"moov", b"moof", b"mdat", b"styp", b"sidx", b"ssix", b"mfra", b"meta", b"emsg", b"prft")
)
_FILLERS = frozenset((b"free", b"skip", b"wide", b"uuid", b"pdin", b"pnot", b"udta"))
# Hostile files hold millions of empty boxes; an hour in fragments of a second holds some thousands.
MAX_BOXES = 100_000
# Writers that could not go back leave the size at 0 or its largest: nothing is stated.
_LARGEST_RIFF = 0x7FFFF000
# Many writers of RIFF count the header or a padding byte twice.
_RIFF_SLACK = 9
_SEGMENT = b"\x18\x53\x80\x67"
_EBML = b"\x1a\x45\xdf\xa3"
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")


def missing_bytes(path: str, format_name: str) -> int:
    """How many bytes the boxes of a local file name beyond its end; 0 where nothing is missing or stated.

    Args:
        format_name: FFmpeg's name of the container.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb", buffering=4096) as file:
        return missing_of(file, os.path.getsize(path), format_name)


def missing_of(file: ByteFile, num_bytes: int, format_name: str) -> int:
    """As `missing_bytes`, of what is open; it is left at the byte where it was."""
    before = file.tell()
    try:
        if format_name.startswith("mov"):
            return _missing_of_boxes(file, num_bytes)
        if format_name in ("avi", "wav"):
            return _missing_of_riff(file, num_bytes)
        if format_name.startswith("matroska"):
            return _missing_of_segments(file, num_bytes)
        if format_name == "asf":
            return _missing_of_objects(file, num_bytes)
        return 0
    finally:
        file.seek(before)


def _missing_of_boxes(file: ByteFile, num_bytes: int) -> int:
    at = 0
    for _ in range(MAX_BOXES):
        if at >= num_bytes:
            return 0
        head = read_span(file, at, at + 16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind not in _BOXES and kind not in _FILLERS:
            return 0
        header = 8
        if size == 1:
            size, header = int.from_bytes(head[8:16], "big"), 16
        if size < header:  # 0: up to the end of the file
            return 0
        at += size
        if at > num_bytes:
            return at - num_bytes if kind in _BOXES else 0
    return 0


def _missing_of_riff(file: ByteFile, num_bytes: int) -> int:
    at = 0
    while at + 8 <= num_bytes:  # a long AVI is several, one behind the other
        head = read_span(file, at, at + 8)
        size = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or not 0 < size < _LARGEST_RIFF:
            return 0
        at += 8 + size + size % 2
    missing = at - num_bytes
    return missing if missing > _RIFF_SLACK else 0


def _missing_of_segments(file: ByteFile, num_bytes: int) -> int:
    """Of the last of several segments, where files were joined."""
    at = 0
    while at < num_bytes:
        end = _end_of_segment(file, at)
        if end is None:
            return 0
        if end > num_bytes:
            return end - num_bytes
        at = end
    return 0


def _end_of_segment(file: ByteFile, at: int) -> int | None:
    end: int | None = at
    for kind in (_EBML, _SEGMENT):
        element = None if end is None else read_element(file, end)
        if element is None or element[0] != kind:
            return None
        end = element[2]
    return end


def _missing_of_objects(file: ByteFile, num_bytes: int) -> int:
    """Of ASF: its header, and the data behind it; who recorded a stream as it came states no length."""
    at = 0
    for kind in (_ASF_HEADER, _ASF_DATA):
        head = read_span(file, at, at + 24)
        size = int.from_bytes(head[16:24], "little")
        if head[:16] != kind or size <= 24:
            return 0
        at += size
    return max(0, at - num_bytes)
