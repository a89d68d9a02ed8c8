"""Facial expressions, by a classifier like those for FER-2013.

fer, as mini-XCEPTION (Arriaga, Valdenegro-Toro, Ploeger, arXiv:1710.07557): grey faces, channels last, and
probabilities. fer_rgb, as the MobileFaceNet of OpenCV's model zoo: faces in colour, channels first, and
logits. Such models predict how people would describe a picture of a face, not what somebody feels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.ops.chunks import Float32Array, Frames, UInt8Array
from framemill.ops.columns import FACE_COLUMNS, column
from framemill.ops.faces.crops import crop_squares, square_around
from framemill.ops.faces.rows import read_faces
from framemill.ops.frames.labels import softmax
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.model_input import planes

# Pictures of FER-2013 show the face with little around it.
MARGIN = 1.2
_INPUT = "input_1"
FAMILIES = ("fer", "fer_rgb")


class Emotions(FrameOp):
    """One row a face."""

    name = "emotions"
    after = ("faces",)
    models = ("emotions",)
    schema = pa.schema(
        [
            *FACE_COLUMNS,
            column(
                "label",
                pa.dictionary(pa.int32(), pa.string()),
                "the most probable class; the default model has angry, disgust, fear, happy, sad, surprise "
                "and neutral",
            ),
            column("score", pa.float32(), "its probability, 0..1"),
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
        assert self._entry.input_size is not None
        wide, high = self._entry.input_size
        crops = crop_squares(frames, faces.at, square_around(faces.boxes, MARGIN), max(wide, high))
        probabilities = self._classify(crops if wide == high else _resized(crops, (wide, high)))
        best = probabilities.argmax(axis=1).astype(np.int32)
        count, classes = probabilities.shape
        keys = self._labels.take(pa.array(np.tile(np.arange(classes), count)))
        columns = [
            pa.array(frames.frame_index[faces.at]),
            pa.array(faces.pts_seconds),
            pa.array(faces.face_index, pa.int32()),
            pa.DictionaryArray.from_arrays(pa.array(best), self._labels),
            pa.array(probabilities[np.arange(count), best]),
            pa.MapArray.from_arrays(
                np.arange(0, count * classes + 1, classes, dtype=np.int32),
                keys,
                pa.array(probabilities.ravel()),
            ),
        ]
        return pa.table(columns, schema=self.schema)

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
        if len(outputs) != 1 or values.shape != (len(crops), len(self._labels)):
            shapes = {name: list(output.shape) for name, output in outputs.items()}
            raise ModelError(
                f"emotions: model {self._entry.name} gives {shapes} for {len(crops)} faces, but its "
                f"{len(self._labels)} labels ask for one output [{len(crops)}, {len(self._labels)}]; "
                "add it with its own labels"
            )
        return softmax(values) if entry.family == "fer_rgb" else values.astype(np.float32, copy=False)


def _resized(crops: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    return np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_AREA) for crop in crops])
