"""Luma and RGB of decoded pictures at their coded size.

Planar YUV is converted here, as DALI's CUDA kernel does it: colours are drawn linearly between their samples
and rounded, then all three are mixed in one step and rounded. libswscale's fast way repeats colours and cuts
off (0.8 to 1.5 of 255 too dark, measured), which changed scores by up to 0.04; its exact way takes several
times as long as this. Whole pictures are converted, though small views of them need fewer samples: taking
those of each plane and converting them is faster, but rounds each plane and blends colours otherwise than
DALI's, which changed scores as much (both measured). All other formats are left to libswscale: packed and
big-endian ones, palettes, RGB.

Chroma samples count as lying in the middle of the pixels they stand for, wherever the file places them:
DALI's converters do the same, and the difference is half a pixel at most. In interlaced pictures they do
so too, as lines of both fields lie where they are shown; between lines colours of both fields blend.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from framemill.actors.colour_matrices import luma_from_samples, matrix_name, rgb_from_samples
from framemill.ops.chunks import Float64Array, UInt8Array

cv2.setNumThreads(1)  # the shard processor already runs one shard a core

Samples = npt.NDArray[Any]

# Planar YUV whose samples can be read as they lie in memory: 8 bits, or up to 16 in little-endian words.
_PLANAR = ("yuv4", "yuvj4", "gray")
# Not so: floating point, and bits at the upper end of their words.
_OTHER_WORDS = ("grayf", "grayh", "msb")
WORDS = {size: np.dtype(f"<u{size}") for size in (1, 2, 4, 8)}

# libswscale's numbers.
_MATRIX = {
    "bt601": Colorspace.ITU601,
    "bt709": Colorspace.ITU709,
    "bt2020": Colorspace.BT2020,
    "fcc": Colorspace.FCC,
    "smpte240m": Colorspace.SMPTE240M,
}
_OPAQUE = 255
_BAND_PIXELS = 200_000  # mixed at once
# Where alpha lies in each pixel of four bytes.
_PACKED_ALPHA = {"bgra": 3, "rgba": 3, "argb": 0, "abgr": 0}


@functools.lru_cache(maxsize=64)
def is_planar(format_name: str) -> bool:
    """Whether samples of this pixel format are read where they lie, and converted here."""
    known = format_name.startswith(_PLANAR) and not any(other in format_name for other in _OTHER_WORDS)
    return known and not av.VideoFormat(format_name).is_big_endian


def plane_samples(plane: VideoPlane, sample_bytes: int) -> Samples:
    """One plane as uint8 or uint16 [height, width], without copying."""
    line = plane.line_size
    # Lines may run upwards in memory; the buffer then starts with the last one.
    start = (plane.height - 1) * -line if line < 0 else 0
    shape = (plane.height, plane.width)
    return np.ndarray(shape, WORDS[sample_bytes], cast(Any, plane), start, (line, sample_bytes))


@functools.lru_cache(maxsize=64)
def is_transparent(format_name: str) -> bool:
    """Whether pixels of this format may show what lies behind the picture, which is black here."""
    kind = av.VideoFormat(format_name)
    return kind.has_palette or any(component.is_alpha for component in kind.components)


@functools.lru_cache(maxsize=64)
def has_alpha_plane(format_name: str) -> bool:
    """Whether its planes are those of a format of `is_planar`, and one of alpha."""
    return format_name.startswith("yuva4") and is_planar("yuv" + format_name.removeprefix("yuva"))


def without_empty_alpha(frame: av.VideoFrame, codec: str) -> av.VideoFrame:
    """The picture, made opaque where it is of raw 32-bit RGB and nothing of it would show.

    AVI leaves the fourth byte without a meaning (BITMAPINFOHEADER, biCompression BI_RGB), and many writers
    leave it at 0; FFmpeg takes it for alpha all the same.
    """
    at = _PACKED_ALPHA.get(frame.format.name) if codec == "rawvideo" else None
    if at is None:
        return frame
    plane = frame.planes[0]
    samples = np.frombuffer(cast(Any, plane), np.uint8)
    if not samples.reshape(frame.height, -1)[:, at : 4 * frame.width : 4].any():
        opaque = samples.copy()
        opaque[at::4] = _OPAQUE
        plane.update(opaque.tobytes())
    return frame


def flattened(frame: av.VideoFrame, scaler: VideoReformatter) -> av.VideoFrame:
    """The picture as it shows, without an alpha channel: what is transparent lets black through."""
    if not is_transparent(frame.format.name):
        return frame
    return av.VideoFrame.from_ndarray(rgb_pixels(frame, scaler), format="rgb24")


def luma_samples(frame: av.VideoFrame, scaler: VideoReformatter) -> Samples:
    """What `brightness` makes luma of: samples of any number of bits, [height, width]."""
    if has_alpha_plane(frame.format.name):
        luma = _full_range(plane_samples(frame.planes[0], _sample_bytes(frame)), frame)
        return _over_black(luma, _alpha(frame))
    if is_planar(frame.format.name):
        return plane_samples(frame.planes[0], _sample_bytes(frame))
    return plane_samples(convert(scaler, frame, "gray").planes[0], 1)


def brightness(samples: Samples, frame: av.VideoFrame) -> UInt8Array:
    """A frame's `luma_samples`, as many as there may be, as uint8 in 0..255."""
    return _full_range(samples, frame) if is_planar(frame.format.name) else cast(UInt8Array, samples)


def _full_range(samples: Samples, frame: av.VideoFrame) -> UInt8Array:
    """Stored samples of luma as uint8 in 0..255."""
    is_full = _is_full_range(frame)
    if samples.dtype == np.uint8:
        return samples if is_full else cast(UInt8Array, cv2.LUT(samples, _stretch()))
    return _mix(samples, luma_from_samples(frame.format.components[0].bits, is_full))


def rgb_pixels(frame: av.VideoFrame, scaler: VideoReformatter) -> UInt8Array:
    """R G B in 0..255, uint8 [height, width, 3]."""
    if has_alpha_plane(frame.format.name):
        return _over_black(_planar_rgb(frame), _alpha(frame))
    if is_transparent(frame.format.name):
        rgba = convert(scaler, frame, "rgba").to_ndarray()
        return _over_black(cast(UInt8Array, rgba[..., :3]), cast(UInt8Array, rgba[..., 3]))
    if not is_planar(frame.format.name):
        return cast(UInt8Array, convert(scaler, frame, "rgb24").to_ndarray())
    return _planar_rgb(frame)


def small_rgb(frame: av.VideoFrame, luma: Shrinking, size: tuple[int, int]) -> UInt8Array:
    """R G B in 0..255 of a picture of planes made smaller, uint8 [height, width, 3]: for measures and people.

    Planes are shrunk before they are mixed, which takes a tenth of the time of converting the whole picture
    (measured, 1280 x 720 to 240 x 135), and blends colours a little otherwise than `rgb_pixels`.

    Args:
        frame: of a format of `is_planar`. luma: its first plane.
        size: width, height of the result, of the picture as coded.
    """
    colours = [shrink(plane_samples(plane, _sample_bytes(frame)), size) for plane in frame.planes[1:]]
    return _mix_planes([luma.to(size), *colours], frame)


class Shrinking:
    """A picture that is made smaller, without aliasing, to several sizes: what they share is computed once.

    Args:
        picture: uint8 or uint16 [height, width], or with channels behind.
    """

    def __init__(self, picture: Samples) -> None:
        self._halves = [picture]

    def to(self, size: tuple[int, int]) -> UInt8Array:
        """At `size` = (width, height): halved by averaging while more than twice too large, then linear."""
        level = 0
        while self._halves[level].shape[1] >= 2 * size[0] and self._halves[level].shape[0] >= 2 * size[1]:
            level += 1
            if level == len(self._halves):
                high, wide = self._halves[-1].shape[:2]
                half = cv2.resize(self._halves[-1], (wide // 2, high // 2), interpolation=cv2.INTER_AREA)
                self._halves.append(half)
        picture = self._halves[level]
        if (picture.shape[1], picture.shape[0]) != size:
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        return cast(UInt8Array, picture)


def shrink(picture: Samples, size: tuple[int, int]) -> UInt8Array:
    """`Shrinking` to one size."""
    return Shrinking(picture).to(size)


def bgr_to_encode(frame: av.VideoFrame, pixels: UInt8Array | None) -> UInt8Array:
    """B G R in 0..255 for an encoder that halves colours again, uint8 [height, width, 3].

    Samples of colour are repeated, where `rgb_pixels` draws lines between them: JPEG and most video hold a
    colour for each 2 x 2 pixels, and the mean of four equal ones is the one that was decoded. It takes half
    of the time, and blurs nothing.

    Args:
        frame: of a format of `is_planar`, with colours.
        pixels: an earlier result whose memory may be used again; None takes fresh memory.
    """
    luma, *colours = (plane_samples(plane, _sample_bytes(frame)) for plane in frame.planes)
    to_bgr = _frame_to_rgb(frame)[::-1]
    across, down = _chroma_spacing(frame.format.name)
    if pixels is None or pixels.shape[:2] != luma.shape:
        pixels = np.empty((*luma.shape, 3), np.uint8)
    lines = max(1, _BAND_PIXELS // frame.width // down) * down
    for top in range(0, frame.height, lines):
        band = luma[top : top + lines]
        repeated = [
            cv2.merge([plane[top // down : -(-(top + len(band)) // down)]] * across)
            .reshape(-1, across * plane.shape[1])[:, : frame.width]
            for plane in colours
        ]  # fmt: skip
        samples = np.empty((*band.shape, 3), band.dtype)
        for line in range(min(down, len(band))):
            own = band[line::down]
            cv2.merge([own, *(plane[: len(own)] for plane in repeated)], dst=samples[line::down])
        _mix(samples, to_bgr, pixels[top : top + lines])
    return pixels


def _planar_rgb(frame: av.VideoFrame) -> UInt8Array:
    """R G B of planes that are read where they lie, alpha left out."""
    luma, *colours = (plane_samples(plane, _sample_bytes(frame)) for plane in frame.planes[:3])
    if colours:
        spacing = _chroma_spacing(frame.format.name)
        colours = [_spread(plane, spacing, (frame.width, frame.height)) for plane in colours]
    return _mix_planes([luma, *colours], frame)


def _mix_planes(planes: list[Samples], frame: av.VideoFrame) -> UInt8Array:
    """R G B of a frame's luma, or of its luma and both chroma planes, all of one size."""
    if len(planes) == 1:
        return cast(UInt8Array, cv2.cvtColor(brightness(planes[0], frame), cv2.COLOR_GRAY2RGB))
    return _mix(cv2.merge(planes), _frame_to_rgb(frame))


def _frame_to_rgb(frame: av.VideoFrame) -> Float64Array:
    """From a frame's samples and a 1 to R, G, B, float64 [3, 4]."""
    matrix = matrix_name(int(frame.colorspace), frame.height)
    return _to_rgb(matrix, frame.format.components[0].bits, _is_full_range(frame))


def _alpha(frame: av.VideoFrame) -> UInt8Array:
    """The fourth plane, 0 for what is transparent and 255 for what is not; always of full range."""
    alpha = plane_samples(frame.planes[3], _sample_bytes(frame))
    bits = frame.format.components[3].bits
    return cast(UInt8Array, alpha if bits == 8 else _mix(alpha, luma_from_samples(bits, True)))


def _over_black(pixels: UInt8Array, alpha: UInt8Array) -> UInt8Array:
    """What shows of pixels [height, width] or [height, width, 3] before black, rounded."""
    if alpha.min() == _OPAQUE:
        return np.ascontiguousarray(pixels)
    share = alpha if pixels.ndim == 2 else alpha[..., None]
    return ((pixels.astype(np.uint16) * share + _OPAQUE // 2) // _OPAQUE).astype(np.uint8)


def convert(scaler: VideoReformatter, frame: av.VideoFrame, format_name: str) -> av.VideoFrame:
    """Another pixel format at the same size; YUV made here is BT.601, and full range where it is grey.

    Matrix and range are always named: the conversion refuses pictures tagged with those it does not know.
    """
    is_full = _is_full_range(frame) or frame.format.is_rgb
    return scaler.reformat(
        frame,
        format=format_name,
        threads=1,
        src_colorspace=int(_MATRIX[matrix_name(int(frame.colorspace), frame.height)]),
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG if format_name == "yuv420p" else ColorRange.JPEG,
    )


def _is_full_range(frame: av.VideoFrame) -> bool:
    name, tag = frame.format.name, int(frame.color_range)
    # Grey without a tag is full range, as FFmpeg takes it.
    return tag == 2 or name.startswith("yuvj") or (name.startswith("gray") and tag != 1)


def _sample_bytes(frame: av.VideoFrame) -> int:
    return 2 if frame.format.components[0].bits > 8 else 1


@functools.lru_cache(maxsize=64)
def _chroma_spacing(format_name: str) -> tuple[int, int]:
    """Pixels from one sample to the next, across and down."""
    kind = av.VideoFormat(format_name)
    return 64 // kind.chroma_width(64), 64 // kind.chroma_height(64)


@functools.lru_cache(maxsize=64)
def _to_rgb(matrix: str, bits: int, is_full: bool) -> Float64Array:
    """As `rgb_from_samples`, with weights that OpenCV does not round any more: grey stays grey."""
    exact = rgb_from_samples(matrix, bits, is_full)
    if bits > 8:
        return exact
    # It computes bytes with weights of ten bits; what is black and what has no colour must follow them.
    weights = np.round(exact[:, :3] * 1024) / 1024
    black = np.linalg.solve(exact[:, :3], -exact[:, 3])
    return np.concatenate([weights, -(weights @ black)[:, None]], axis=1)


@functools.lru_cache(maxsize=1)
def _stretch() -> UInt8Array:
    """Studio range 16..235 to 0..255, of every value of 8 bits."""
    return _mix(np.arange(256, dtype=np.uint16), luma_from_samples(8, False)).ravel()


def _spread(plane: Samples, spacing: tuple[int, int], size: tuple[int, int]) -> Samples:
    """Chroma of every pixel of a picture of `size` = (width, height)."""
    if spacing == (1, 1):
        return plane
    # OpenCV's fast way with bytes cuts off where its exact one rounds, and colours weigh double in RGB.
    # With words both compute in floating point.
    method = cv2.INTER_LINEAR_EXACT if plane.dtype == np.uint8 else cv2.INTER_LINEAR
    # The last samples of an odd picture lie half outside.
    larger = cv2.resize(plane, None, fx=spacing[0], fy=spacing[1], interpolation=method)
    return larger[: size[1], : size[0]]


def _mix(samples: Samples, matrix: Float64Array, into: UInt8Array | None = None) -> UInt8Array:
    """Sums of each place's samples, weighted by the rows of a matrix for them and a 1, limited to 0..255.

    Args:
        into: where to put them, of the same height and width; None makes a new array.
    """
    if samples.dtype == np.uint8:
        return cast(UInt8Array, cv2.transform(samples, matrix, dst=into))
    # Words can hold more than 255: white must be the most they hold, so that they are limited.
    words = cv2.transform(samples, matrix * 257)
    return cast(UInt8Array, cv2.convertScaleAbs(words, dst=into, alpha=1 / 257))
