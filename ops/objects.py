"""Objects in each frame: label, score and box, by a detector of the YOLOX family.

YOLOX: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv:2107.08430. The exported graph leaves the
last step to the caller: an anchor-free grid at strides 8, 16 and 32, where a cell states its box's centre
relative to itself and the logarithm of the box's size, all in units of the stride.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from models.errors import ModelError, UsageError
from models.loading import Model
from ops.boxes import BOX, choose_boxes, letterbox_size
from ops.chunks import Float32Array, Frames, Int64Array, UInt8Array
from ops.columns import column
from ops.operation import FrameOp

STRIDES = (8, 16, 32)
PADDING = 114  # grey that the family was trained with, 0..255
# Frames prepared at once where the model takes one at a time: enough to keep every core busy, and
# small beside the 64 MB of a batch of frames.
_SLICE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectsOptions:
    """Options of `objects`; the values are those that the authors of YOLOX use to show its results.

    Attributes:
        score: least score of a row, 0..1.
        nms: largest overlap of two objects of one label, as intersection over union, 0..1.
        max_objects: most rows of one frame, >= 1.
    """

    score: float = 0.3
    nms: float = 0.45
    max_objects: int = 100

    def __post_init__(self) -> None:
        for name in ("score", "nms"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"objects.{name} is {getattr(self, name)}; it must be 0 to 1")
        if self.max_objects < 1:
            raise UsageError(f"objects.max_objects is {self.max_objects}; it must be at least 1")


class Objects(FrameOp):
    """Finds the objects that the model has labels for; a frame without any has no row."""

    name = "objects"
    version = 1
    models = ("objects",)
    default = False  # its weights are a download
    Options = ObjectsOptions
    schema = pa.schema(
        [
            column("frame_index", pa.int64(), "0-based position among the presented frames of the source"),
            column("pts_seconds", pa.float64(), "seconds since the start of the presentation, >= 0"),
            column("object_index", pa.int32(), "0-based rank in the frame by descending score"),
            column("label", pa.dictionary(pa.int32(), pa.string()), "name of the class"),
            column("label_index", pa.int32(), "0-based class of the model"),
            column("score", pa.float32(), "objectness times class probability, 0..1"),
            column("box", BOX, "where it is, in display pixels, clipped to the frame"),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        entry = self.loaded["objects"].entry
        if entry.family != "yolox":
            raise ModelError(f"objects: model {entry.name} is of family {entry.family!r}; choose a yolox one")
        if entry.input_size is None or any(side % STRIDES[-1] for side in entry.input_size):
            raise ModelError(
                f"objects: model {entry.name} takes pictures of {entry.input_size}, which must be fixed "
                f"multiples of {STRIDES[-1]}; add it with its input size"
            )
        self._size = entry.input_size
        self._labels = pa.array(entry.labels, pa.string())

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        runner = self.loaded["objects"].runner
        inner = letterbox_size(frames.width, frames.height, self._size)
        pixels = frames.rgb(inner)
        step = max(runner.max_batch, _SLICE)
        found = []
        for start in range(0, len(frames), step):
            batch = letterbox(pixels[start : start + step], self._size)
            (raw,) = runner.run({"images": batch}).values()
            self._check(raw)
            found += [self._detect(cells, inner, (frames.width, frames.height)) for cells in raw]
        return self._rows(frames, found)

    def _check(self, raw: Float32Array) -> None:
        wanted = (len(cell_grid(self._size)[0]), 5 + len(self._labels))
        if raw.ndim != 3 or raw.shape[1:] != wanted:
            raise ModelError(
                f"objects: model {self.loaded['objects'].entry.name} gives {list(raw.shape)}, but its input "
                f"size and {len(self._labels)} labels ask for [n, {wanted[0]}, {wanted[1]}]; "
                "add it with its own labels"
            )

    def _detect(self, cells: Float32Array, inner: tuple[int, int], display: tuple[int, int]) -> _Found:
        scores, labels, boxes = decode(cells, self._size, self.options.score)
        boxes *= np.array([display[0] / inner[0], display[1] / inner[1]] * 2, np.float32)
        clipped = np.clip(boxes, 0, np.array(display * 2, np.float32))
        seen = np.flatnonzero((clipped[:, 2:] > clipped[:, :2]).all(axis=1))
        keep = seen[
            choose_boxes(boxes[seen], scores[seen], labels[seen], self.options.nms, self.options.max_objects)
        ]
        return _Found(scores[keep], labels[keep], clipped[keep])

    def _rows(self, frames: Frames, found: list[_Found]) -> pa.Table:
        counts = np.array([len(f.scores) for f in found], np.int64)
        if not counts.sum():
            return self.schema.empty_table()
        labels = np.concatenate([f.labels for f in found]).astype(np.int32)
        boxes = np.concatenate([f.boxes for f in found])
        columns = [
            pa.array(np.repeat(frames.frame_index, counts)),
            pa.array(np.repeat(frames.pts_seconds, counts)),
            pa.array(np.concatenate([np.arange(n, dtype=np.int32) for n in counts])),
            pa.DictionaryArray.from_arrays(pa.array(labels), self._labels),
            pa.array(labels),
            pa.array(np.concatenate([f.scores for f in found])),
            pa.StructArray.from_arrays([pa.array(edge) for edge in boxes.T.copy()], fields=list(BOX)),
        ]
        return pa.table(columns, schema=self.schema)


class _Found(NamedTuple):
    """One frame's objects by descending score: float32 [k], int64 [k], float32 [k, 4]."""

    scores: Float32Array
    labels: Int64Array
    boxes: Float32Array


def letterbox(pixels: UInt8Array, size: tuple[int, int]) -> Float32Array:
    """Pictures in the top left corner of grey ones.

    Args:
        pixels: uint8 [n, h, w, 3] RGB, no larger than `size` = (width, height).

    Returns:
        float32 [n, 3, height, width], B G R in 0..255.
    """
    count, high, wide = pixels.shape[:3]
    batch = np.empty((count, 3, size[1], size[0]), np.float32)
    batch[:, :, high:] = PADDING
    batch[:, :, :high, wide:] = PADDING
    for target, picture in zip(batch, pixels, strict=True):
        for channel in range(3):  # plane by plane: half the time of one transposed copy
            target[channel, :high, :wide] = picture[:, :, 2 - channel]
    return batch


@lru_cache(maxsize=8)
def cell_grid(size: tuple[int, int]) -> tuple[Float32Array, Float32Array]:
    """Column and row of every cell, float32 [cells, 2], and its stride in pixels, float32 [cells, 1]."""
    places, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: size[1] // stride, : size[0] // stride]
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode(
    cells: Float32Array, size: tuple[int, int], least_score: float
) -> tuple[Float32Array, Int64Array, Float32Array]:
    """The boxes of one frame's raw output whose best class reaches a score.

    Args:
        cells: float32 [cells, 5 + classes]: centre x, y, logarithm of width, height (in strides),
            objectness, then class probabilities.
        size: (width, height) of the model's picture in pixels.

    Returns:
        Scores float32 [k], labels int64 [k] and boxes float32 [k, 4] in the model's pixels, in cell order.
    """
    # A class probability is at most 1, so objectness alone rules out nearly every cell.
    at = np.flatnonzero(cells[:, 4] >= least_score)
    picked = cells[at]
    labels = picked[:, 5:].argmax(axis=1)
    scores = picked[:, 4] * picked[np.arange(len(at)), 5 + labels]
    good = scores >= least_score
    at, picked = at[good], picked[good]
    places, strides = cell_grid(size)
    centres = (picked[:, :2] + places[at]) * strides[at]
    with np.errstate(over="ignore"):  # a size beyond float32 is clipped to the frame
        halves = np.exp(picked[:, 2:4]) * strides[at] / 2
    return scores[good], labels[good], np.concatenate([centres - halves, centres + halves], axis=1)
