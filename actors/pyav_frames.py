"""Frames and signals as PyAV decoded them: planes in memory, views on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace

from ops.chunks import BoolArray, Float32Array, Float64Array, Frames, Int64Array, Signals, UInt8Array

cv2.setNumThreads(1)  # the mill already runs one shard a core

# Untagged pictures from 720 lines up are taken for BT.709, below for BT.601, as players do.
HD_LINES = 720
_MATRIX = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 9: 9, 10: 9}

LUMA_SAMPLES = 256
CHROMA_SAMPLES = 128

# Planar YUV whose samples can be read as they lie in memory: 8 bits, or up to 16 in little-endian words.
_PLANAR = ("yuv4", "yuvj4", "nv12", "gray")


def _is_planar(format_: av.VideoFormat) -> bool:
    return format_.name.startswith(_PLANAR) and not format_.is_big_endian and format_.name != "nv12"


def _plane(frame: av.VideoFrame, index: int) -> npt.NDArray[Any]:
    """One plane as uint8 or uint16 [height, width], without copying."""
    plane = frame.planes[index]
    wide = frame.format.components[index].bits > 8
    flat = np.frombuffer(plane, np.uint16 if wide else np.uint8)
    stride = plane.line_size // flat.itemsize
    return flat[: plane.height * stride].reshape(plane.height, stride)[:, : plane.width]


def _eight_bits(samples: npt.NDArray[Any], bits: int) -> UInt8Array:
    return samples if bits <= 8 else (samples >> (bits - 8)).astype(np.uint8)


def _thin(samples: npt.NDArray[Any], step: int, bits: int) -> UInt8Array:
    # A copy even of 8-bit samples: a view would keep the whole decoded frame in memory.
    return np.ascontiguousarray(_eight_bits(samples[::step, ::step], bits))


def _matrix(frame: av.VideoFrame) -> int:
    tagged = _MATRIX.get(int(frame.colorspace))
    if tagged is not None:
        return int(tagged)
    return int(Colorspace.ITU709 if frame.height >= HD_LINES else Colorspace.ITU601)


def _is_full_range(frame: av.VideoFrame) -> bool:
    return int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")


# Studio range 16..235 stretched to 0..255 (BT.601 and BT.709 agree on it).
_STRETCH = np.clip(np.round((np.arange(256) - 16.0) * (255.0 / 219.0)), 0, 255).astype(np.uint8)


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

    def luma(self, size: tuple[int, int] | None = None) -> UInt8Array:
        key = ("luma", size)
        if key not in self._views:
            self._views[key] = np.stack(
                [self._one_luma(f, size or (self.width, self.height)) for f in self._frames]
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

    def _one_luma(self, frame: av.VideoFrame, size: tuple[int, int]) -> UInt8Array:
        if _is_planar(frame.format):
            plane = _eight_bits(_plane(frame, 0), frame.format.components[0].bits)
            plane = _shrink(plane, self._coded(size))
            if not _is_full_range(frame):
                plane = cv2.LUT(plane, _STRETCH)
        else:
            gray = frame.reformat(format="gray", threads=1, dst_color_range="JPEG")
            plane = _shrink(_plane(gray, 0), self._coded(size))
        return np.rot90(plane, -self._quarters)

    def _one_rgb(self, i: int, size: tuple[int, int]) -> UInt8Array:
        pixels = self._coded_rgb(i)
        wanted = self._coded(size)
        if (pixels.shape[1], pixels.shape[0]) != wanted:
            pixels = cv2.resize(pixels, wanted, interpolation=cv2.INTER_LINEAR)
        return np.rot90(pixels, -self._quarters)

    def _display_rgb(self, i: int) -> UInt8Array:
        return np.ascontiguousarray(self._one_rgb(i, (self.width, self.height)))

    def _coded_rgb(self, i: int) -> UInt8Array:
        """RGB of the coded size, remembered: several views start from it."""
        if i not in self._views:
            frame = self._frames[i]
            if frame.format.name in ("bgra", "rgba", "argb", "abgr", "pal8"):
                # Transparent pixels (GIF) show whatever lies behind them; black here.
                rgba = frame.to_ndarray(format="rgba", threads=1)
                rgba[rgba[..., 3] == 0] = 0
                self._views[i] = np.ascontiguousarray(rgba[..., :3])
            else:
                self._views[i] = frame.to_ndarray(format="rgb24", threads=1, src_colorspace=_matrix(frame))
        view: UInt8Array = self._views[i]
        return view

    def _coded(self, size: tuple[int, int]) -> tuple[int, int]:
        """A displayed size before rotation."""
        return (size[1], size[0]) if self._quarters % 2 else size


def _shrink(plane: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resizes without aliasing: halved by averaging while more than twice too large, then linear."""
    while plane.shape[1] >= 2 * size[0] and plane.shape[0] >= 2 * size[1]:
        plane = cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA)
    if (plane.shape[1], plane.shape[0]) != size:
        plane = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
    return plane


def _stride(length: int, samples: int) -> int:
    step = 1
    while -(-length // step) > samples:
        step *= 2
    return step


def thin_planes(frame: av.VideoFrame) -> tuple[UInt8Array, UInt8Array, UInt8Array]:
    """Luma and both chroma planes of one frame, thinned as `Signals` says."""
    if not _is_planar(frame.format):
        frame = frame.reformat(format="yuv420p", threads=1)
    luma = _plane(frame, 0)
    step = _stride(max(luma.shape), LUMA_SAMPLES)
    thin = _thin(luma, step, frame.format.components[0].bits)
    if len(frame.format.components) < 3:
        rows, columns = -(-luma.shape[0] // (2 * step)), -(-luma.shape[1] // (2 * step))
        neutral = np.full((rows, columns), 128, np.uint8)
        return thin, neutral, neutral
    chroma = []
    for index in (1, 2):
        plane = _plane(frame, index)
        step = _stride(max(plane.shape), CHROMA_SAMPLES)
        chroma.append(_thin(plane, step, frame.format.components[index].bits))
    return thin, chroma[0], chroma[1]


class SignalsBatch:
    """Gathers thinned planes until there are enough for one chunk."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, float, bool, UInt8Array, UInt8Array, UInt8Array]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, frame: av.VideoFrame, frame_index: int, pts_seconds: float, is_key: bool) -> None:
        planes = thin_planes(frame)
        if self._rows and planes[0].shape != self._rows[0][3].shape:
            # The stream changed its size half-way: signals keep the size they began with.
            shapes = [self._rows[0][k].shape for k in (3, 4, 5)]
            planes = tuple(  # type: ignore[assignment]
                cv2.resize(p, (s[1], s[0]), interpolation=cv2.INTER_NEAREST)
                for p, s in zip(planes, shapes, strict=True)
            )
        self._rows.append((frame_index, pts_seconds, is_key, *planes))

    def take(self) -> Signals:
        index, seconds, keys, luma, chroma_u, chroma_v = zip(*self._rows, strict=True)
        self._rows = []
        return Signals(
            np.array(index, np.int64),
            np.array(seconds, np.float64),
            np.array(keys, bool),
            np.stack(luma),
            np.stack(chroma_u),
            np.stack(chroma_v),
        )
