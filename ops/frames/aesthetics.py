"""Aesthetic quality of each frame, by a model of how people vote.

LAION: github.com/LAION-AI/aesthetic-predictor; a head on the vectors of CLIP, one number for each.
NIMA: Talebi and Milanfar, arXiv:1709.05424; a classifier of pictures whose ten outputs are the shares of
votes from 1 to 10.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError
from framemill.models.entry import ModelEntry
from framemill.models.runner import Model
from framemill.ops.chunks import Float32Array, Frames
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.frames.embeddings import VECTORS, check_space, sorted_vectors
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.framing import frame_pictures
from framemill.ops.pixels.model_input import planes

_INPUT = "input"
_VOTES = np.arange(1, 11)
# Shares whose sum differs from 1 by more come from a network without its softmax.
_SUM_TOLERANCE = 1e-2
# Whether pictures go in with their channels last; the first is of PyTorch's exports, the other of Keras's.
CHANNELS_LAST: Mapping[str, bool] = {"nima": False, "nima_keras": True}
HEAD = "laion"
FAMILIES = (HEAD, *CHANNELS_LAST)


class Aesthetics(FrameOp):
    """One row a frame, from its vector (LAION) or its picture (NIMA)."""

    name = "aesthetics"
    after = (VECTORS,)
    models = ("aesthetics",)
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column(
                "score",
                pa.float32(),
                "mean vote that people would give, 1 (worst) to 10; a head of the family laion may go "
                "beyond; compare only within one model",
            ),
            column(
                "deviation",
                pa.float32(),
                "standard deviation of the votes, 0 (all agree) to 4.5; null where the model tells only the "
                "mean (laion)",
                nullable=True,
            ),
        ]
    )

    @classmethod
    def follows(cls, asked: Collection[str], entry_of: Callable[[str], ModelEntry]) -> tuple[str, ...]:
        """`image_embeddings` for a head, nothing for a whole network.

        Raises:
            UsageError: the vectors are of another model than those that the head was trained on.
        """
        head = entry_of("aesthetics")
        if head.family != HEAD:
            return ()
        check_space(head, entry_of(VECTORS), (HEAD,))
        return cls.after

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        self._entry = entry = models["aesthetics"].entry
        if entry.family not in FAMILIES or (entry.family != HEAD and entry.input_size is None):
            raise ModelError(
                f"aesthetics: model {entry.name} is of family {entry.family!r} with pictures of "
                f"{entry.input_size}; add one of {', '.join(FAMILIES)}, with its picture size if it takes any"
            )

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        if not len(frames):
            return self.schema.empty_table()
        if self._entry.family == HEAD:
            rows, vectors = sorted_vectors(upstream[VECTORS])
            times = rows["frame_index"], rows["pts_seconds"]
            scores, deviations = self._head(vectors), pa.nulls(rows.num_rows, pa.float32())
        else:
            times = pa.array(frames.frame_index), pa.array(frames.pts_seconds)
            scores, spread = mean_vote(self._shares(frames))
            deviations = pa.array(spread)
        return pa.table([*times, pa.array(scores), deviations], schema=self.schema)

    def _head(self, vectors: Float32Array) -> Float32Array:
        """One score for each vector, float32 [n]."""
        try:
            outputs = self.loaded["aesthetics"].runner.run({_INPUT: vectors})
        except ModelError as exc:
            raise ModelError(
                f"aesthetics: the head {self._entry.name} refuses vectors of {vectors.shape[1]} numbers: "
                f"choose the image model that it was trained on (`models={{{VECTORS!r}: 'NAME'}}`); {exc}"
            ) from exc
        return self._only(outputs, (len(vectors), 1))[:, 0]

    def _shares(self, frames: Frames) -> Float32Array:
        """Shares of the votes 1 to 10, float32 [n, 10]."""
        entry = self._entry
        assert entry.input_size is not None
        # The authors squeeze the whole picture into the square, since its composition counts.
        pictures = frame_pictures(frames, entry.input_size, None)
        batch = planes(pictures, entry.colour, entry.mean, entry.scale)
        if CHANNELS_LAST[entry.family]:
            batch = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
        shares = self._only(self.loaded["aesthetics"].runner.run({_INPUT: batch}), (len(frames), len(_VOTES)))
        sums = shares.sum(axis=1)
        if (np.abs(sums - 1) > _SUM_TOLERANCE).any():
            raise ModelError(
                f"aesthetics: the votes of model {entry.name} sum to {sums.min():.3g} to {sums.max():.3g}, "
                "not 1; export it with its softmax"
            )
        return shares

    def _only(self, outputs: Mapping[str, Any], wanted: tuple[int, int]) -> Float32Array:
        found = next(iter(outputs.values()))
        if len(outputs) != 1 or found.shape != wanted:
            shapes = {name: list(values.shape) for name, values in outputs.items()}
            raise ModelError(
                f"aesthetics: model {self._entry.name} gives {shapes} for {wanted[0]} frames, but the family "
                f"{self._entry.family} gives one output {list(wanted)}; add it with its own family"
            )
        values: Float32Array = found.astype(np.float32)
        return values


def mean_vote(shares: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Mean and standard deviation, float32 [n] each, of votes from 1 to 10 with these shares [n, 10]."""
    exact = shares.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    mean = exact @ _VOTES
    variance = (exact * (_VOTES - mean[:, None]) ** 2).sum(axis=1)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
