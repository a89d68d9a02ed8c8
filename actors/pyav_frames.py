"""Frames and signals as PyAV decoded them: planes in memory, views on demand."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import av
import cv2
import numpy as np
from av.video.format import VideoFormatComponent
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter

from framemill.actors.frame_transport import PackedFrame, pack, unpack
from framemill.actors.pyav_colours import (
    WORDS,
    Shrinking,
    bgr_to_encode,
    brightness,
    convert,
    flattened,
    has_alpha_plane,
    is_planar,
    is_transparent,
    luma_samples,
    plane_samples,
    rgb_pixels,
    shrink,
    small_rgb,
)
from framemill.ops.chunks import (
    BoolArray,
    Float32Array,
    Float64Array,
    FrameIndex,
    Frames,
    Int64Array,
    Signals,
    UInt8Array,
)

LUMA_SAMPLES = 256
CHROMA_SAMPLES = 128


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
        is_mirrored: bool = False,
    ) -> None:
        self.frame_index = frame_index
        self.pts_seconds = pts_seconds
        self.is_key = is_key
        self.width, self.height = display
        self._frames = frames
        self._quarters = rotation_quarters
        self._is_mirrored = is_mirrored
        self._views: dict[object, Any] = {}
        self._scaler = VideoReformatter()

    @property
    def decoded(self) -> Sequence[av.VideoFrame]:
        """The pictures as they were decoded: neither turned nor stretched."""
        return self._frames

    @property
    def num_bytes(self) -> int:
        """Bytes of the decoded planes."""
        return sum(plane.buffer_size for frame in self._frames for plane in frame.planes)

    def __reduce__(self) -> tuple[Any, ...]:
        """They travel to another process as decoded; views are made anew there.

        What libswscale converts travels converted as well: there it would know less of the picture.
        """
        pictures = [pack(frame) for frame in self._frames]
        converted = [i for i, frame in enumerate(self._frames) if not is_planar(frame.format.name)]
        made = {("coded", i): self._coded_rgb(i) for i in converted}
        at = (self.frame_index, self.pts_seconds, self.is_key)
        return _arrived, (pictures, made, *at, (self.width, self.height), self._quarters, self._is_mirrored)

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

    def small_rgb(self, size: tuple[int, int]) -> UInt8Array:
        coded = self._coded(size)
        return np.stack([self._shown(self._one_small(i, coded)) for i in range(len(self))])

    def crops(self, index: Int64Array, boxes: Float32Array, size: tuple[int, int]) -> UInt8Array:
        out = np.zeros((len(index), size[1], size[0], 3), np.uint8)
        for row, (i, box) in enumerate(zip(index.tolist(), boxes.astype(np.float64), strict=True)):
            if box[2] > box[0] and box[3] > box[1]:
                pixels = _resized(self._coded_rgb(i), self._coded((self.width, self.height)))
                cut = _cut(pixels, self._coded_box(box), self._coded(size))
                out[row] = self._shown(cut)
        return out

    def jpeg(self, quality: int) -> list[bytes]:
        images = []
        pixels: UInt8Array | None = None
        for i, frame in enumerate(self._frames):
            if is_planar(frame.format.name) and len(frame.planes) > 1:
                pixels = bgr_to_encode(frame, pixels)
            else:
                pixels = cast(UInt8Array, cv2.cvtColor(self._coded_rgb(i), cv2.COLOR_RGB2BGR))
            shown = self._shown(_resized(pixels, self._coded((self.width, self.height))))
            options = [cv2.IMWRITE_JPEG_QUALITY, quality]
            _, data = cv2.imencode(".jpg", np.ascontiguousarray(shown), options)
            images.append(data.tobytes())
        return images

    def _one_small(self, i: int, size: tuple[int, int]) -> UInt8Array:
        if is_planar(self._frames[i].format.name):
            return small_rgb(self._frames[i], self._luma(i), size)
        return shrink(self._coded_rgb(i), size)

    def _one_luma(self, i: int, size: tuple[int, int]) -> UInt8Array:
        return self._shown(brightness(self._luma(i).to(self._coded(size)), self._frames[i]))

    def _luma(self, i: int) -> Shrinking:
        """What `brightness` makes luma of, remembered with its halves."""
        key = ("luma samples", i)
        if key not in self._views:
            frame = self._frames[i]
            if is_transparent(frame.format.name) and not has_alpha_plane(frame.format.name):
                samples = cast(UInt8Array, cv2.cvtColor(self._coded_rgb(i), cv2.COLOR_RGB2GRAY))
            else:
                samples = luma_samples(frame, self._scaler)
            self._views[key] = Shrinking(samples)
        luma: Shrinking = self._views[key]
        return luma

    def _one_rgb(self, i: int, size: tuple[int, int]) -> UInt8Array:
        return self._shown(_resized(self._coded_rgb(i), self._coded(size)))

    def _coded_rgb(self, i: int) -> UInt8Array:
        """RGB of the coded size, remembered: all views of colour start from it."""
        key = ("coded", i)
        if key not in self._views:
            self._views[key] = rgb_pixels(self._frames[i], self._scaler)
        view: UInt8Array = self._views[key]
        return view

    def _shown(self, pixels: UInt8Array) -> UInt8Array:
        """A picture as coded, mirrored and turned."""
        return np.rot90(pixels[:, ::-1] if self._is_mirrored else pixels, -self._quarters)

    def _coded_box(self, box: Float64Array) -> tuple[float, float, float, float]:
        """A box in display pixels before rotation and mirroring."""
        x0, y0, x1, y1 = box.tolist()
        width, height = self.width, self.height
        for _ in range(self._quarters % 4):  # each undoes a clockwise quarter turn
            x0, y0, x1, y1 = y0, width - x1, y1, width - x0
            width, height = height, width
        return (width - x1, y0, width - x0, y1) if self._is_mirrored else (x0, y0, x1, y1)

    def _coded(self, size: tuple[int, int]) -> tuple[int, int]:
        """A displayed size before rotation."""
        return (size[1], size[0]) if self._quarters % 2 else size


def _arrived(pictures: Sequence[PackedFrame], made: Mapping[object, UInt8Array], *rest: Any) -> PyavFrames:
    frames = PyavFrames([unpack(picture) for picture in pictures], *rest)
    frames._views.update(made)  # noqa: SLF001  of its own class
    return frames


def _resized(pixels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """RGB by linear sampling, rounded: OpenCV's faster way cuts off, an eighth of a step on average."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return cast(UInt8Array, cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR_EXACT))


def _cut(pixels: UInt8Array, box: tuple[float, float, float, float], size: tuple[int, int]) -> UInt8Array:
    """A region of a picture by linear sampling at pixel centres; what lies outside is black."""
    x0, y0, x1, y1 = box
    if box == (0, 0, *size) and size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    # Output pixel u looks at x0 + (u + 0.5) * across - 0.5.
    across, down = (x1 - x0) / size[0], (y1 - y0) / size[1]
    warp = np.array([[across, 0, x0 + across / 2 - 0.5], [0, down, y0 + down / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cast(UInt8Array, cv2.warpAffine(pixels, warp, size, flags=flags))


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
    return _Thinning(shape, step, pitch, WORDS[min(pitch, 8)], shape[1] * pitch, max(0, component.bits - 8))


@functools.lru_cache(maxsize=64)
def _thinnings(format_name: str, width: int, height: int) -> tuple[_Thinning, ...]:
    """Of luma, and of both chroma planes where there are some; empty where the format must be converted."""
    if not is_planar(format_name):
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
        words = plane_samples(plane, 2 if thinning.shift else 1)[::step, ::step]
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
            frame = convert(self._scaler, flattened(frame, self._scaler), "yuv420p")
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
