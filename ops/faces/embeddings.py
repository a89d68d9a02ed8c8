"""Embeddings of faces: faces of one person have similar vectors.

SFace: Zhong et al., arXiv:2205.12010, MobileFaceNet: Chen et al., arXiv:1804.07573, ArcFace: Deng et al.,
arXiv:1801.07698: networks of one kind, which take faces upright in one way and give one vector each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.ops.chunks import Float32Array, Frames, UInt8Array
from framemill.ops.columns import FACE_COLUMNS, column, vector_column
from framemill.ops.faces.alignment import align_faces
from framemill.ops.faces.detectors import FaceDetector
from framemill.ops.faces.rows import FaceRows, read_faces
from framemill.ops.frames.embeddings import unit_vectors
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.model_input import planes

_INPUT = "input0"
# Faces aligned at once: at most 60 MB of regions.
_SLICE = 8


class FaceEmbeddings(FrameOp):
    """One row a face."""

    name = "face_embeddings"
    version = 2
    after = ("faces",)
    models = ("face_landmarks", "face_embeddings")
    schema = pa.schema(
        [
            *FACE_COLUMNS,
            column(
                "aligned_by",
                pa.dictionary(pa.int32(), pa.string()),
                "points: the face was turned upright by five points; box: no points were found (it is turned "
                "away, tiny or no face), so that the vector is hardly comparable with others",
            ),
            column(
                "vector",
                pa.list_(pa.float32()),
                "embedding of length 1, of as many numbers as the model has (128 in the default one); "
                "compare by dot product, -1..1: its authors take two vectors of the default model for one "
                "person from 0.363 on",
            ),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        entry = models["face_embeddings"].entry
        if entry.family != "arcface" or entry.input_size is None:
            raise ModelError(
                f"face_embeddings: model {entry.name} is of family {entry.family!r} with pictures of "
                f"{entry.input_size}; add one of family 'arcface' with its picture size"
            )
        self._entry, self._size = entry, entry.input_size
        self._detector = FaceDetector("face_landmarks", models["face_landmarks"])

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        faces = read_faces(upstream["faces"], frames)
        if not len(faces):
            return self.schema.empty_table()
        step = max(_SLICE, self.loaded["face_embeddings"].runner.max_batch)
        vectors, flags = [], []
        for start in range(0, len(faces), step):
            crops, by_points = self._align(frames, faces, start, start + step)
            vectors.append(self._embed(crops))
            flags.append(by_points)
        embedded, by_points = np.concatenate(vectors), np.concatenate(flags)
        columns = [
            pa.array(frames.frame_index[faces.at]),
            pa.array(faces.pts_seconds),
            pa.array(faces.face_index, pa.int32()),
            pa.DictionaryArray.from_arrays(
                pa.array(1 - by_points.astype(np.int32)), pa.array(["points", "box"])
            ),
            vector_column(embedded),
        ]
        return pa.table(columns, schema=self.schema)

    def _align(
        self, frames: Frames, faces: FaceRows, start: int, stop: int
    ) -> tuple[UInt8Array, np.ndarray[Any, np.dtype[np.bool_]]]:
        parts = []
        for at in range(start, min(stop, len(faces)), _SLICE):
            part = faces.slice(at, min(at + _SLICE, stop))
            parts.append(align_faces(frames, part, self._detector, self._size))
        crops, flags = zip(*parts, strict=True)
        return np.concatenate(crops), np.concatenate(flags)

    def _embed(self, crops: UInt8Array) -> Float32Array:
        """Vectors of length 1, float32 [m, d], of aligned faces."""
        batch = planes(crops, self._entry.colour, self._entry.mean, self._entry.scale)
        outputs = self.loaded["face_embeddings"].runner.run({_INPUT: batch})
        raw = next(iter(outputs.values()))
        if len(outputs) != 1 or raw.ndim != 2 or len(raw) != len(crops):
            shapes = {name: list(values.shape) for name, values in outputs.items()}
            raise ModelError(
                f"face_embeddings: model {self._entry.name} gives {shapes} for {len(crops)} faces, but the "
                f"family arcface gives one output [{len(crops)}, numbers]; add a model of that kind"
            )
        return unit_vectors(raw)
