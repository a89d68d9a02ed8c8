"""What lies between the frames of sound in bare streams: tags of the files that they were joined of."""

from __future__ import annotations

# Containers that state no times: frames of sound, one behind the other.
UNTIMED = frozenset(("mp3", "aac", "ac3", "eac3", "dts", "truehd"))
_ID3_HEADER = 10
_ID3V1_BYTES = 128
# Behind a frame's header and side information: it tells the length of what follows, and holds no sound.
_LENGTH_MARKS = (b"Xing", b"Info", b"VBRI")
_MARK_WITHIN = 44


def tag_bytes(data: bytes) -> int:
    """Length of the tags (ID3, versions 1 and 2) that a packet begins with; 0 without."""
    at = 0
    while at < len(data):
        if data.startswith(b"ID3", at) and len(data) >= at + _ID3_HEADER:
            size = 0
            for byte in data[at + 6 : at + 10]:  # seven bits each
                size = size << 7 | byte & 127
            at += _ID3_HEADER * (2 if data[at + 5] & 16 else 1) + size
        elif data.startswith(b"TAG", at):
            at += _ID3V1_BYTES
        else:
            break
    return at


def is_header(frame: bytes) -> bool:
    """Whether a frame of MP3 tells of those behind it and holds no sound."""
    return any(mark in frame[:_MARK_WITHIN] for mark in _LENGTH_MARKS)
