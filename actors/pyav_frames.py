"""Frames and signals as PyAV decoded them: planes in memory, views on demand."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormatComponent
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from actors.carried import CarriedPicture, carry, converts_alike, unpack
from ops.chunks import (
    BoolArray,
    Float32Array,
    Float64Array,
    FrameIndex,
    Frames,
    Int64Array,
    Signals,
    UInt8Array,
)

cv2.setNumThreads(1)  # the mill already runs one shard a core

# Untagged pictures from 720 lines up are taken for BT.709, below for BT.601, as players do.
HD_LINES = 720
_MATRIX = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 9: 9, 10: 9}

LUMA_SAMPLES = 256
CHROMA_SAMPLES = 128

# Planar YUV whose samples can be read as they lie in memory: 8 bits, or up to 16 in little-endian words.
_PLANAR = ("yuv4", "yuvj4", "gray")
_WORDS = {size: np.dtype(f"<u{size}") for size in (1, 2, 4, 8)}


# Whose transparent pixels show whatever lies behind them; black here.
_TRANSPARENT = ("bgra", "rgba", "argb", "abgr", "pal8")


@functools.lru_cache(maxsize=64)
def _is_planar(format_name: str) -> bool:
    known = format_name.startswith(_PLANAR) and not format_name.startswith("grayf")
    return known and not av.VideoFormat(format_name).is_big_endian


def _samples(plane: VideoPlane, sample_bytes: int) -> npt.NDArray[Any]:
    """One plane as uint8 or uint16 [height, width], without copying."""
    line = plane.line_size
    # Lines may run upwards in memory; the buffer then starts with the last one.
    start = (plane.height - 1) * -line if line < 0 else 0
    shape = (plane.height, plane.width)
    return np.ndarray(shape, _WORDS[sample_bytes], cast(Any, plane), start, (line, sample_bytes))


def _plane(frame: av.VideoFrame, index: int) -> npt.NDArray[Any]:
    return _samples(frame.planes[index], 2 if frame.format.components[index].bits > 8 else 1)


def _eight_bits(samples: npt.NDArray[Any], bits: int) -> UInt8Array:
    return samples if bits <= 8 else (samples >> (bits - 8)).astype(np.uint8)


def _matrix(frame: av.VideoFrame) -> int:
    tagged = _MATRIX.get(int(frame.colorspace))
    if tagged is not None:
        return int(tagged)
    return int(Colorspace.ITU709 if frame.height >= HD_LINES else Colorspace.ITU601)


def _is_full_range(frame: av.VideoFrame) -> bool:
    name, tag = frame.format.name, int(frame.color_range)
    # Grey without a tag is full range, as FFmpeg takes it.
    return tag == 2 or name.startswith("yuvj") or (name.startswith("gray") and tag != 1)


def _convert(scaler: VideoReformatter, frame: av.VideoFrame, format_name: str) -> av.VideoFrame:
    """Another pixel format at the same size; YUV made here is BT.601, and full range where it is grey.

    Matrix and range are always named: the conversion refuses pictures tagged with those it does not know.
    """
    is_full = _is_full_range(frame) or frame.format.is_rgb
    return scaler.reformat(
        frame,
        format=format_name,
        threads=1,
        src_colorspace=_matrix(frame),
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG if format_name == "yuv420p" else ColorRange.JPEG,
    )


# Studio range 16..235 stretched to 0..255 (BT.601 and BT.709 agree on it).
_STRETCH = np.clip(np.round((np.arange(256) - 16.0) * (255.0 / 219.0)), 0, 255).astype(np.uint8)


def _stretch(luma: UInt8Array, frame: av.VideoFrame) -> UInt8Array:
    return luma if _is_full_range(frame) else cast(UInt8Array, cv2.LUT(luma, _STRETCH))


class PyavFrames(Frames):
    """Frames of one shard, in presentation order, in the decoder's own buffers."""

    def __init__(
        self,
        frames: Sequence[av.VideoFrame],
        frame_index: Int64Array,
        pts_seconds: Float64Array,
        is_key: BoolArray,
        display: tuple[int, int],
        rotation_quarters: int,
    ) -> None:
        self.frame_index = frame_index
        self.pts_seconds = pts_seconds
        self.is_key = is_key
        self.width, self.height = display
        self._frames = frames
        self._quarters = rotation_quarters
        self._views: dict[object, Any] = {}
        self._scaler = VideoReformatter()

    @property
    def num_bytes(self) -> int:
        """Bytes of the decoded planes."""
        return sum(plane.buffer_size for frame in self._frames for plane in frame.planes)

    def __reduce__(self) -> tuple[Any, ...]:
        """They travel to another process as decoded; views are made anew there."""
        pictures = [carry(frame) for frame in self._frames]
        made = {i: self._coded_rgb(i) for i, frame in enumerate(self._frames) if not converts_alike(frame)}
        at = (self.frame_index, self.pts_seconds, self.is_key)
        return _arrived, (pictures, made, *at, (self.width, self.height), self._quarters)

    def luma(self, size: tuple[int, int] | None = None) -> UInt8Array:
        key = ("luma", size)
        if key not in self._views:
            self._views[key] = np.stack(
                [self._one_luma(i, size or (self.width, self.height)) for i in range(len(self))]
            )
        view: UInt8Array = self._views[key]
        return view

    def rgb(self, size: tuple[int, int] | None = None) -> UInt8Array:
        key = ("rgb", size)
        if key not in self._views:
            self._views[key] = np.stack(
                [self._one_rgb(i, size or (self.width, self.height)) for i in range(len(self))]
            )
        view: UInt8Array = self._views[key]
        return view

    def crops(self, index: Int64Array, boxes: Float32Array, size: tuple[int, int]) -> UInt8Array:
        out = np.zeros((len(index), size[1], size[0], 3), np.uint8)
        for row, (i, (x0, y0, x1, y1)) in enumerate(zip(index, boxes.astype(np.float64), strict=True)):
            if x1 <= x0 or y1 <= y0:
                continue
            # Pixel centres: output pixel u looks at x0 + (u + 0.5) * scale - 0.5.
            sx, sy = (x1 - x0) / size[0], (y1 - y0) / size[1]
            warp = np.array([[sx, 0, x0 + sx / 2 - 0.5], [0, sy, y0 + sy / 2 - 0.5]])
            cv2.warpAffine(
                self._display_rgb(int(i)),
                warp,
                size,
                dst=out[row],
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            )
        return out

    def jpeg(self, quality: int) -> list[bytes]:
        images = []
        for i in range(len(self)):
            pixels = cv2.cvtColor(self._display_rgb(i), cv2.COLOR_RGB2BGR)
            _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
            images.append(data.tobytes())
        return images

    def _one_luma(self, i: int, size: tuple[int, int]) -> UInt8Array:
        frame = self._frames[i]
        if _is_planar(frame.format.name):
            plane = _eight_bits(_plane(frame, 0), frame.format.components[0].bits)
            plane = _stretch(_shrink(plane, self._coded(size)), frame)
        elif frame.format.name in _TRANSPARENT:
            gray = cast(UInt8Array, cv2.cvtColor(self._coded_rgb(i), cv2.COLOR_RGB2GRAY))
            plane = _shrink(gray, self._coded(size))
        else:
            plane = _shrink(_plane(_convert(self._scaler, frame, "gray"), 0), self._coded(size))
        return np.rot90(plane, -self._quarters)

    def _one_rgb(self, i: int, size: tuple[int, int]) -> UInt8Array:
        pixels = self._coded_rgb(i)
        wanted = self._coded(size)
        if (pixels.shape[1], pixels.shape[0]) != wanted:
            pixels = cast(UInt8Array, cv2.resize(pixels, wanted, interpolation=cv2.INTER_LINEAR))
        return np.rot90(pixels, -self._quarters)

    def _display_rgb(self, i: int) -> UInt8Array:
        return np.ascontiguousarray(self._one_rgb(i, (self.width, self.height)))

    def _coded_rgb(self, i: int) -> UInt8Array:
        """RGB of the coded size, remembered: several views start from it."""
        if i not in self._views:
            frame = self._frames[i]
            if frame.format.name in _TRANSPARENT:
                rgba = self._scaler.reformat(frame, format="rgba", threads=1).to_ndarray()
                rgba[rgba[..., 3] == 0] = 0
                self._views[i] = np.ascontiguousarray(rgba[..., :3])
            elif frame.format.name.startswith("gray") and _is_planar(frame.format.name):
                plane = _eight_bits(_plane(frame, 0), frame.format.components[0].bits)
                self._views[i] = cv2.cvtColor(_stretch(plane, frame), cv2.COLOR_GRAY2RGB)
            else:
                self._views[i] = _convert(self._scaler, frame, "rgb24").to_ndarray()
        view: UInt8Array = self._views[i]
        return view

    def _coded(self, size: tuple[int, int]) -> tuple[int, int]:
        """A displayed size before rotation."""
        return (size[1], size[0]) if self._quarters % 2 else size


def _arrived(pictures: Sequence[CarriedPicture], made: Mapping[object, UInt8Array], *rest: Any) -> PyavFrames:
    frames = PyavFrames([unpack(picture) for picture in pictures], *rest)
    frames._views.update(made)
    return frames


def _shrink(plane: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resizes without aliasing: halved by averaging while more than twice too large, then linear."""
    while plane.shape[1] >= 2 * size[0] and plane.shape[0] >= 2 * size[1]:
        half = (plane.shape[1] // 2, plane.shape[0] // 2)
        plane = cast(UInt8Array, cv2.resize(plane, half, interpolation=cv2.INTER_AREA))
    if (plane.shape[1], plane.shape[0]) != size:
        plane = cast(UInt8Array, cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR))
    return plane


@dataclass(frozen=True, slots=True)
class _Thinning:
    """How one plane is thinned.

    Attributes:
        shape: rows and columns of the result.
        step: one of so many samples is kept, in both directions.
        pitch_bytes: from one kept sample to the next in a line.
        word: what is read for each: the sample and those behind it as one little-endian number. Dropping
            the upper bits of words takes a fifth of the time of picking bytes, since processors do
            several at once.
        line_bytes: what a line must hold for the last word.
        shift: bits to drop so that 8 remain.
    """

    shape: tuple[int, int]
    step: int
    pitch_bytes: int
    word: np.dtype[Any]
    line_bytes: int
    shift: int


def _stride(length: int, samples: int) -> int:
    step = 1
    while -(-length // step) > samples:
        step *= 2
    return step


def _thinning(component: VideoFormatComponent, samples: int) -> _Thinning:
    step = _stride(max(component.width, component.height), samples)
    shape = (-(-component.height // step), -(-component.width // step))
    pitch = step * (2 if component.bits > 8 else 1)
    return _Thinning(shape, step, pitch, _WORDS[min(pitch, 8)], shape[1] * pitch, max(0, component.bits - 8))


@functools.lru_cache(maxsize=64)
def _thinnings(format_name: str, width: int, height: int) -> tuple[_Thinning, ...]:
    """Of luma, and of both chroma planes where there are some; empty where the format must be converted."""
    if not _is_planar(format_name):
        return ()
    components = av.VideoFormat(format_name, width, height).components
    luma = _thinning(components[0], LUMA_SAMPLES)
    return (luma, *(_thinning(c, CHROMA_SAMPLES) for c in components[1:3] if len(components) >= 3))


def _write_thin(plane: VideoPlane, thinning: _Thinning, out: UInt8Array) -> None:
    line, step = plane.line_size, thinning.step
    if line >= thinning.line_bytes:
        strides = (line * step, thinning.pitch_bytes)
        words = np.ndarray(thinning.shape, thinning.word, cast(Any, plane), 0, strides)
    else:  # lines that end with their last sample, or run upwards
        words = _samples(plane, 2 if thinning.shift else 1)[::step, ::step]
    np.copyto(out, words >> thinning.shift if thinning.shift else words, casting="unsafe")


Shapes = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class SignalsBatch:
    """Gathers thinned planes until there are enough for one chunk.

    Args:
        capacity: frames that one chunk holds at most.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._frame_index: list[int] = []
        self._shapes: Shapes | None = None
        self._planes: list[UInt8Array] = []
        self._scaler = VideoReformatter()

    def __len__(self) -> int:
        return len(self._frame_index)

    def add(self, frame: av.VideoFrame, frame_index: int) -> None:
        """Takes one frame; there must be room."""
        thinnings = _thinnings(frame.format.name, frame.width, frame.height)
        if not thinnings:
            frame = _convert(self._scaler, frame, "yuv420p")
            thinnings = _thinnings(frame.format.name, frame.width, frame.height)
        shapes = _shapes(thinnings)
        if self._shapes is None:
            self._shapes = shapes
        if not self._frame_index:
            self._planes = [np.empty((self._capacity, *shape), np.uint8) for shape in self._shapes]
        row = [planes[len(self._frame_index)] for planes in self._planes]
        # The stream may change its size half-way: signals keep the size they began with.
        into = row if shapes == self._shapes else [np.empty(shape, np.uint8) for shape in shapes]
        for plane, thinning, out in zip(frame.planes, thinnings, into, strict=False):
            _write_thin(plane, thinning, out)
        for neutral in into[len(thinnings) :]:
            neutral[:] = 128
        if into is not row:
            for plane_before, out in zip(into, row, strict=True):
                size = (out.shape[1], out.shape[0])
                cv2.resize(plane_before, size, dst=out, interpolation=cv2.INTER_NEAREST)
        self._frame_index.append(frame_index)

    def take(self, frames: FrameIndex) -> Signals:
        """What was gathered, of a source with these frames; there must be something."""
        at = np.array(self._frame_index, np.int64)
        luma, chroma_u, chroma_v = (plane[: len(at)] for plane in self._planes)
        self._frame_index, self._planes = [], []
        return Signals(at, frames.pts_seconds[at], frames.is_key[at], luma, chroma_u, chroma_v)


@functools.lru_cache(maxsize=64)
def _shapes(thinnings: tuple[_Thinning, ...]) -> Shapes:
    """Rows and columns of luma and both chroma planes; pictures without chroma get that of 4:2:0."""
    rows, columns = thinnings[0].shape
    if len(thinnings) == 3:
        return thinnings[0].shape, thinnings[1].shape, thinnings[2].shape
    chroma = (-(-rows // 2), -(-columns // 2))
    return (rows, columns), chroma, chroma
