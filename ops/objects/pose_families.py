"""Inputs and outputs of body pose models: BlazePose, RTMPose and RTMO.

BlazePose: Bazarevsky et al., "BlazePose: On-device Real-time Body Pose tracking", arXiv:2006.10204.
RTMPose: Jiang et al., arXiv:2303.07399; its outputs are those of SimCC, Li et al., arXiv:2107.03332.
RTMO: Lu et al., arXiv:2312.07526, which finds the people of a whole frame by itself; the graph that MMPose
deploys, where suppression is built in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from framemill.errors import ModelError
from framemill.models.entry import ModelEntry
from framemill.ops.chunks import Float32Array, UInt8Array
from framemill.ops.pixels.model_input import planes

Outputs = Mapping[str, npt.NDArray[Any]]

# fmt: off
BLAZEPOSE_33 = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye",
    "right_eye_outer", "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky",
    "left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel", "left_foot_index",
    "right_foot_index",
)
COCO_17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)
# fmt: on
_BLAZEPOSE_POINTS = 39  # the 33 of the body, then six that only its own tracking needs
_BLAZEPOSE_VALUES = 5  # x, y, z, visibility, presence


class Poses(NamedTuple):
    """Poses that a model finds in n crops.

    Attributes:
        scores: float32 [n], how sure it is that a person is in the crop, 0..1.
        points: float32 [n, k, 2], x and y in pixels of the crop; they may lie outside.
        point_scores: float32 [n, k], how sure it is of each point, 0..1.
    """

    scores: Float32Array
    points: Float32Array
    point_scores: Float32Array


@dataclass(frozen=True, slots=True)
class PoseFamily:
    """How a model of a family is fed and read.

    Attributes:
        names: of the keypoints, in the model's order, where the entry has no labels.
        channels_last: whether it takes [n, height, width, 3].
        decode: outputs, entry and names to poses; raises ModelError where the outputs break the contract.
            None where it takes whole frames, which `decode_rtmo` reads.
    """

    names: tuple[str, ...]
    channels_last: bool
    decode: Callable[[Outputs, ModelEntry, tuple[str, ...]], Poses] | None

    def prepare(self, crops: UInt8Array, entry: ModelEntry) -> Float32Array:
        """Crops, uint8 [n, height, width, 3] RGB, as the model takes them."""
        batch = planes(crops, entry.colour, entry.mean, entry.scale)
        return np.ascontiguousarray(batch.transpose(0, 2, 3, 1)) if self.channels_last else batch


def decode_blazepose(outputs: Outputs, entry: ModelEntry, names: tuple[str, ...]) -> Poses:
    """One output [n, 195], a row of x, y, z, visibility, presence per point, and one [n, 1].

    Visibility is a logit; the second output is a probability already. Others (mask, heat map, world
    coordinates) are left alone.
    """
    wide = _BLAZEPOSE_POINTS * _BLAZEPOSE_VALUES
    landmarks, presence = _only(outputs, wide), _only(outputs, 1)
    if landmarks is None or presence is None or len(names) != len(BLAZEPOSE_33):
        raise _broken(
            entry,
            outputs,
            f"blazepose gives one output [n, {wide}], one [n, 1] and names {len(BLAZEPOSE_33)} keypoints",
        )
    values = landmarks.astype(np.float32).reshape(-1, _BLAZEPOSE_POINTS, _BLAZEPOSE_VALUES)[:, : len(names)]
    # Clipped, so that no logit overflows; beyond 30 the result is 0 or 1 in float32 anyway.
    visible = 1 / (1 + np.exp(-np.clip(values[..., 3], -30, 30)))
    scores = np.clip(presence[:, 0].astype(np.float32), 0, 1)
    return Poses(scores, values[..., :2], visible.astype(np.float32))


def decode_rtmpose(outputs: Outputs, entry: ModelEntry, names: tuple[str, ...]) -> Poses:
    """`simcc_x` [n, k, wide] and `simcc_y` [n, k, high]: a score for each column and each row.

    There are a whole number of columns and rows to a pixel (2 in the published models). As in MMPose a
    point is where each axis peaks, and its score the lower of both peaks; a pose's score is their mean.
    """
    assert entry.input_size is not None
    peaks, places = [], []
    for name, side in zip(("simcc_x", "simcc_y"), entry.input_size, strict=True):
        values = outputs.get(name)
        if values is None or values.ndim != 3 or values.shape[1] != len(names) or values.shape[2] % side:
            raise _broken(
                entry,
                outputs,
                f"rtmpose with {len(names)} keypoints and pictures of {entry.input_size} gives {name} "
                f"[n, {len(names)}, a multiple of {side}]",
            )
        peaks.append(values.max(axis=2))
        places.append(values.argmax(axis=2) * (side / values.shape[2]))
    point_scores = np.clip(np.minimum(*peaks), 0, 1).astype(np.float32)
    return Poses(point_scores.mean(axis=1), np.stack(places, axis=2).astype(np.float32), point_scores)


def decode_rtmo(outputs: Outputs, entry: ModelEntry, names: tuple[str, ...]) -> tuple[Float32Array, Poses]:
    """`dets` [1, n, 5], left, top, right, bottom and score, and `keypoints` [1, n, k, 3], x, y and score.

    Returns:
        Boxes float32 [n, 4] and poses of the n people of one picture, all in its pixels.
    """
    found, points = outputs.get("dets"), outputs.get("keypoints")
    count = found.shape[1] if found is not None and found.ndim == 3 else 0
    if (
        found is None
        or points is None
        or found.shape != (1, count, 5)
        or points.shape
        != (
            1,
            count,
            len(names),
            3,
        )
    ):
        raise _broken(
            entry,
            outputs,
            f"rtmo with {len(names)} keypoints gives dets [1, n, 5] and keypoints [1, n, {len(names)}, 3]",
        )
    scores = np.clip(found[0, :, 4], 0, 1).astype(np.float32)
    point_scores = np.clip(points[0, ..., 2], 0, 1).astype(np.float32)
    return found[0, :, :4].astype(np.float32), Poses(
        scores, points[0, ..., :2].astype(np.float32), point_scores
    )


def _only(outputs: Outputs, wide: int) -> npt.NDArray[Any] | None:
    """The output of shape [n, wide], if there is exactly one; exports differ in what they call it."""
    found = [values for values in outputs.values() if values.ndim == 2 and values.shape[1] == wide]
    return found[0] if len(found) == 1 else None


def _broken(entry: ModelEntry, outputs: Outputs, expected: str) -> ModelError:
    shapes = {name: list(values.shape) for name, values in outputs.items()}
    return ModelError(
        f"poses: model {entry.name} gives {shapes}, but {expected}; add it with its own family, input size "
        "and labels"
    )


FAMILIES: Mapping[str, PoseFamily] = {
    "blazepose": PoseFamily(BLAZEPOSE_33, True, decode_blazepose),
    "rtmpose": PoseFamily(COCO_17, False, decode_rtmpose),
    "rtmo": PoseFamily(COCO_17, False, None),
}
