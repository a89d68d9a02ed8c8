"""Encoding the pictures of a clip as H.264: which encoder there is, and pictures as they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from framemill.actors.colour_matrices import matrix_name
from framemill.actors.pyav_colours import flattened, is_planar, is_transparent, plane_samples
from framemill.errors import SetupError, UsageError, did_you_mean

if TYPE_CHECKING:
    from av.container import OutputContainer

# Constant quality: 18 is taken to be indistinguishable, 23 is x264's default.
QUALITY = 20
KEY_SECONDS = 2  # between key frames at most, so that who reads a clip finds its way into it
# Of x264, whose output depends on it: a clip is the same whatever the number of cores.
THREADS = 4
_BITS_PER_PIXEL = 0.12
_BT709, _UNKNOWN, _FULL = 1, 2, 2
# libswscale's numbers of matrices that pictures are tagged with.
_MATRIX = {
    "bt601": Colorspace.ITU601,
    "bt709": Colorspace.ITU709,
    "bt2020": Colorspace.BT2020,
    "fcc": Colorspace.FCC,
    "smpte240m": Colorspace.SMPTE240M,
}


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder of H.264.

    Attributes:
        says: what it is and at which quality, for people.
        options: its own, of a picture of so many pixels a second.
        bit_rate: bits a second of the same; 0 where quality decides.
    """

    says: str
    options: Callable[[float], Mapping[str, str]]
    bit_rate: Callable[[float], int] = lambda pixels: 0


ENCODERS: Mapping[str, Encoder] = {
    "libx264": Encoder(
        f"x264, preset veryfast, constant quality {QUALITY}",
        lambda pixels: {
            "preset": "veryfast", "crf": str(QUALITY), "profile": "high", "threads": str(THREADS),
            "a53cc": "0",
        },
    ),
    "libopenh264": Encoder(
        f"OpenH264, {_BITS_PER_PIXEL:g} bits a pixel",
        lambda pixels: {"rc_mode": "bitrate", "allow_skip_frames": "0"},
        lambda pixels: max(100_000, round(pixels * _BITS_PER_PIXEL)),
    ),
    "h264_nvenc": Encoder(
        f"NVENC, preset p5, constant quality {QUALITY + 1}",
        lambda pixels: {"preset": "p5", "rc": "vbr", "cq": str(QUALITY + 1), "b": "0", "profile": "high"},
    ),
}  # fmt: skip
# Taken without being asked for, the first that is there; what an encoder on a GPU gives differs between GPUs.
_BY_ITSELF = ("libx264", "libopenh264")


def choose_encoder(wanted: str = "") -> str:
    """The name of the encoder to use: the one that is wanted, once it could be opened, else x264 or OpenH264.

    Raises:
        UsageError: it is none of ours.
        SetupError: it is not there; the message says which are.
    """
    if wanted and wanted not in ENCODERS:
        raise UsageError(
            f"no encoder of clips is called {wanted!r}{did_you_mean(wanted, ENCODERS)}; there are "
            f"{', '.join(ENCODERS)}"
        )
    for name in (wanted,) if wanted else _BY_ITSELF:
        if _opens(name):
            return name
    there = [name for name in ENCODERS if _opens(name)]
    raise SetupError(
        f"the encoder {wanted or ' or '.join(_BY_ITSELF)} is not there or does not open on this machine; "
        + (f"there are: {', '.join(there)}" if there else "install the PyAV wheel, which has x264")
    )


def _opens(name: str) -> bool:
    try:
        context = cast(Any, av.CodecContext.create(name, "w"))
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
        context.options = dict(ENCODERS[name].options(25 * 256 * 256))
        context.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def fitted_size(width: int, height: int, most: tuple[int, int] | None) -> tuple[int, int]:
    """Width and height of a clip: even, as 4:2:0 needs, of the same shape, within `most`; never enlarged."""
    scale = min(1.0, most[0] / width, most[1] / height) if most is not None else 1.0
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)


class EncodedPicture:
    """The picture track of a clip that is encoded.

    Args:
        out: the clip.
        encoder: a key of `ENCODERS`.
        size: width and height as shown, even.
        turned: clockwise quarter turns, and whether it is mirrored before them, as in `Geometry`.
        time_base, rate: of its pictures.
        first: its first picture, whose colour tags are those of the clip.
    """

    def __init__(
        self,
        out: OutputContainer,
        encoder: str,
        size: tuple[int, int],
        turned: tuple[int, bool],
        time_base: Fraction,
        rate: Fraction,
        first: av.VideoFrame,
    ) -> None:
        chosen = ENCODERS[encoder]
        self._out = out
        self._size, (self._quarters, self._is_mirrored) = size, turned
        self._scaler = VideoReformatter()
        self._durations: dict[int, int] = {}
        pixels = float(size[0] * size[1] * rate)
        track = cast(Any, out.add_stream(encoder, rate=rate, options=dict(chosen.options(pixels))))
        track.width, track.height, track.pix_fmt = *size, "yuv420p"
        track.time_base = time_base
        context = track.codec_context
        context.time_base = time_base
        context.gop_size = max(1, round(KEY_SECONDS * rate))
        if bit_rate := chosen.bit_rate(pixels):
            context.bit_rate = bit_rate
        self._is_full, matrix = _range_of(first), int(first.colorspace)
        self._is_rgb = first.format.is_rgb or is_transparent(first.format.name)
        context.color_range = ColorRange.JPEG if self._is_full else ColorRange.MPEG
        context.colorspace = _BT709 if self._is_rgb else matrix
        context.color_primaries, context.color_trc = int(first.color_primaries), int(first.color_trc)
        self._track, self._time_base = track, time_base

    def add(self, frame: av.VideoFrame, pts: int, duration: int) -> None:
        """Encodes a picture as it was decoded; times in units of the time base."""
        shown = self._shown(frame)
        shown.pts, shown.time_base = pts, self._time_base
        shown.pict_type = cast(Any, 0)  # else x264 makes a key frame wherever the source had one
        self._durations[pts] = duration
        self._mux(self._track.encode(shown))

    def finish(self) -> None:
        self._mux(self._track.encode(None))

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._out.mux(packet)

    def _shown(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The picture in 4:2:0 with square pixels, mirrored and turned."""
        size = self._size[::-1] if self._quarters % 2 else self._size
        own = frame.width, frame.height
        # A side of an odd number of pixels loses the last one: to shrink it would blur and shift all others.
        is_odd = own != size and (own[0] // 2 * 2, own[1] // 2 * 2) == size
        if frame.format.name != "yuv420p" or (own != size and not is_odd):
            frame = self._converted(frame, own if is_odd else size)
        if not is_odd and not self._quarters and not self._is_mirrored:
            return frame
        made = av.VideoFrame(*self._size, "yuv420p")
        for plane, given, part in zip(made.planes, frame.planes, (1, 2, 2), strict=True):
            samples = plane_samples(given, 1)[: size[1] // part, : size[0] // part]
            turned = np.rot90(samples[:, ::-1] if self._is_mirrored else samples, -self._quarters)
            lines = np.zeros((plane.height, plane.line_size), np.uint8)
            lines[:, : plane.width] = turned
            plane.update(lines.tobytes())
        return made

    def _converted(self, frame: av.VideoFrame, size: tuple[int, int]) -> av.VideoFrame:
        if is_transparent(frame.format.name):
            frame = flattened(frame, self._scaler)
        from_full = frame.format.is_rgb or _is_full_range(frame)
        source = _MATRIX[matrix_name(int(frame.colorspace), frame.height)]
        return self._scaler.reformat(
            frame, *size, "yuv420p", threads=1, interpolation="AREA" if size[0] < frame.width else "BICUBIC",
            src_colorspace=int(source), dst_colorspace=int(Colorspace.ITU709 if self._is_rgb else source),
            src_color_range=ColorRange.JPEG if from_full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG if self._is_full else ColorRange.MPEG,
        )  # fmt: skip


def _range_of(frame: av.VideoFrame) -> bool:
    """Whether the clip of such pictures is of full range: only where they are YUV of full range."""
    return is_planar(frame.format.name) and not frame.format.name.startswith("gray") and _is_full_range(frame)


def _is_full_range(frame: av.VideoFrame) -> bool:
    name, tag = frame.format.name, int(frame.color_range)
    # Grey without a tag is full range, as FFmpeg takes it.
    return tag == _FULL or name.startswith("yuvj") or (name.startswith("gray") and tag != 1)
