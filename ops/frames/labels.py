"""Classes of whole frames, by an ImageNet classifier."""

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
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.framing import frame_pictures
from framemill.ops.pixels.model_input import planes

# Such models are evaluated on the middle 224 x 224 of pictures whose shorter side is 256, as by Krizhevsky et
# al., 2012.
CENTRE = 224 / 256
_INPUT = "input"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelsOptions:
    """Options of `labels`.

    Attributes:
        top: most rows of one frame, >= 1.
        score: least probability of a row, 0..1.
    """

    top: int = 5
    score: float = 0.05

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UsageError(f"labels.top is {self.top}; it must be at least 1")
        if not 0 <= self.score <= 1:
            raise UsageError(f"labels.score is {self.score}; it must be 0 to 1")


class Labels(FrameOp):
    """The most probable classes of each frame; a frame that resembles none has no row."""

    name = "labels"
    on_device = True
    models = ("labels",)
    Options = LabelsOptions
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column("rank", pa.int32(), "0-based rank in the frame by descending score"),
            column("label", pa.dictionary(pa.int32(), pa.string()), "name of the class"),
            column(
                "score",
                pa.float32(),
                "its probability, 0..1 (softmax over all classes of the model, which are taken to exclude "
                "each other)",
            ),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        entry = models["labels"].entry
        if entry.family != "imagenet" or entry.input_size is None or not entry.labels:
            raise ModelError(
                f"labels: model {entry.name} is of family {entry.family!r} with pictures of "
                f"{entry.input_size} and {len(entry.labels)} labels; add one of family 'imagenet' with its "
                "picture size and labels"
            )
        self._entry, self._size = entry, entry.input_size
        self._labels = pa.array(entry.labels, pa.string())

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        if not len(frames):
            return self.schema.empty_table()
        probabilities = self._classify(frames)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.options.top]
        scores = np.take_along_axis(probabilities, order, axis=1)
        frame, rank = np.nonzero(scores >= self.options.score)
        columns = [
            pa.array(frames.frame_index[frame]),
            pa.array(frames.pts_seconds[frame]),
            pa.array(rank.astype(np.int32)),
            pa.DictionaryArray.from_arrays(pa.array(order[frame, rank].astype(np.int32)), self._labels),
            pa.array(scores[frame, rank]),
        ]
        return pa.table(columns, schema=self.schema)

    def _classify(self, frames: Frames) -> Float32Array:
        """Probabilities, float32 [n, classes]."""
        entry = self._entry
        pictures = frame_pictures(frames, self._size, CENTRE)
        outputs = self.loaded["labels"].runner.run(
            {_INPUT: planes(pictures, entry.colour, entry.mean, entry.scale)}
        )
        wanted = (len(frames), len(entry.labels))
        logits = next(iter(outputs.values()))
        if len(outputs) != 1 or logits.shape != wanted:
            shapes = {name: list(values.shape) for name, values in outputs.items()}
            raise ModelError(
                f"labels: model {entry.name} gives {shapes} for {wanted[0]} frames, but its {wanted[1]} "
                f"labels ask for one output {list(wanted)}; add it with its own labels"
            )
        return softmax(logits)


def softmax(logits: Float32Array) -> Float32Array:
    """Probabilities, float32 [n, classes], of logits."""
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64))
    probabilities: Float32Array = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities
