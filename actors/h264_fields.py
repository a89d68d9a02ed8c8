"""Pictures of H.264 that are coded as two fields, each in a packet of its own (ITU-T H.264, 7.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from framemill.actors.bits import Bits

_SLICE, _IDR_SLICE, _PARAMETERS = 1, 5, 7  # kinds of units, table 7-1
# Profiles whose parameters tell of chroma and depth.
_HIGH = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_SLICE_HEAD_BYTES = 24


@dataclass(frozen=True, slots=True)
class _Field:
    """What tells fields that belong together: numbers alike, one at the top and one at the bottom."""

    frame_num: int
    is_bottom: bool
    is_reference: bool


class FieldPairs:
    """Finds the packets, given in order, that hold the second field of the picture before.

    Args:
        extradata: the parameters of the stream, where its container has them in its header.

    Attributes:
        found: whether a picture came that is coded as fields, in one packet or in two.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self.found = False
        self._known = False
        self._may_have_fields = False
        self._frame_num_bits = 0
        self._has_planes = False
        self._open: _Field | None = None
        self._length_bytes = 4
        if extradata and extradata[0] == 1:  # as MP4 and Matroska have it (ISO/IEC 14496-15, 5.3.3)
            self._length_bytes = (extradata[4] & 3) + 1 if len(extradata) > 4 else 4
            self._learn(extradata[8:])
        elif extradata:
            self._look_for_parameters(extradata)

    @property
    def may_have_fields(self) -> bool:
        """Whether packets have to be looked at; True as long as that is not known."""
        return self._may_have_fields or not self._known

    def is_second(self, data: bytes) -> bool:
        """Whether a packet holds the second field of the picture that the one before it began."""
        if not self._known:
            self._look_for_parameters(data)
        if not self._may_have_fields:
            return False
        before, self._open = self._open, None
        field = self._field(data)
        if field is None:
            return False
        self.found = True
        if (
            before is not None
            and before.frame_num == field.frame_num
            and before.is_bottom != field.is_bottom
            and before.is_reference == field.is_reference
        ):
            return True
        self._open = field
        return False

    def _look_for_parameters(self, data: bytes) -> None:
        for at, unit in _units(data, self._length_bytes):
            if unit & 31 == _PARAMETERS:
                self._learn(data[at:])
                return

    def _learn(self, unit: bytes) -> None:
        """Reads a sequence parameter set (7.3.2.1.1), from its first byte on."""
        bits = _plain(unit[1:256])
        try:
            profile = bits.take(8)
            bits.take(16)
            bits.number()
            if profile in _HIGH:
                self._has_planes = False
                if bits.number() == 3:
                    self._has_planes = bool(bits.take(1))
                bits.number()
                bits.number()
                bits.take(1)
                if bits.take(1):
                    _skip_scaling(bits, 12 if self._has_planes else 8)
            self._frame_num_bits = bits.number() + 4
            order = bits.number()
            if order == 0:
                bits.number()
            elif order == 1:
                bits.take(1)
                bits.number()
                bits.number()
                for _ in range(min(bits.number(), 255)):
                    bits.number()
            bits.number()
            bits.take(1)
            bits.number()
            bits.number()
            self._may_have_fields = not bits.take(1)
        except IndexError:
            return
        self._known = True

    def _field(self, data: bytes) -> _Field | None:
        """The field that the first slice of a packet is of; None where it is of a whole frame."""
        for at, unit in _units(data, self._length_bytes):
            if unit & 31 not in (_SLICE, _IDR_SLICE):
                continue
            bits = _plain(data[at + 1 : at + _SLICE_HEAD_BYTES])
            try:
                for _ in range(3):
                    bits.number()
                if self._has_planes:
                    bits.take(2)
                frame_num = bits.take(self._frame_num_bits)
                if not bits.take(1):
                    return None
                return _Field(frame_num, bool(bits.take(1)), bool(unit >> 5 & 3))
            except IndexError:
                return None
        return None


def _units(data: bytes, length_bytes: int) -> Iterator[tuple[int, int]]:
    """Where each unit begins, and its first byte."""
    if data.startswith((b"\0\0\1", b"\0\0\0\1")):
        at = data.find(b"\0\0\1")
        while 0 <= at < len(data) - 3:
            yield at + 3, data[at + 3]
            at = data.find(b"\0\0\1", at + 3)
        return
    at = 0
    while at + length_bytes < len(data):
        yield at + length_bytes, data[at + length_bytes]
        at += length_bytes + int.from_bytes(data[at : at + length_bytes], "big")


def _plain(unit: bytes) -> Bits:
    """The bits of a unit without the bytes that keep start codes out of it (7.4.1)."""
    return Bits(unit.replace(b"\0\0\3", b"\0\0"))


def _skip_scaling(bits: Bits, count: int) -> None:
    for number in range(count):
        if not bits.take(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                coded = bits.number()
                following = (last + (coded + 1 >> 1 if coded & 1 else -(coded >> 1))) & 255
            last = following or last
