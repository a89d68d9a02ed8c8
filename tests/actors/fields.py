"""H.264 written by hand, each picture as two fields of one grey level: no encoder at hand makes any."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from tests.actors.greys import RATE, luma_of

_COLUMNS = 4  # macroblocks of 16 x 16; one row of them a field
_DELIMITER = b"\0\0\0\1\x09\x10"


class _Bits:
    def __init__(self) -> None:
        self._text = ""

    def put(self, value: int, count: int = 1) -> _Bits:
        self._text += f"{value:0{count}b}"
        return self

    def numbers(self, *values: int) -> _Bits:
        """Exp-Golomb codes."""
        for value in values:
            self._text += "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"
        return self

    def align(self) -> _Bits:
        self._text += "0" * (-len(self._text) % 8)
        return self

    def unit(self, first: int) -> bytes:
        """A unit with its start code and what keeps others out of it."""
        self.put(1).align()
        found = bytearray()
        zeros = 0
        for byte in int(self._text, 2).to_bytes(len(self._text) // 8, "big"):
            if zeros >= 2 and byte <= 3:
                found.append(3)
                zeros = 0
            found.append(byte)
            zeros = 0 if byte else zeros + 1
        return b"\0\0\0\1" + bytes([first]) + bytes(found)


def _parameters() -> bytes:
    # Main profile, level 3, frame_num of 8 bits, order as decoded, fields allowed; then CAVLC, nothing else.
    sequence = _Bits().put(77, 8).put(0, 8).put(30, 8).numbers(0, 4, 2, 1).put(0).numbers(_COLUMNS - 1, 0)
    sequence.put(0b0010, 4)
    # Of the rest only the clock is told: so many ticks a second, two a picture.
    sequence.put(1).put(0, 4).put(1).put(1, 32).put(2 * RATE, 32).put(1).put(0, 4)
    picture = _Bits().numbers(0, 0).put(0, 2).numbers(0, 0, 0).put(0, 3).numbers(0, 0, 0).put(0, 3)
    return sequence.unit(0x67) + picture.unit(0x68)


def _field(luma: int, frame_num: int, is_idr: bool, is_bottom: bool) -> bytes:
    bits = _Bits().numbers(0, 7, 0).put(frame_num, 8).put(1).put(is_bottom)
    if is_idr:
        bits.numbers(frame_num).put(0, 2)
    else:
        bits.put(0)
    bits.numbers(0)
    for _ in range(_COLUMNS):
        bits.numbers(25).align()  # samples as they are
        for byte in (luma,) * 256 + (128,) * 128:
            bits.put(byte, 8)
    return bits.unit(0x65 if is_idr else 0x61)


def fields(count: int, group: int = 12) -> list[tuple[bytes, bytes]]:
    """Both fields of each picture, picture N of luma 20 + 2 x N."""
    found = []
    for number in range(count):
        frame_num, luma = number % group, luma_of(number)
        head = _DELIMITER + (b"" if frame_num else _parameters())
        first = head + _field(luma, frame_num, not frame_num, False)
        found.append((first, _DELIMITER + _field(luma, frame_num, False, True)))
    return found


def write_fields(path: Path, count: int, one_packet: bool = False) -> Path:
    """The pictures as a bare stream, or in a container with both fields in a packet or one each."""
    bare = path.with_suffix(".h264")
    bare.write_bytes(b"".join(a + b for a, b in fields(count)))
    if path == bare:
        return path
    base = Fraction(1, 90_000)
    step = 90_000 // RATE
    with av.open(str(bare)) as given, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for number, (first, second) in enumerate(fields(count)):
            for place, data in enumerate([first + second] if one_packet else [first, second]):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, base
                packet.pts = packet.dts = number * step + place * step // 2
                packet.duration = step if one_packet else step // 2
                packet.is_keyframe = number % 12 == 0 and place == 0
                out.mux(packet)
    return path
