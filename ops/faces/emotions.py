"""Facial expressions, by a classifier.

hsemotion: Savchenko's EfficientNets (arXiv:2203.13436): faces in colour with their eyes level, and logits.
fer, as mini-XCEPTION (Arriaga, Valdenegro-Toro, Ploeger, arXiv:1710.07557): grey faces, channels last, and
probabilities. fer_rgb: faces in colour, channels first, and logits; fer_aligned, as the MobileFaceNet of
OpenCV's model zoo: the same, with the five points of a face at fixed places. Such models predict how people
would describe a picture of a face, not what somebody feels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Float32Array, Float64Array, Frames, UInt8Array
from framemill.ops.columns import FACE_COLUMNS, column
from framemill.ops.faces.crops import crop_squares, square_around
from framemill.ops.faces.rows import FaceRows, read_faces
from framemill.ops.faces.upright import to_level_box, to_template, warped
from framemill.ops.frames.zero_shot import softmax
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.model_input import planes

# Pictures of FER-2013 show the face with little around it.
MARGIN = 1.2
_INPUT = "input_1"
# Families that want faces upright, by the five points that `faces` has found.
ALIGNED: Mapping[str, Callable[[FaceRows, tuple[int, int]], Float64Array]] = {
    "fer_aligned": to_template,
    "hsemotion": to_level_box,
}
FAMILIES = ("fer", "fer_rgb", *ALIGNED)
# The last two values of a network of several tasks are valence and arousal.
_MORE_VALUES = 2
# Faces aligned at once: each takes up to 3 MB while it is worked on.
_SLICE = 16


class Emotions(FrameOp):
    """One row a face."""

    name = "emotions"
    version = 2
    after = ("faces",)
    models = ("emotions",)
    schema = pa.schema(
        [
            *FACE_COLUMNS,
            column(
                "label",
                pa.dictionary(pa.int32(), pa.string()),
                "the most probable class; the default model has angry, contempt, disgust, fear, happy, "
                "neutral, sad and surprise",
            ),
            column("score", pa.float32(), "its probability, 0..1"),
            column(
                "aligned_by",
                pa.dictionary(pa.int32(), pa.string()),
                "points: the face was turned upright by the five points in `faces`; box: it was cut out as "
                "it is, since the model of `faces` finds no points, or that of emotions wants no more",
            ),
            column(
                "probabilities",
                pa.map_(pa.string(), pa.float32()),
                "class -> probability 0..1 for every class of the model; they sum to 1",
            ),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        entry = models["emotions"].entry
        if entry.family not in FAMILIES or entry.input_size is None or not entry.labels:
            raise ModelError(
                f"emotions: model {entry.name} is of family {entry.family!r} with pictures of "
                f"{entry.input_size} and {len(entry.labels)} labels; add one of "
                f"{' or '.join(FAMILIES)} with its picture size and labels"
            )
        self._entry = entry
        self._labels = pa.array(entry.labels, pa.string())

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        faces = read_faces(upstream["faces"], frames)
        if not len(faces):
            return self.schema.empty_table()
        crops, by_points = self._pictures(frames, faces)
        probabilities = self._classify(crops)
        best = probabilities.argmax(axis=1).astype(np.int32)
        count, classes = probabilities.shape
        keys = self._labels.take(pa.array(np.tile(np.arange(classes), count)))
        columns = [
            pa.array(frames.frame_index[faces.at]),
            pa.array(faces.pts_seconds),
            pa.array(faces.face_index, pa.int32()),
            pa.DictionaryArray.from_arrays(pa.array(best), self._labels),
            pa.array(probabilities[np.arange(count), best]),
            pa.DictionaryArray.from_arrays(
                pa.array(np.full(count, 0 if by_points else 1, np.int32)), pa.array(["points", "box"])
            ),
            pa.MapArray.from_arrays(
                np.arange(0, count * classes + 1, classes, dtype=np.int32),
                keys,
                pa.array(probabilities.ravel()),
            ),
        ]
        return pa.table(columns, schema=self.schema)

    def _pictures(self, frames: Frames, faces: FaceRows) -> tuple[UInt8Array, bool]:
        """Faces as the model takes them, uint8 [m, height, width, 3] RGB; whether points turned them."""
        size = self._entry.input_size
        assert size is not None
        place = ALIGNED.get(self._entry.family)
        if place is not None and faces.points is not None:
            parts = [faces.slice(at, at + _SLICE) for at in range(0, len(faces), _SLICE)]
            return np.concatenate([warped(frames, part, place(part, size), size) for part in parts]), True
        crops = crop_squares(frames, faces.at, square_around(faces.boxes, MARGIN), max(size))
        return crops if size[0] == size[1] else _resized(crops, size), False

    def _classify(self, crops: UInt8Array) -> Float32Array:
        """Probabilities, float32 [m, classes], of RGB faces."""
        entry = self._entry
        if entry.family == "fer":
            gray = np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]).astype(np.float32)
            mean, scale = (entry.mean or (0.0,))[0], (entry.scale or (1.0,))[0]
            batch = ((gray - np.float32(mean)) * np.float32(scale))[..., None]
        else:
            batch = planes(crops, entry.colour, entry.mean, entry.scale)
        outputs = self.loaded["emotions"].runner.run({_INPUT: batch})
        values: Float32Array = next(iter(outputs.values()))
        if entry.family == "hsemotion" and values.shape[1:] == (len(self._labels) + _MORE_VALUES,):
            values = values[:, :-_MORE_VALUES]
        if len(outputs) != 1 or values.shape != (len(crops), len(self._labels)):
            shapes = {name: list(output.shape) for name, output in outputs.items()}
            raise ModelError(
                f"emotions: model {self._entry.name} gives {shapes} for {len(crops)} faces, but its "
                f"{len(self._labels)} labels ask for one output [{len(crops)}, {len(self._labels)}]; "
                "add it with its own labels"
            )
        return values.astype(np.float32, copy=False) if entry.family == "fer" else softmax(values)


def _resized(crops: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    return np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_AREA) for crop in crops])
