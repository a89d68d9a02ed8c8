"""Body poses: the keypoints of each person that `objects` found.

Most families look at a crop of each person; RTMO looks at the frame once and finds its people by itself, of
which each goes to the person of `objects` whose box is nearly the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model
from framemill.ops.chunks import Float32Array, Frames
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.objects.decoders import placed
from framemill.ops.objects.objects import PADDING
from framemill.ops.objects.pose_families import FAMILIES, Poses, decode_rtmo
from framemill.ops.objects.rows import ObjectRows, read_objects
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.boxes import overlaps
from framemill.ops.pixels.model_input import letterbox

PERSON = "person"
# How much larger than the box a crop is: what the authors of BlazePose and of RTMPose take. Measured on the
# squats clip, mean distance to the golden keypoints in body heights: 1.0: 0.026, 1.1: 0.023, 1.25: 0.021,
# 1.4: 0.022, 1.5: 0.022.
ENLARGEMENT = 1.25
_INPUT = "input"
# People prepared at once where the model takes one at a time.
_SLICE = 8
# From which overlap on, as intersection over union, two boxes are taken for one person: COCO's own least.
_SAME_PERSON = 0.5

KEYPOINT = pa.struct(
    [
        column("name", pa.dictionary(pa.int32(), pa.string()), "which point of the body, e.g. left_knee"),
        column("x", pa.float32(), "from the left, in display pixels; may lie outside the frame"),
        column("y", pa.float32(), "from the top, in display pixels; may lie outside the frame"),
        column("score", pa.float32(), "how sure the model is that the point can be seen there, 0..1"),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PosesOptions:
    """Options of `poses`.

    Attributes:
        score: least score of a pose, 0..1. BlazePose answers near 0 or near 1, and 0.5 is its authors' value;
            with RTMPose, whose scores are means over all keypoints, 0.3 keeps people who are partly hidden;
            RTMO's are those of the person's box.
    """

    score: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise UsageError(f"poses.score is {self.score}; it must be 0 to 1")


class PosesOp(FrameOp):
    """One row a person, from a crop of its own at full resolution, or from the whole frame (RTMO)."""

    name = "poses"
    after = ("objects",)
    models = ("poses",)
    Options = PosesOptions
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column("person_index", pa.int32(), "0-based rank among the people of the frame by object_index"),
            column("object_index", pa.int32(), "the person's row in `objects`"),
            column("score", pa.float32(), "how sure the model is that it sees a person, 0..1"),
            column("keypoints", pa.list_(KEYPOINT), "points of the body, in the model's order"),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        entry = models["poses"].entry
        if entry.family not in FAMILIES or entry.input_size is None:
            raise ModelError(
                f"poses: model {entry.name} is of family {entry.family!r} with pictures of "
                f"{entry.input_size}; add one of {', '.join(FAMILIES)} with its picture size"
            )
        self._entry, self._size, self._family = entry, entry.input_size, FAMILIES[entry.family]
        self._names = entry.labels or self._family.names

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        rows = read_objects(upstream["objects"])
        people = rows.take(rows.labels == PERSON)
        if not len(people):
            return self.schema.empty_table()
        at = np.searchsorted(frames.frame_index, people.frame_index)
        if self._family.decode is None:
            return self._table(frames, *self._from_frames(frames, people, at))
        regions = crop_regions(people.boxes, self._size)
        step = max(_SLICE, self.loaded["poses"].runner.max_batch)
        parts = [
            self._run_crops(frames, at[start : start + step], regions[start : start + step])
            for start in range(0, len(at), step)
        ]
        poses = Poses(*(np.concatenate(values) for values in zip(*parts, strict=True)))
        origin, extent = regions[:, None, :2], regions[:, None, 2:] - regions[:, None, :2]
        points = (origin + poses.points * (extent / np.array(self._size))).astype(np.float32)
        return self._table(frames, people, poses._replace(points=points))

    def _run_crops(self, frames: Frames, at: np.ndarray[Any, Any], regions: Float32Array) -> Poses:
        crops = frames.crops(at, regions, self._size)
        batch = self._family.prepare(crops, self._entry)
        outputs = self.loaded["poses"].runner.run({_INPUT: batch})
        assert self._family.decode is not None
        return self._family.decode(outputs, self._entry, self._names)

    def _from_frames(
        self, frames: Frames, people: ObjectRows, at: np.ndarray[Any, Any]
    ) -> tuple[ObjectRows, Poses]:
        """Those of the people whom the model finds in their frames too, and their poses in display pixels."""
        inner, corner, to_display = placed((frames.width, frames.height), self._size, "corner")
        pixels = frames.rgb(inner)
        entry, scale = self._entry, np.array(to_display, np.float32)
        chosen: list[int] = []
        parts = []
        for frame in np.unique(at):
            picture = letterbox(
                pixels[frame : frame + 1], self._size, corner, PADDING, entry.colour, entry.mean, entry.scale
            )
            # How many people it finds differs from frame to frame, so frames do not go in a batch.
            outputs = self.loaded["poses"].runner.run_whole({_INPUT: picture})
            boxes, poses = decode_rtmo(outputs, entry, self._names)
            rows = np.flatnonzero(at == frame)
            pairs = pair_boxes(people.boxes[rows], boxes * np.tile(scale, 2))
            chosen += [int(rows[row]) for row, _ in pairs]
            taken = [guess for _, guess in pairs]
            points = poses.points[taken] * scale
            parts.append(Poses(poses.scores[taken], points, poses.point_scores[taken]))
        poses = Poses(*(np.concatenate(values) for values in zip(*parts, strict=True)))
        return people.take(np.array(chosen, np.int64)), poses

    def _table(self, frames: Frames, people: ObjectRows, poses: Poses) -> pa.Table:
        keep = np.flatnonzero(poses.scores >= self.options.score)
        people = people.take(keep)
        at = np.searchsorted(frames.frame_index, people.frame_index)
        # Rows are by frame: a row's rank is its position less that of the frame's first.
        rank = np.arange(len(keep)) - np.searchsorted(people.frame_index, people.frame_index)
        count = len(self._names)
        values = poses.points[keep].reshape(-1, 2).astype(np.float32)
        names = pa.DictionaryArray.from_arrays(
            pa.array(np.tile(np.arange(count, dtype=np.int32), len(keep))), pa.array(self._names, pa.string())
        )
        scores = pa.array(poses.point_scores[keep].ravel())
        points = pa.StructArray.from_arrays(
            [names, pa.array(values[:, 0].copy()), pa.array(values[:, 1].copy()), scores],
            fields=list(KEYPOINT),
        )
        offsets = np.arange(0, len(points) + 1, count, dtype=np.int32)
        columns = [
            pa.array(people.frame_index),
            pa.array(frames.pts_seconds[at]),
            pa.array(rank.astype(np.int32)),
            pa.array(people.object_index.astype(np.int32)),
            pa.array(poses.scores[keep]),
            pa.ListArray.from_arrays(offsets, points),
        ]
        return pa.table(columns, schema=self.schema)


def pair_boxes(people: Float32Array, guesses: Float32Array) -> list[tuple[int, int]]:
    """Which guess is which person: those that overlap most first, each once, none by less than half.

    Args:
        people, guesses: boxes, float32 [m, 4] and [n, 4].

    Returns:
        Pairs of positions, by that of the person.
    """
    shared = np.array([overlaps(person, guesses) for person in people]).reshape(len(people), len(guesses))
    found: dict[int, int] = {}
    for place in np.argsort(-shared, axis=None, kind="stable"):
        person, guess = divmod(int(place), len(guesses))
        if shared[person, guess] < _SAME_PERSON:
            break
        if person not in found and guess not in found.values():
            found[person] = guess
    return sorted(found.items())


def crop_regions(boxes: Float32Array, size: tuple[int, int]) -> Float32Array:
    """Regions with the boxes' centres, ENLARGEMENT times as large and widened to the shape of `size`.

    Args:
        boxes: float32 [m, 4] in pixels.
        size: (width, height) of the model's picture.

    Returns:
        float32 [m, 4]; they may reach beyond the frame.
    """
    shape = np.array(size, np.float32)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = (boxes[:, 2:] - boxes[:, :2]) / shape
    halves = sides.max(axis=1, keepdims=True) * shape * (ENLARGEMENT / 2)
    return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)
