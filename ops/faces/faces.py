"""Faces in each frame: score, box and, where the model gives them, five points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import UsageError
from framemill.models.runner import Model
from framemill.ops.chunks import Frames
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.faces.decoders import Candidates
from framemill.ops.faces.detectors import FaceDetector
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.boxes import BOX, nms

# Frames prepared at once where the model takes one at a time.
_SLICE = 8

POINT = pa.struct(
    [
        column("x", pa.float32(), "from the left, in display pixels; may lie outside the frame"),
        column("y", pa.float32(), "from the top, in display pixels; may lie outside the frame"),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FacesOptions:
    """Options of `faces`.

    Attributes:
        score: least score of a row, 0..1; UltraFace's authors take the same. Lower, it finds smaller faces,
            and backs of heads.
        nms: largest overlap of two faces, as intersection over union, 0..1; the value of the authors of
            UltraFace and YuNet.
        max_faces: most rows of one frame, >= 1.
    """

    score: float = 0.7
    nms: float = 0.3
    max_faces: int = 500

    def __post_init__(self) -> None:
        for name in ("score", "nms"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"faces.{name} is {getattr(self, name)}; it must be 0 to 1")
        if self.max_faces < 1:
            raise UsageError(f"faces.max_faces is {self.max_faces}; it must be at least 1")


class Faces(FrameOp):
    """Finds faces with a detector of the families UltraFace, YuNet or SCRFD."""

    name = "faces"
    version = 2
    on_device = True
    models = ("faces",)
    Options = FacesOptions
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column("face_index", pa.int32(), "0-based rank in the frame by descending score"),
            column("score", pa.float32(), "how sure the model is, 0..1"),
            column("box", BOX, "where it is, in display pixels, clipped to the frame"),
            column(
                "landmarks",
                pa.list_(POINT),
                "five points: eye on the left of the picture, eye on the right, tip of the nose, corner of "
                "the mouth on the left, on the right; null where the model has none",
                nullable=True,
            ),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        self._detector = FaceDetector("faces", models["faces"])
        self._slice = max(_SLICE, models["faces"].runner.max_batch)

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        if not len(frames):
            return self.schema.empty_table()
        inner = self._detector.picture_size((frames.width, frames.height))
        pictures = frames.rgb(inner)
        found: list[Candidates] = []
        for start in range(0, len(frames), self._slice):
            part = pictures[start : min(start + self._slice, len(frames)), ...]
            found += self._detector.candidates(part, self.options.score)
        display = np.array((frames.width, frames.height), np.float32)
        return self._rows(frames, found, display / np.array(inner, np.float32), display)

    def _rows(
        self,
        frames: Frames,
        found: list[Candidates],
        enlarge: np.ndarray[Any, Any],
        display: np.ndarray[Any, Any],
    ) -> pa.Table:
        """The faces that become rows, in display pixels, by frame and descending score."""
        row = np.repeat(np.arange(len(found)), [len(faces.scores) for faces in found])
        if not len(row):
            return self.schema.empty_table()
        scores = np.concatenate([faces.scores for faces in found])
        boxes = np.concatenate([faces.boxes for faces in found]) * np.tile(enlarge, 2)
        clipped = np.clip(boxes, 0, np.tile(display, 2))
        seen = np.flatnonzero((clipped[:, 2:] > clipped[:, :2]).all(axis=1))
        same = np.zeros(len(seen), np.int64)
        most = self.options.max_faces
        keep = seen[nms(boxes[seen], scores[seen], same, self.options.nms, most, row[seen])]
        row = row[keep]
        points = [faces.points for faces in found if faces.points is not None]
        landmarks = pa.nulls(len(keep), self.schema.field("landmarks").type)
        if points:
            flat = (np.concatenate(points)[keep] * enlarge).reshape(-1, 2)
            values = pa.StructArray.from_arrays(
                [pa.array(axis) for axis in flat.T.copy()], fields=list(POINT)
            )
            landmarks = pa.ListArray.from_arrays(np.arange(0, len(flat) + 1, 5, dtype=np.int32), values)
        columns = [
            pa.array(frames.frame_index[row]),
            pa.array(frames.pts_seconds[row]),
            pa.array((np.arange(len(row)) - np.searchsorted(row, row)).astype(np.int32)),
            pa.array(scores[keep]),
            pa.StructArray.from_arrays([pa.array(edge) for edge in clipped[keep].T.copy()], fields=list(BOX)),
            landmarks,
        ]
        return pa.table(columns, schema=self.schema)
