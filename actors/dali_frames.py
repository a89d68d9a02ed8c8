"""Frames as DALI decoded them: RGB on a device (or, in its variant for the host, in memory), views on demand.

DALI always converts with the matrix of BT.601, whatever the file's tags are; views undo that where the file
has another, after they were made small. What remains between them and PyAV's frames is rounding: DALI's
kernel draws colours between their samples as `pyav_colours` does, rounds them to bytes and mixes them; its
variant for the host keeps more bits of them, and pictures of other matrices are rounded twice here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from framemill.actors.colour_matrices import to_ycc
from framemill.models.arrays import Borrowed, array_module, is_on_host, to_host
from framemill.ops.chunks import BoolArray, Float32Array, Float64Array, Frames, Int64Array, UInt8Array
from framemill.ops.pixels.resizing import cut_regions, mirror, mix_channels, resize_linear, shrink, turn


def correction(matrix: str) -> Float32Array:
    """From R, G, B made with BT.601 of a picture whose matrix is another to what it should have been."""
    return (np.linalg.inv(to_ycc(matrix)) @ to_ycc("bt601")).astype(np.float32)


class DaliFrames(Frames):
    """Frames of one shard in presentation order.

    Args:
        pixels: uint8 [n, height, width, 3], R G B as coded, on a device or the host.
        matrix: of the file's colours, as `matrix_name` gives it.
        display: (width, height) after rotation and pixel aspect ratio.
        rotation_quarters: clockwise quarter turns from the coded to the displayed picture.
        is_mirrored: whether it is mirrored left to right before it is turned.
        stream: CuPy's stream in whose order the pictures' memory is used again; None on the host.
    """

    def __init__(
        self,
        pixels: Any,
        frame_index: Int64Array,
        pts_seconds: Float64Array,
        is_key: BoolArray,
        display: tuple[int, int],
        rotation_quarters: int,
        matrix: str,
        is_mirrored: bool = False,
        stream: Any = None,
    ) -> None:
        self.frame_index = frame_index
        self.pts_seconds = pts_seconds
        self.is_key = is_key
        self.width, self.height = display
        self._pixels = pixels
        self._quarters = rotation_quarters
        self._is_mirrored = is_mirrored
        self._correction = None if matrix == "bt601" else correction(matrix)
        # The luma that was coded, whatever matrix the file has, since DALI took it for BT.601.
        self._luma = to_ycc("bt601")[:1].astype(np.float32)
        self._views: dict[object, Any] = {}
        self._borrowed = Borrowed(stream)

    def __del__(self) -> None:
        if hasattr(self, "_borrowed"):  # else it was never made whole
            self._borrowed.settle()  # the pictures go with what comes behind this

    def luma(self, size: tuple[int, int] | None = None) -> UInt8Array:
        size = size or (self.width, self.height)
        key = ("luma", size)
        if key not in self._views:
            if "luma" not in self._views:
                self._views["luma"] = mix_channels(self._pixels, self._luma)
            self._views[key] = self._shown(shrink(self._views["luma"], self._coded(size)))
            self._borrowed.used()
        view: UInt8Array = self._views[key]
        return view

    def rgb(self, size: tuple[int, int] | None = None) -> UInt8Array:
        size = size or (self.width, self.height)
        key = ("rgb", size)
        if key not in self._views:
            pixels = resize_linear(self._pixels, self._coded(size), self._correction)
            self._views[key] = self._shown(pixels)
        self._borrowed.used()  # at its own size a view is the pictures themselves
        view: UInt8Array = self._views[key]
        return view

    def small_rgb(self, size: tuple[int, int]) -> UInt8Array:
        pixels = shrink(self._pixels, self._coded(size))
        if self._correction is not None:
            pixels = mix_channels(pixels, self._correction)
        self._borrowed.used()
        view: UInt8Array = self._shown(pixels)
        return view

    def crops(self, index: Int64Array, boxes: Float32Array, size: tuple[int, int]) -> UInt8Array:
        if not len(index):
            nothing: UInt8Array = array_module(self._pixels).zeros(
                (0, size[1], size[0], 3), dtype=self._pixels.dtype
            )
            return nothing
        if "display" not in self._views:
            pixels = resize_linear(self._pixels, self._coded((self.width, self.height)))
            self._views["display"] = self._shown(pixels)
        cut: UInt8Array = cut_regions(self._views["display"], index, boxes, size, self._correction)
        self._borrowed.used()
        return cut

    def jpeg(self, quality: int) -> list[bytes]:
        import cv2

        images = []
        for pixels in to_host(self.rgb()):
            swapped = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
            _, data = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, quality])
            images.append(data.tobytes())
        return images

    @property
    def num_bytes(self) -> int:
        """Bytes of the decoded pictures."""
        return int(np.prod(self._pixels.shape))

    def on_host(self) -> Frames:
        return self if is_on_host(self._pixels) else _HostViews(self)

    def _shown(self, pictures: Any) -> Any:
        """Pictures as coded, mirrored and turned."""
        return turn(mirror(pictures) if self._is_mirrored else pictures, self._quarters)

    def _coded(self, size: tuple[int, int]) -> tuple[int, int]:
        """A displayed size before rotation."""
        return (size[1], size[0]) if self._quarters % 2 else size


class _HostViews(Frames):
    """The same frames for operations that work on the host: made on the device, only views are copied."""

    def __init__(self, frames: DaliFrames) -> None:
        self.frame_index, self.pts_seconds, self.is_key = (
            frames.frame_index,
            frames.pts_seconds,
            frames.is_key,
        )
        self.width, self.height = frames.width, frames.height
        self._frames = frames
        self._views: dict[object, UInt8Array] = {}

    def luma(self, size: tuple[int, int] | None = None) -> UInt8Array:
        key = ("luma", size)
        if key not in self._views:
            self._views[key] = to_host(self._frames.luma(size))
        return self._views[key]

    def rgb(self, size: tuple[int, int] | None = None) -> UInt8Array:
        key = ("rgb", size)
        if key not in self._views:
            self._views[key] = to_host(self._frames.rgb(size))
        return self._views[key]

    def small_rgb(self, size: tuple[int, int]) -> UInt8Array:
        return to_host(self._frames.small_rgb(size))

    def crops(self, index: Int64Array, boxes: Float32Array, size: tuple[int, int]) -> UInt8Array:
        return to_host(self._frames.crops(index, boxes, size))

    def jpeg(self, quality: int) -> list[bytes]:
        return self._frames.jpeg(quality)
