"""A container's own name for the codec of a track without a decoder, which FFmpeg does not report."""

from __future__ import annotations

import os
import re
from typing import BinaryIO

UNKNOWN = "unknown"
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")  # on the way to the sample descriptions
MAX_BOXES = 10_000
# An element 0x86 of Matroska with a length of one byte: the codec's identity, such as A_OPUS.
_MATROSKA = re.compile(rb"\x86([\x83-\xbf])([AVS]_[A-Z0-9/_.]{1,60})")
_HEAD_BYTES = 1 << 20


def codec_tag(path: str, stream_index: int) -> str:
    """The name of a track's codec in an MP4 (four characters) or a Matroska file, else `UNKNOWN`.

    Args:
        path: a local file; of any other, `UNKNOWN` is returned.
        stream_index: 0-based position of the track in the container.
    """
    if not os.path.isfile(path):
        return UNKNOWN
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        if head[:4] == b"\x1aE\xdf\xa3":
            names = [name[: length[0] & 0x7F].decode("ascii") for length, name in _MATROSKA.findall(head)]
        else:
            names = _sample_descriptions(file, os.path.getsize(path))
    return names[stream_index] if stream_index < len(names) else UNKNOWN


def _sample_descriptions(file: BinaryIO, num_bytes: int) -> list[str]:
    """Four characters for each track of an MP4 (ISO/IEC 14496-12, 8.5.2), in the order of the tracks."""
    found = []
    spans = [(0, num_bytes)]
    for _ in range(MAX_BOXES):
        if not spans:
            break
        at, end = spans.pop()
        if end - at < 8:
            continue
        file.seek(at)
        header = file.read(16)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        body = at + 8
        if size == 1:
            size, body = int.from_bytes(header[8:16], "big"), at + 16
        size = size or end - at
        if size < body - at or at + size > end:
            continue  # damaged, or no MP4
        spans.append((at + size, end))
        if kind in _PARENTS:
            spans.append((body, at + size))
        elif kind == b"stsd":
            file.seek(body + 8 + 4)  # version and count, then the first entry's size
            found.append("".join(chr(c) if 32 <= c < 127 else "?" for c in file.read(4)))
    return found
