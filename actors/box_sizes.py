"""What the outermost boxes of a file say of its length: a box that reaches beyond the end was cut off."""

from __future__ import annotations

import os
from typing import BinaryIO

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
    num_bytes = os.path.getsize(path)
    with open(path, "rb", buffering=4096) as file:
        if format_name.startswith("mov"):
            return _missing_of_boxes(file, num_bytes)
        if format_name in ("avi", "wav"):
            return _missing_of_riff(file, num_bytes)
        if format_name.startswith("matroska"):
            return _missing_of_segment(file, num_bytes)
        if format_name == "asf":
            return _missing_of_objects(file, num_bytes)
    return 0


def _missing_of_boxes(file: BinaryIO, num_bytes: int) -> int:
    at = 0
    for _ in range(MAX_BOXES):
        if at >= num_bytes:
            return 0
        file.seek(at)
        head = file.read(16)
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


def _missing_of_riff(file: BinaryIO, num_bytes: int) -> int:
    at = 0
    while at + 8 <= num_bytes:  # a long AVI is several, one behind the other
        file.seek(at)
        head = file.read(8)
        size = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or not 0 < size < _LARGEST_RIFF:
            return 0
        at += 8 + size + size % 2
    missing = at - num_bytes
    return missing if missing > _RIFF_SLACK else 0


def _missing_of_segment(file: BinaryIO, num_bytes: int) -> int:
    at = 0
    for kind in (_EBML, _SEGMENT):
        file.seek(at)
        head = file.read(12)
        if head[:4] != kind or len(head) < 5 or not head[4]:
            return 0
        length = 9 - head[4].bit_length()
        bits = 7 * length
        size = int.from_bytes(head[4 : 4 + length], "big") & ((1 << bits) - 1)
        if size == (1 << bits) - 1:  # all ones: unknown, as live streams have it
            return 0
        if kind == _EBML:
            at += 4 + length + size
    return max(0, at + 4 + length + size - num_bytes)


def _missing_of_objects(file: BinaryIO, num_bytes: int) -> int:
    """Of ASF: its header, and the data behind it; who recorded a stream as it came states no length."""
    at = 0
    for kind in (_ASF_HEADER, _ASF_DATA):
        file.seek(at)
        head = file.read(24)
        size = int.from_bytes(head[16:24], "little")
        if head[:16] != kind or size <= 24:
            return 0
        at += size
    return max(0, at - num_bytes)
