"""Which files the decoder of a device reads, as data: each rule with what it is about and why.

Which codecs and sizes a chip decodes its driver says (`models.nvdec`); which formats come out right depends
on DALI's own kernels; the length and size below which a device does not pay are estimates until
`make first-gpu` has measured them on the machine at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from framemill.models.nvdec import Limits, decoder_limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What the rules look at.

    Attributes:
        codec: FFmpeg's name. profile: of the codec, or empty.
        pixel_format: FFmpeg's name. bit_depth: of a sample.
        width, height: as coded, in pixels.
        num_frames: frames that are wanted.
        has_hidden: whether some packets hold no frame of their own, as one that is not shown or a second
            field, or more or fewer coded pictures than one, or one of another size.
        is_full_by_container: whether the container says that samples use the full range, and they do not.
    """

    codec: str
    profile: str
    pixel_format: str
    bit_depth: int
    width: int
    height: int
    num_frames: int
    has_hidden: bool
    is_full_by_container: bool


# NVDEC on Hopper for 8 bits and 4:2:0, from its documents: for a driver that does not tell of its chip.
GPU_CODECS: Mapping[str, Limits] = {
    "h264": Limits((48, 16), (4096, 4096)),
    "hevc": Limits((144, 144), (8192, 8192)),
    "vp8": Limits((48, 16), (4096, 4096)),
    "vp9": Limits((128, 128), (8192, 8192)),
    "mpeg4": Limits((48, 16), (2032, 2032)),
    "mjpeg": Limits((64, 64), (32768, 16384)),
}
# DALI's variant for the host decodes these alone, of any size.
_ANY = Limits((2, 2), (16384, 16384))
CPU_CODECS: Mapping[str, Limits] = {"vp8": _ANY, "vp9": _ANY, "mjpeg": _ANY}
# H.264 as interlaced pairs of fields, with lossless or 4:2:2 tools, has no hardware behind it.
H264_PROFILES = ("Constrained Baseline", "Baseline", "Main", "High", "")
# Starting a decoder of a device costs some 10 ms; below this much work a core is faster. An estimate, not a
# measurement: `make first-gpu` says what to put here.
GPU_LEAST_PIXELS = 16 * 640 * 360


@dataclass(frozen=True, slots=True)
class Rule:
    """Refuses a picture on a device; `reason` is a format string over the fields of `Picture`."""

    refuses: Callable[[Picture, str], bool]
    reason: str


RULES: tuple[Rule, ...] = (
    Rule(lambda p, device: p.codec not in codecs_of(device), "the device decodes no {codec}"),
    Rule(
        lambda p, device: p.pixel_format not in ("yuv420p", "yuvj420p") or p.bit_depth != 8,
        "the device's colour conversion is for 8 bits and 4:2:0, not {pixel_format}",
    ),
    Rule(
        lambda p, device: p.codec == "h264" and p.profile not in H264_PROFILES,
        "the device decodes no H.264 of profile {profile}",
    ),
    Rule(
        lambda p, device: bool(p.width % 2 or p.height % 2),
        "{width} x {height}: the device's colour conversion loses odd rows and columns",
    ),
    Rule(
        lambda p, device: not codecs_of(device)[p.codec].hold(p.width, p.height),
        "{width} x {height} is beyond what the device decodes of {codec}",
    ),
    Rule(
        lambda p, device: p.has_hidden,
        "some packets hold what is not shown, more or less than one picture, or one of another size",
    ),
    Rule(
        lambda p, device: p.is_full_by_container,
        "only the container says that samples use the full range, and the device does not look there",
    ),
    Rule(
        lambda p, device: device == "gpu" and p.num_frames * p.width * p.height < GPU_LEAST_PIXELS,
        "{num_frames} frames of {width} x {height} are too little work for a device",
    ),
)


def codecs_of(device: str) -> Mapping[str, Limits]:
    """Codec -> what a device decodes of it: the driver's word where there is a GPU that gives one."""
    return CPU_CODECS if device == "cpu" else decoder_limits() or GPU_CODECS


def refusal(picture: Picture, device: str) -> str:
    """Why the host decodes this picture, in words; empty where the device does.

    Args:
        device: `gpu`, or `cpu` for DALI's variant for the host.
    """
    for rule in RULES:
        if rule.refuses(picture, device):
            return rule.reason.format(**{name: getattr(picture, name) for name in Picture.__slots__})
    return ""
