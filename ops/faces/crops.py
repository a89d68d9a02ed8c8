"""Faces as operations that come after `faces` see them: their rows, and pictures cut from full resolution."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from framemill.ops.chunks import Float32Array, Float64Array, Frames, Int64Array, UInt8Array

# Each output pixel of a crop comes from four samples, so a face much larger than the crop would alias:
# it is cut at up to this many times the size and averaged down.
_MAX_OVERSAMPLING = 4


class FaceRows(NamedTuple):
    """Rows of `faces` that speak of some frames, by frame and rank.

    Attributes:
        at: int64 [m], position of the frame within the batch.
        face_index: int32 [m]. pts_seconds: float64 [m].
        boxes: float32 [m, 4] in display pixels.
        points: float32 [m, 5, 2], as in the column `landmarks`, or None where no row has any.
    """

    at: Int64Array
    face_index: Int64Array
    pts_seconds: Float64Array
    boxes: Float32Array
    points: Float32Array | None

    def __len__(self) -> int:
        return len(self.at)

    def slice(self, start: int, stop: int) -> FaceRows:
        """The rows of a range."""
        return self.take(np.arange(start, min(stop, len(self))))

    def take(self, rows: Int64Array) -> FaceRows:
        """Some of the rows, by position."""
        points = None if self.points is None else self.points[rows]
        return FaceRows(
            self.at[rows], self.face_index[rows], self.pts_seconds[rows], self.boxes[rows], points
        )


def read_faces(table: pa.Table, frames: Frames) -> FaceRows:
    """Takes the rows of `faces` apart; rows of frames outside the batch are an error of the caller."""
    table = table.combine_chunks()
    frame_index = table["frame_index"].to_numpy()
    face_index = table["face_index"].to_numpy()
    order = np.lexsort((face_index, frame_index))
    at = np.searchsorted(frames.frame_index, frame_index[order])
    boxes = np.stack([pc.struct_field(table["box"], i).to_numpy() for i in range(4)], axis=1)
    points = None
    if table.num_rows and table["landmarks"].null_count == 0:
        values = pc.list_flatten(table["landmarks"])
        points = np.stack([pc.struct_field(values, i).to_numpy() for i in range(2)], axis=1)
        points = points.reshape(-1, 5, 2)[order]
    return FaceRows(at, face_index[order], frames.pts_seconds[at], boxes[order], points)


def square_around(boxes: Float32Array, factor: float) -> Float32Array:
    """Squares with the boxes' centres and `factor` times their longer sides, float32 [m, 4]."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) * (factor / 2)
    return np.concatenate([centres - halves, centres + halves], axis=1)


def crop_squares(frames: Frames, at: Int64Array, squares: Float32Array, side: int) -> UInt8Array:
    """Square regions of the full-resolution frames at `side` x `side` pixels without aliasing.

    Returns:
        uint8 [m, side, side, 3] RGB; parts outside the frame are black.
    """
    out = np.empty((len(at), side, side, 3), np.uint8)
    ratio = (squares[:, 2] - squares[:, 0]) / side
    steps = np.clip(2 ** np.floor(np.log2(np.maximum(ratio, 1))), 1, _MAX_OVERSAMPLING).astype(int)
    for step in np.unique(steps):
        ours = np.flatnonzero(steps == step)
        large = frames.crops(at[ours], squares[ours], (side * step, side * step))
        if step > 1:
            cells = large.reshape(len(ours), side, step, side, step, 3)
            large = np.rint(cells.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
        out[ours] = large
    return out
