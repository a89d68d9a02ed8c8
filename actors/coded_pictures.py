"""How many pictures a decoder makes of one packet, read from the bitstream without decoding it.

Decoders of devices count the pictures that they decode, files and PyAV the packets that are shown. Both count
alike where every packet holds one picture; where one holds more or none, numbers are those of other pictures
from there on, without an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from framemill.actors.bits import Bits

# From the bytes of one packet to the pictures that are decoded of it.
Counter = Callable[[bytes], int]

_VOP, _SKIPPED_BYTES = b"\0\0\1\xb6", 4
_LAYER_CODES = range(0x20, 0x30)
_HEAD_BYTES = 64
_JPEG_START = b"\xff\xd8\xff"
# Kinds of OBUs (AV1 bitstream, 6.2.2).
SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6


def picture_counter(codec: str, extradata: bytes | None) -> Counter | None:
    """What counts the pictures in packets of a stream, given in order; None where each holds one.

    H.264 is not among them: see `framemill.actors.h264_fields`.

    Args:
        codec: FFmpeg's name. extradata: the stream's header, as its container has it.
    """
    if codec == "mpeg4":
        return _Mpeg4(extradata)
    if codec == "av1":
        return _Av1(extradata)
    return {"vp9": count_vp9, "mjpeg": count_jpeg}.get(codec)


def count_vp9(data: bytes) -> int:
    """Frames of a packet without those that only show an earlier one (VP9 bitstream, 6.2 and annex B)."""
    return sum(not _shows_earlier_vp9(data[start]) for start in _vp9_frames(data) if start < len(data))


def count_jpeg(data: bytes) -> int:
    """Images of a packet: two where each is a field (ITU-T T.81, B.2.1)."""
    return data.count(_JPEG_START)


def _vp9_frames(data: bytes) -> list[int]:
    """Where each frame of a packet begins; a superframe ends in an index of their lengths."""
    if not data:
        return []
    mark = data[-1]
    count, width = (mark & 7) + 1, (mark >> 3 & 3) + 1
    index = len(data) - 2 - count * width
    if mark >> 5 != 6 or index < 0 or data[index] != mark:
        return [0]
    starts, at = [], 0
    for number in range(count):
        place = index + 1 + number * width
        length = int.from_bytes(data[place : place + width], "little")
        if length:
            starts.append(at)
        at += length
    return starts


def _shows_earlier_vp9(first: int) -> bool:
    is_long = first & 0x30 == 0x30  # profile 3 has a reserved bit more
    return first >> 6 == 2 and bool(first & (4 if is_long else 8))


class _Mpeg4:
    """Counts the coded pictures of MPEG-4 (ISO/IEC 14496-2, 6.2.3 and 6.2.5).

    Packed streams of AVI have two in one packet and one that is not coded in the next.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self._time_bits = 0
        self._learn(extradata or b"")

    def __call__(self, data: bytes) -> int:
        if not self._time_bits:
            self._learn(data)
        count, at = 0, data.find(_VOP)
        while at >= 0:
            count += self._is_coded(data[at + _SKIPPED_BYTES : at + _HEAD_BYTES])
            at = data.find(_VOP, at + _SKIPPED_BYTES)
        return count

    def _is_coded(self, head: bytes) -> bool:
        try:
            bits = Bits(head)
            bits.take(2)
            while bits.take(1):
                pass
            bits.take(2 + self._time_bits)
            return not self._time_bits or bool(bits.take(1))
        except IndexError:
            return False

    def _learn(self, data: bytes) -> None:
        """Reads how long times are from the header of the layer, where there is one."""
        at = data.find(b"\0\0\1")
        while 0 <= at < len(data) - 4 and data[at + 3] not in _LAYER_CODES:
            at = data.find(b"\0\0\1", at + 3)
        if not 0 <= at < len(data) - 4:
            return
        try:
            bits = Bits(data[at + 4 : at + 4 + _HEAD_BYTES])
            bits.take(9)
            version = 1
            if bits.take(1):
                version = bits.take(4)
                bits.take(3)
            if bits.take(4) == 15:
                bits.take(16)
            if bits.take(1):
                bits.take(3)
                if bits.take(1):
                    bits.take(79)
            if bits.take(2) == 3 and version != 1:
                bits.take(4)
            bits.take(1)
            self._time_bits = max(1, (bits.take(16) - 1).bit_length())
        except IndexError:
            return


class _Av1:
    """Counts the frames of AV1 without those that only show an earlier one (AV1 bitstream, 5.3 and 5.9)."""

    def __init__(self, extradata: bytes | None) -> None:
        self._is_still = False
        if extradata and extradata[0] == 0x81:  # as MP4 and Matroska have it: OBUs behind four bytes
            self(extradata[4:])

    def __call__(self, data: bytes) -> int:
        count = 0
        for kind, at, _ in av1_units(data):
            if kind == SEQUENCE_HEADER:
                self._is_still = bool(data[at] >> 3 & 1)  # behind the profile and `still_picture`
            elif kind in (_FRAME_HEADER, _FRAME):
                count += self._is_still or not data[at] >> 7
        return count


def av1_units(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The kind of each OBU of a packet that holds something, where that begins, and where it ends."""
    at = 0
    while at < len(data):
        kind, has_extension, has_size = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + has_extension
        length = len(data) - at
        if has_size:
            length, at = _leb128(data, at)
        if at >= len(data):
            return
        yield kind, at, at + length
        at += length


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where what follows begins."""
    value = 0
    for place in range(8):
        if at >= len(data):
            break
        byte = data[at]
        value |= (byte & 127) << 7 * place
        at += 1
        if not byte >> 7:
            break
    return value, at
