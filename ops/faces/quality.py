"""Quality of each face for a still: blur, and whether the eyes are open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model
from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Float32Array, Frames, Int64Array, UInt8Array
from framemill.ops.columns import FACE_COLUMNS, column
from framemill.ops.faces.alignment import TEMPLATE, TEMPLATE_SIDE, align_faces
from framemill.ops.faces.crops import crop_squares, square_around
from framemill.ops.faces.detectors import FaceDetector
from framemill.ops.faces.rows import FaceRows, read_faces
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.defects import blur
from framemill.ops.pixels.model_input import planes

# Classifiers of one eye: Intel's open-closed-eye-0001, and OCEC (Hyodo 2025), which has the one class `open`.
FAMILIES = ("eye_state", "ocec")
_INPUT = "input.1"
# Faces aligned at once, which bounds memory.
_SLICE = 4
# A region of 768 pixels shows a face at up to 220, so that the eyes of a large one keep their detail.
_REGION_PIXELS = 768
# Width of what an eye model sees, in distances between the eyes: the box that the authors of
# open-closed-eye-0001 cut is 1.8 times as wide as the eye, and an eye 0.45 of that distance.
_EYE_WIDTH = 0.8
_EYE_DISTANCE = float(TEMPLATE[1, 0] - TEMPLATE[0, 0]) / TEMPLATE_SIDE  # in sides of an aligned picture


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceQualityOptions:
    """Options of `face_quality`.

    Attributes:
        least_pixels: longer side of a face's box from which on it is measured, 16..1024. An eye is about a
            fifth as wide, and below 16 pixels eye classifiers are unreliable.
        eyes: whether eyes are classified, which takes two models.
    """

    least_pixels: int = 80
    eyes: bool = True

    def __post_init__(self) -> None:
        if not 16 <= self.least_pixels <= 1024:
            raise UsageError(f"face_quality.least_pixels is {self.least_pixels}; it must be 16 to 1024")


class FaceQuality(FrameOp):
    """One row a face."""

    name = "face_quality"
    version = 2
    after = ("faces",)
    models = ("face_landmarks", "eyes")
    Options = FaceQualityOptions
    options: FaceQualityOptions
    schema = pa.schema(
        [
            *FACE_COLUMNS,
            column(
                "blur",
                pa.float32(),
                "perceived blur (Crete et al. 2007) of the face at `least_pixels`, 0 (sharp) to 1 (flat); "
                "null where it is smaller than that",
                nullable=True,
            ),
            column(
                "eyes_open",
                pa.float32(),
                "how sure the model is that an eye is open, 0..1: of the eye that is more so, since a blink "
                "closes both and the far eye of a turned head tells nothing; null where the face is smaller "
                "than `least_pixels`, no five points are found in it, or eyes are not looked at",
                nullable=True,
            ),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        if not self.options.eyes:
            return
        entry = models["eyes"].entry
        if entry.family not in FAMILIES or entry.input_size is None or "open" not in entry.labels:
            raise ModelError(
                f"face_quality: model {entry.name} is of family {entry.family!r} with pictures of "
                f"{entry.input_size} and labels {', '.join(entry.labels) or 'unknown'}; add one of "
                f"{' or '.join(FAMILIES)} with its picture size and a label 'open'"
            )
        self._entry, self._size = entry, entry.input_size
        self._detector = FaceDetector("face_landmarks", models["face_landmarks"])

    @classmethod
    def roles(cls, options: Any) -> tuple[str, ...]:
        return cls.models if options.eyes else ()

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        faces = read_faces(upstream["faces"], frames)
        if not len(faces):
            return self.schema.empty_table()
        sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(axis=1)
        large = np.flatnonzero(sides >= self.options.least_pixels)
        blurs, open_ = (np.full(len(faces), np.nan, np.float32) for _ in range(2))
        for start in range(0, len(large), _SLICE):
            at = large[start : start + _SLICE]
            part = faces.take(at)
            blurs[at] = self._blurs(frames, part)
            if self.options.eyes:
                open_[at] = self._open(frames, part)
        columns = [
            pa.array(frames.frame_index[faces.at]),
            pa.array(faces.pts_seconds),
            pa.array(faces.face_index, pa.int32()),
            pa.array(blurs, from_pandas=True),
            pa.array(open_, from_pandas=True),
        ]
        return pa.table(columns, schema=self.schema)

    def _blurs(self, frames: Frames, faces: FaceRows) -> list[float]:
        squares = square_around(faces.boxes, 1.0)
        crops = crop_squares(frames, faces.at, squares, self.options.least_pixels)
        return [blur(np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8)) for crop in crops]

    def _open(self, frames: Frames, faces: FaceRows) -> Float32Array:
        """How sure the model is that the more open eye is open, float32 [m]; NaN without points."""
        wide, high = self._size
        side = round(wide / (_EYE_WIDTH * _EYE_DISTANCE))
        aligned, found = align_faces(frames, faces, self._detector, (side, side), _REGION_PIXELS)
        open_ = np.full(len(faces), np.nan, np.float32)
        seen: Int64Array = np.flatnonzero(found).astype(np.int64)
        if len(seen):
            eyes = np.concatenate([_cut(aligned[seen], point, (wide, high)) for point in TEMPLATE[:2]])
            open_[seen] = self._classify(eyes).reshape(2, -1).max(axis=0)
        return open_

    def _classify(self, eyes: UInt8Array) -> Float32Array:
        """How sure the model is that each eye is open, float32 [m]."""
        entry = self._entry
        batch = planes(eyes, entry.colour, entry.mean, entry.scale)
        outputs = self.loaded["eyes"].runner.run({_INPUT: batch})
        probabilities: Float32Array = next(iter(outputs.values()))
        if len(outputs) != 1 or probabilities.size != len(eyes) * len(entry.labels):
            shapes = {name: list(values.shape) for name, values in outputs.items()}
            raise ModelError(
                f"face_quality: model {entry.name} gives {shapes} for {len(eyes)} eyes, but its labels ask "
                f"for one output [{len(eyes)}, {len(entry.labels)}]; add it with its own labels"
            )
        open_: Float32Array = probabilities.reshape(len(eyes), -1)[:, entry.labels.index("open")]
        return np.clip(open_, 0, 1).astype(np.float32, copy=False)


def _cut(aligned: UInt8Array, point: np.ndarray[Any, Any], size: tuple[int, int]) -> UInt8Array:
    """Pictures of the eyes around a point of the template, uint8 [m, height, width, 3]."""
    wide, high = size
    side = aligned.shape[1]
    left, top = (round(c * side / TEMPLATE_SIDE - s / 2) for c, s in zip(point, size, strict=True))
    return aligned[:, top : top + high, left : left + wide]
