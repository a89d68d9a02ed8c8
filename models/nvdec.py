"""What the video decoder of a GPU takes, as its driver tells: chips of one generation differ.

Ada's chips and the A10 decode AV1, A100 and T4 do not; the pictures that fit differ, and so does the number
of decoders on a chip.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from framemill.models import cuda

LIBRARY = "libnvcuvid.so.1"
# FFmpeg's names of the codecs that DALI hands to it, and the driver's numbers (cudaVideoCodec in cuviddec.h).
CODEC_NUMBERS = MappingProxyType(
    {"mpeg4": 2, "h264": 4, "mjpeg": 5, "hevc": 8, "vp8": 9, "vp9": 10, "av1": 11}
)
_CHROMA_420 = 1  # cudaVideoChromaFormat_420


@dataclass(frozen=True, slots=True)
class Limits:
    """Pictures that the decoder of one codec takes.

    Attributes:
        least, most: (width, height) in pixels.
        most_blocks: blocks of 16 x 16 pixels in one picture; 0 for as many as the sides allow.
        units: decoders on the chip that take it, which work side by side.
    """

    least: tuple[int, int]
    most: tuple[int, int]
    most_blocks: int = 0
    units: int = 1

    def hold(self, width: int, height: int) -> bool:
        """Whether a picture of this size is taken."""
        fits_sides = self.least[0] <= width <= self.most[0] and self.least[1] <= height <= self.most[1]
        return fits_sides and (not self.most_blocks or width * height <= 256 * self.most_blocks)


class _Caps(ctypes.Structure):
    """CUVIDDECODECAPS of cuviddec.h: the first four fields ask, the others answer."""

    _fields_ = (
        ("codec", ctypes.c_int),
        ("chroma", ctypes.c_int),
        ("bits_above_8", ctypes.c_uint),
        ("reserved_1", ctypes.c_uint * 3),
        ("is_supported", ctypes.c_ubyte),
        ("num_units", ctypes.c_ubyte),
        ("output_formats", ctypes.c_ushort),
        ("max_width", ctypes.c_uint),
        ("max_height", ctypes.c_uint),
        ("max_blocks", ctypes.c_uint),
        ("min_width", ctypes.c_ushort),
        ("min_height", ctypes.c_ushort),
        ("has_histogram", ctypes.c_ubyte),
        ("counter_bits", ctypes.c_ubyte),
        ("max_bins", ctypes.c_ushort),
        ("reserved_2", ctypes.c_uint * 10),
    )


def library_problem() -> str:
    """Why this process cannot load the decoder's library, which comes with the driver; empty where it can."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as exc:
        return (
            f"{LIBRARY} cannot be loaded ({exc}): a container is given it by the capability `video` "
            "(NVIDIA_DRIVER_CAPABILITIES=compute,utility,video)"
        )
    return ""


@cache
def decoder_limits() -> Mapping[str, Limits]:
    """Codec, by FFmpeg's name, -> what the first GPU decodes of it at 8 bits and 4:2:0.

    Empty where nothing can be asked: no GPU, no library, or one too old for the question. The device's
    primary context is made for it, as whatever decodes there makes it, too.
    """
    try:
        library: Any = ctypes.CDLL(LIBRARY)
        ask = library.cuvidGetDecoderCaps
    except (OSError, AttributeError):
        return {}
    found: dict[str, Limits] = {}
    with cuda.primary_context(makes_one=True) as is_current:
        for name, number in CODEC_NUMBERS.items() if is_current else ():
            caps = _Caps(codec=number, chroma=_CHROMA_420)
            if ask(ctypes.byref(caps)) == 0 and caps.is_supported:
                found[name] = Limits(
                    (caps.min_width, caps.min_height),
                    (caps.max_width, caps.max_height),
                    caps.max_blocks,
                    max(1, caps.num_units),
                )
    return MappingProxyType(found)


def describe_limits(limits: Mapping[str, Limits]) -> str:
    """The codecs in words, each with its largest picture and its decoders."""
    return ", ".join(
        f"{name} to {each.most[0]} x {each.most[1]} ({each.units} decoder{'s' * (each.units > 1)})"
        for name, each in limits.items()
    )
