"""Rows of `faces` as arrays, by frame and rank, for the operations that come after it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from framemill.ops.at_first_use import pc
from framemill.ops.chunks import Float32Array, Float64Array, Frames, Int64Array


class FaceRows(NamedTuple):
    """Faces of a batch of frames, by frame and rank.

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
    """The rows of `faces`, given in any order, as arrays; all must be of frames in the batch."""
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
