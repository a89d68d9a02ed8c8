"""What packets state of the pictures from them on, read from the bitstream without decoding it.

The decoder of a device is made for what the first packets state. Where that changes on the way, as where
recordings of two cameras were joined, it goes on as it is, and its pictures are cut off or wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from framemill.actors.bits import Bits
from framemill.actors.coded_pictures import SEQUENCE_HEADER, av1_units

# (width, height), or the bytes of the headers that tell the size and more.
Header = tuple[int, int] | tuple[bytes, ...]

# Headers come before the pictures.
_HEAD_BYTES = 4096
_START = b"\0\0\1"
# Kinds of units that hold sequence parameter sets (ITU-T H.264 table 7-1, H.265 table 7-1).
_H264_PARAMETERS, _HEVC_PARAMETERS = 7, 33
_MPEG4_LAYERS = range(0x20, 0x30)  # ISO/IEC 14496-2, table 6-3
# Of the markers 0xC0 to 0xCF those that begin no frame (ITU-T T.81, table B.1).
_NO_FRAMES = (0xC4, 0xC8, 0xCC)
_VP9_MARKER, _REFERENCES = 2, 3


class CodedHeaders:
    """Holds what packets state against what those before them stated.

    Args:
        codec: FFmpeg's name. extradata: the stream's header, as its container has it.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._codec, self._extradata = codec, extradata or b""
        self._first: Header | None = None

    def change(self, data: bytes, is_key: bool) -> bool:
        """Whether a packet states another size, or other parameters, than the header or the first that did.

        Args:
            data: the packet. is_key: whether a decoder can start there.
        """
        if not is_key and self._codec != "vp9":
            return False
        header = coded_header(self._codec, data)
        if header is None:
            return False
        if self._first is None:
            self._first = header
            parts = [part for part in header if isinstance(part, bytes)]
            return bool(self._extradata) and not all(part in self._extradata for part in parts)
        return header != self._first


def coded_header(codec: str, data: bytes) -> Header | None:
    """What a packet states of the pictures from it on; None where it states nothing.

    Args:
        codec: FFmpeg's name. data: a key packet, or any of VP9.
    """
    head = data[:_HEAD_BYTES]
    if codec == "vp9":
        return _vp9_size(Bits(head[:64]))
    if codec == "vp8" and len(head) >= 10:  # RFC 6386, 9.1
        across, down = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        return across, down
    if codec == "mjpeg":
        return _jpeg_size(head)
    found: tuple[bytes, ...] = ()
    if codec == "h264":
        found = tuple(unit for unit in _units(head) if unit[0] & 31 == _H264_PARAMETERS)
    elif codec == "hevc":
        found = tuple(unit for unit in _units(head) if unit[0] >> 1 & 63 == _HEVC_PARAMETERS)
    elif codec == "mpeg4":
        found = tuple(unit for unit in _units(head) if unit[0] in _MPEG4_LAYERS)
    elif codec == "av1":
        found = tuple(head[at:end] for kind, at, end in av1_units(head) if kind == SEQUENCE_HEADER)
    return found or None


def _units(head: bytes) -> Iterator[bytes]:
    """What lies between start codes, or behind lengths in four bytes, as MP4 and Matroska have them."""
    if head.startswith((_START, b"\0" + _START)):
        yield from (unit for part in head.split(_START)[1:] if (unit := part.rstrip(b"\0")))
        return
    at = 0
    while at + 4 < len(head):
        length = int.from_bytes(head[at : at + 4], "big")
        if length:
            yield head[at + 4 : at + 4 + length]
        at += 4 + length


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        kind = head[at + 1]
        if 0xC0 <= kind <= 0xCF and kind not in _NO_FRAMES:
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def _vp9_size(bits: Bits) -> tuple[int, int] | None:
    """The size in the header of a frame (VP9 bitstream, 6.2), which others than keys may state, too."""
    try:
        if bits.take(2) != _VP9_MARKER:
            return None
        profile = bits.take(1) | bits.take(1) << 1
        bits.take(profile == 3)
        if bits.take(1):
            return None  # it shows an earlier picture
        is_inter, is_shown, is_resilient = bits.take(1), bits.take(1), bits.take(1)
        if not is_inter:
            _skip_colours(bits, profile)
        else:
            is_intra_alone = not is_shown and bits.take(1)
            bits.take(0 if is_resilient else 2)
            if is_intra_alone:
                _skip_colours(bits, profile, has_no_more=profile == 0)
                bits.take(8)
            else:
                bits.take(8 + _REFERENCES * 4)
                if any(bits.take(1) for _ in range(_REFERENCES)):
                    return None  # that of an earlier picture
        return bits.take(16) + 1, bits.take(16) + 1
    except IndexError:
        return None


def _skip_colours(bits: Bits, profile: int, has_no_more: bool = False) -> None:
    bits.take(24)
    if has_no_more:
        return
    bits.take(profile >= 2)
    is_rgb = bits.take(3) == 7
    # A range and, in odd profiles, how colours are sampled.
    bits.take((not is_rgb) + (3 - 2 * is_rgb) * (profile & 1))
