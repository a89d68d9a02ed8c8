"""What scenes are found by: a few numbers per frame, and what decisions about them have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Float32Array, Int64Array, UInt8Array

Planes = tuple[UInt8Array, UInt8Array, UInt8Array]

LUMA_CELLS = 8  # thumbnails of 8 x 8 luma and 4 x 4 chroma cells: motion within a cell (1/8 of the
CHROMA_CELLS = 4  # picture) leaves them nearly still, a new picture does not
THUMB_BYTES = LUMA_CELLS**2 + 2 * CHROMA_CELLS**2

# All constants below and in the modules beside were set on the clips of benchmarks/scene_accuracy.py; the
# distance between true and false ones found there is given.
NEIGHBOURS = 6  # frames on either side that a cut must stand out from
FLASH_SECONDS = 0.16  # a picture that returns after this long was a flash: x264 hides as much (3 B-frames)
GRADUAL_SECONDS = (0.16, 0.32, 0.64, 1.12)  # half lengths of windows in which a dissolve is looked for
PLAIN = 3.0  # deviation of luma cells below which a frame has no picture to dissolve from or into
SAME_PICTURE = 0.8  # correlation of the ends: above it only the light changed
BLOCK = 4096  # frames handled at once, which bounds memory
IN_CACHE = 8  # frames whose samples as float32 stay in the cache of a core


@dataclass(frozen=True, slots=True)
class Features:
    """What is kept of n frames in presentation order.

    Attributes:
        frame_index: int64 [n], ascending. pts_seconds: float64 [n].
        change: float32 [n], distance to the frame before in levels (0..510); the first is 0.
        detail: float32 [n], mean squared difference of neighbouring luma samples.
        thumbs: uint8 [n, THUMB_BYTES], mean luma and chroma of the cells.
    """

    frame_index: Int64Array
    pts_seconds: npt.NDArray[np.float64]
    change: Float32Array
    detail: Float32Array
    thumbs: UInt8Array

    def __len__(self) -> int:
        return len(self.frame_index)

    def part(self, start: int, end: int) -> Features:
        """Positions [start, end) as a series of its own."""
        change = self.change[start:end].copy()
        change[:1] = 0
        rows = slice(start, end)
        return Features(
            self.frame_index[rows], self.pts_seconds[rows], change, self.detail[rows], self.thumbs[rows]
        )


@dataclass(frozen=True, slots=True)
class Boundary:
    """The first frame of a shot: position in the series, kind of transition, and its strength."""

    position: int
    transition: str
    score: float


def change_between(before: Planes, after: Planes) -> float:
    """Mean absolute luma difference plus half the sum of the two chroma ones, in 8-bit levels."""
    luma = cv2.norm(before[0], after[0], cv2.NORM_L1) / max(after[0].size, 1)
    if not after[1].size:
        return luma
    chroma = cv2.norm(before[1], after[1], cv2.NORM_L1) + cv2.norm(before[2], after[2], cv2.NORM_L1)
    return luma + 0.5 * chroma / after[1].size


def detail_of(luma: UInt8Array) -> float:
    """Mean squared difference between horizontal neighbours, in squared levels."""
    return cv2.norm(luma[:, 1:], luma[:, :-1], cv2.NORM_L2SQR) / luma.size if luma.shape[1] > 1 else 0.0


def thumbnails(luma: UInt8Array, chroma_u: UInt8Array, chroma_v: UInt8Array) -> UInt8Array:
    """Cell means of n frames, halves rounded up, uint8 [n, THUMB_BYTES]: luma row by row, then U, then V.

    Args:
        luma: uint8 [n, h, w], sides of at most 256 samples. chroma_u, chroma_v: uint8 [n, h', w'], likewise.
    """
    means = [
        _cell_means(plane, cells)
        for plane, cells in ((luma, LUMA_CELLS), (chroma_u, CHROMA_CELLS), (chroma_v, CHROMA_CELLS))
    ]
    return np.concatenate(means, axis=1)


def _cell_means(planes: UInt8Array, cells: int) -> UInt8Array:
    height, width = planes.shape[1:]
    area = height * width
    out = np.full((len(planes), cells**2), 128, np.uint8)
    if not area:
        return out
    rows, columns = _overlaps(height, cells), _overlaps(width, cells).T
    for start in range(0, len(planes), IN_CACHE):
        # Whole numbers below 2^24, which float32 holds: exact in any order, on any processor.
        sums = rows @ planes[start : start + IN_CACHE].astype(np.float32) @ columns
        means = (2 * sums.astype(np.int64) + area) // (2 * area)
        out[start : start + IN_CACHE] = means.reshape(-1, cells**2)
    return out


@lru_cache(maxsize=64)
def _overlaps(length: int, cells: int) -> Float32Array:
    """How much of each sample lies in each cell, in parts of 1 / cells of it, float32 [cells, length]."""
    cell, sample = np.arange(cells)[:, None] * length, np.arange(length) * cells
    shared = np.minimum(cell + length, sample + cells) - np.maximum(cell, sample)
    overlaps: Float32Array = np.maximum(shared, 0).astype(np.float32)
    return overlaps


def reach(step_seconds: float) -> int:
    """Frames after t that the decision at t may depend on."""
    return 3 * max(half_lengths(step_seconds)) + NEIGHBOURS + flash_length(step_seconds)


def flash_length(step_seconds: float) -> int:
    """Longest flash in frames."""
    return max(1, round(FLASH_SECONDS / step_seconds))


def half_lengths(step_seconds: float) -> list[int]:
    """Half lengths in frames of the windows for dissolves."""
    return sorted({max(3, round(s / step_seconds)) for s in GRADUAL_SECONDS})
