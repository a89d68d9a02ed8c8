"""Objects in each frame: label, score and box, by a detector of any family in `objects.decoders`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.arrays import array_module, to_host
from framemill.models.model_io import SIZED_FAMILIES, check_outputs
from framemill.models.runner import Model, run_in_place
from framemill.ops.chunks import Frames, UInt8Array
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.objects.decoders import FAMILIES, STRIDES, Candidates, Detections, cell_grid, placed
from framemill.ops.objects.rows import detection_rows
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.boxes import BOX, nms
from framemill.ops.pixels.model_input import letterbox

PADDING = 114  # grey that the YOLO families were trained with, 0..255
# Frames prepared at once where the model takes one at a time: enough to keep every core busy, and
# small beside the 64 MB of a batch of frames.
_SLICE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectsOptions:
    """Options of `objects`; the values are those that the authors of YOLOX use to show its results.

    Attributes:
        score: least score of a row, 0..1.
        nms: largest overlap of two objects of one label, as intersection over union, 0..1;
            of no effect where the model finds each object once (see `framemill.ops.objects.decoders`).
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
    version = 2
    on_device = True
    models = ("objects",)
    Options = ObjectsOptions
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column("object_index", pa.int32(), "0-based rank in the frame by descending score"),
            column("label", pa.dictionary(pa.int32(), pa.string()), "name of the class"),
            column("label_index", pa.int32(), "0-based class of the model"),
            column("score", pa.float32(), "confidence that an object of the class is there, 0..1"),
            column("box", BOX, "where it is, in display pixels, clipped to the frame"),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        self._entry = entry = self.loaded["objects"].entry
        if entry.family not in FAMILIES:
            raise ModelError(
                f"objects: model {entry.name} is of family {entry.family!r}; "
                f"choose one of {', '.join(FAMILIES)}"
            )
        if entry.input_size is None:
            raise ModelError(f"objects: model {entry.name} has no picture size; add it with its input size")
        if entry.family == "yolox" and any(side % STRIDES[-1] for side in entry.input_size):
            raise ModelError(
                f"objects: model {entry.name} takes pictures of {entry.input_size}, which must be "
                f"multiples of {STRIDES[-1]}; add it with its input size"
            )
        self._size = entry.input_size
        self._family = FAMILIES[entry.family]
        self._labels = pa.array(entry.labels, pa.string())

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        runner = self.loaded["objects"].runner
        display = (frames.width, frames.height)
        inner, corner, to_display = placed(display, self._size, self._family.placing)
        pixels = frames.rgb(inner)
        step = max(runner.max_batch, _SLICE)
        found = []
        for start in range(0, len(frames), step):
            stop = min(start + step, len(frames))
            outputs = run_in_place(runner, self._inputs(pixels[start:stop, ...], corner))
            self._check(outputs)
            # Of a device's outputs, mostly cells without an object, nothing but these reaches the host.
            batch = self._family.decode(outputs, self._size, self.options.score)
            pictures, scores, labels, boxes = (to_host(part) for part in batch)
            boxes = (boxes - np.array(corner * 2, np.float32)) * np.array(to_display * 2, np.float32)
            found.append(Candidates(pictures + start, scores, labels, boxes))
        if not any(len(batch.scores) for batch in found):
            return self.schema.empty_table()
        candidates = Candidates(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        chosen = self._suppress(candidates, len(frames), display)
        return detection_rows(frames, chosen, self._labels, self.schema)

    def _inputs(self, pixels: UInt8Array, corner: tuple[int, int]) -> dict[str, npt.NDArray[Any]]:
        entry = self._entry
        inputs: dict[str, npt.NDArray[Any]] = {
            "images": letterbox(pixels, self._size, corner, PADDING, entry.colour, entry.mean, entry.scale)
        }
        if entry.family in SIZED_FAMILIES:
            sizes = np.tile(np.array(self._size, np.int64), (pixels.shape[0], 1))
            inputs["orig_target_sizes"] = array_module(pixels).asarray(sizes)
        return inputs

    def _check(self, outputs: Mapping[str, npt.NDArray[Any]]) -> None:
        shapes = {name: list(values.shape) for name, values in outputs.items()}
        check_outputs(self._entry, shapes)
        wanted = [len(cell_grid(self._size)[0]), 5 + len(self._labels)]
        if self._entry.family == "yolox" and [shape[1:] for shape in shapes.values()] != [wanted]:
            raise ModelError(
                f"objects: model {self._entry.name} gives {shapes}, but its input size and "
                f"{len(self._labels)} labels ask for [n, {wanted[0]}, {wanted[1]}]; "
                "add it with its own labels"
            )

    def _suppress(
        self, candidates: Candidates, num_frames: int, display: tuple[int, int]
    ) -> list[Detections]:
        """Those of each frame's objects, boxes in display pixels, that become rows, by descending score."""
        row, scores, labels, boxes = candidates
        if not 0 <= labels.min() <= labels.max() < len(self._labels):
            raise ModelError(
                f"objects: model {self._entry.name} gives classes {labels.min()} to {labels.max()}, but has "
                f"{len(self._labels)} labels; add it with its own labels"
            )
        clipped = np.clip(boxes, 0, np.array(display * 2, np.float32))
        seen = np.flatnonzero((clipped[:, 2:] > clipped[:, :2]).all(axis=1))
        overlap = self.options.nms if self._family.overlapping else inf
        most = self.options.max_objects
        keep = seen[nms(boxes[seen], scores[seen], labels[seen], overlap, most, row[seen])]
        of_frames = np.split(keep, np.searchsorted(row[keep], np.arange(1, num_frames)))
        return [Detections(scores[at], labels[at], clipped[at]) for at in of_frames]
