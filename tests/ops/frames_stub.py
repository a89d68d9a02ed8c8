"""Frames over plain RGB arrays, so that operations are tested without a reader."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import BoolArray, Float32Array, Float64Array, Frames, Int64Array, UInt8Array


class ArrayFrames(Frames):
    """Frames held as uint8 [n, height, width, 3] RGB.

    Args:
        pixels: uint8 [n, height, width, 3].
        frame_index, pts_seconds, is_key: [n]; default 0..n-1, 25 frames a second, every frame a key.
        width, height: display size where n is 0 (otherwise taken from `pixels`).
    """

    def __init__(
        self,
        pixels: npt.NDArray[np.uint8],
        frame_index: Sequence[int] | Int64Array | None = None,
        pts_seconds: Sequence[float] | Float64Array | None = None,
        is_key: Sequence[bool] | BoolArray | None = None,
    ) -> None:
        count, self.height, self.width = pixels.shape[:3]
        self.pixels = pixels
        self.frame_index = np.asarray(range(count) if frame_index is None else frame_index, np.int64)
        self.pts_seconds = np.asarray(
            self.frame_index / 25 if pts_seconds is None else pts_seconds, np.float64
        )
        self.is_key = np.asarray([True] * count if is_key is None else is_key, np.bool_)
        assert len(self.frame_index) == len(self.pts_seconds) == len(self.is_key) == count

    def luma(self, size: tuple[int, int] | None = None) -> UInt8Array:
        colour = self.rgb(size)
        out = np.empty(colour.shape[:3], np.uint8)
        for row, image in zip(out, colour, strict=True):
            row[:] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return out

    def rgb(self, size: tuple[int, int] | None = None) -> UInt8Array:
        if size is None or size == (self.width, self.height):
            return self.pixels
        out = np.empty((len(self), size[1], size[0], 3), np.uint8)
        for row, image in zip(out, self.pixels, strict=True):
            cv2.resize(image, size, dst=row, interpolation=cv2.INTER_LINEAR)
        return out

    def crops(self, index: Int64Array, boxes: Float32Array, size: tuple[int, int]) -> UInt8Array:
        out = np.empty((len(index), size[1], size[0], 3), np.uint8)
        for row, frame, (x0, y0, x1, y1) in zip(out, index, boxes, strict=True):
            scale_x, scale_y = (x1 - x0) / size[0], (y1 - y0) / size[1]
            # pixel centres of the region's grid, in the frame's pixel coordinates
            back = np.array(
                [[scale_x, 0, x0 + scale_x / 2 - 0.5], [0, scale_y, y0 + scale_y / 2 - 0.5]], np.float32
            )
            cv2.warpAffine(
                self.pixels[frame], back, size, dst=row, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            )
        return out

    def jpeg(self, quality: int) -> list[bytes]:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        return [cv2.imencode(".jpg", p[:, :, ::-1], options)[1].tobytes() for p in self.pixels]
