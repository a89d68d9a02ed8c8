"""How likely each frame is not to be fit for every eye.

open_nsfw: github.com/yahoo/open_nsfw (Mahadeokar and Pesavento, 2016), a ResNet-50 of half the width that
tells pictures with nakedness or sex from others. It says nothing of violence, and errs both ways: its authors
call pictures below 0.2 likely safe and those above 0.8 likely not, and ask for a look by people in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError
from framemill.models.arrays import array_module
from framemill.models.runner import Model
from framemill.ops.chunks import Float32Array, Frames, UInt8Array
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.framing import frame_pictures

FAMILY = "open_nsfw"
# The authors squeeze the whole picture into a square of this side for a network that takes 224, and cut the
# middle out.
WHOLE, TAKEN = 256, 224
_INPUT = "input_0"
# What a sum of two probabilities may differ from 1 by; more comes from a network without its softmax.
_SUM_TOLERANCE = 1e-2


class Moderation(FrameOp):
    """One row a frame."""

    name = "moderation"
    models = ("moderation",)
    on_device = True
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column(
                "unsafe",
                pa.float32(),
                "probability that the frame shows nakedness or sex, 0..1: below 0.2 it likely does not, "
                "above 0.8 it likely does, and what lies between is for people to look at",
            ),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        self._entry = entry = models["moderation"].entry
        if entry.family != FAMILY or entry.input_size is None:
            raise ModelError(
                f"moderation: model {entry.name} is of family {entry.family!r} with pictures of "
                f"{entry.input_size}; add one of {FAMILY} with its picture size"
            )

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        if not len(frames):
            return self.schema.empty_table()
        size = self._entry.input_size
        assert size is not None
        outputs = self.loaded["moderation"].runner.run({_INPUT: self._batch(_middles(frames, size))})
        found = next(iter(outputs.values()))
        if len(outputs) != 1 or found.shape != (len(frames), 2):
            shapes = {name: list(values.shape) for name, values in outputs.items()}
            raise ModelError(
                f"moderation: model {self._entry.name} gives {shapes} for {len(frames)} frames, but the "
                f"family {FAMILY} gives one output [{len(frames)}, 2] (safe, unsafe); add another model"
            )
        sums = found.sum(axis=1)
        # Not a number differs from everything.
        if not (np.abs(sums - 1) <= _SUM_TOLERANCE).all():
            raise ModelError(
                f"moderation: what model {self._entry.name} gives sums to {sums.min():.3g} to "
                f"{sums.max():.3g}, not 1; export it with its softmax"
            )
        unsafe = np.clip(found[:, 1].astype(np.float32), 0, 1)
        columns = [pa.array(frames.frame_index), pa.array(frames.pts_seconds), pa.array(unsafe)]
        return pa.table(columns, schema=self.schema)

    def _batch(self, pictures: UInt8Array) -> Float32Array:
        """Float32 [n, height, width, 3] with the entry's colours, mean and scale, beside the pictures."""
        entry = self._entry
        xp = array_module(pictures)
        batch: Float32Array = xp.empty(pictures.shape, dtype=xp.float32)
        for channel, source in enumerate((2, 1, 0) if entry.colour == "bgr" else (0, 1, 2)):
            batch[..., channel] = xp.astype(pictures[..., source], xp.float32)
        if any(entry.mean):
            batch -= xp.asarray(entry.mean, dtype=xp.float32)
        if entry.scale:
            batch *= xp.asarray(entry.scale, dtype=xp.float32)
        return batch


def _middles(frames: Frames, size: tuple[int, int]) -> UInt8Array:
    """The middle of each frame, squeezed as the authors do it: uint8 [n, height, width, 3] RGB."""
    width, height = size
    whole = (round(width * WHOLE / TAKEN), round(height * WHOLE / TAKEN))
    left, top = (whole[0] - width) // 2, (whole[1] - height) // 2
    pictures = frame_pictures(frames, whole, None)
    return pictures[:, top : top + height, left : left + width, :]
