"""Sound events: classes of sound in each window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model
from framemill.ops.audio.families import FAMILIES, family_of
from framemill.ops.audio.windows import WINDOW_COLUMNS, WindowOp, WindowOutputs, check_hop
from framemill.ops.columns import column


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundsOptions:
    """Options of `sounds`.

    Attributes:
        threshold: least score of a row, 0..1.
        top: most rows a window, 1 to 1000.
        hop_seconds: from one window's start to the next, at most the length of the model's window (0.975 s
            for YAMNet); 0 for that length. Half of it costs twice the time.
    """

    threshold: float = 0.2
    top: int = 5
    hop_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"sounds.threshold is {self.threshold}; it must be 0 to 1")
        if not 1 <= self.top <= 1000:
            raise UsageError(f"sounds.top is {self.top}; it must be 1 to 1000")
        check_hop("sounds", self.hop_seconds)


class Sounds(WindowOp):
    """The highest scores of every window, best first; a sound that lasts gives a row in each window."""

    name = "sounds"
    Options = SoundsOptions
    schema = pa.schema(
        [
            *WINDOW_COLUMNS,
            column("label", pa.string(), "what is heard: a class of AudioSet, such as Speech"),
            column("score", pa.float32(), "how sure the model is, 0..1; classes do not exclude each other"),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        if family_of(self.model).scores is None:
            named = ", ".join(name for name, family in FAMILIES.items() if family.scores is not None)
            raise ModelError(
                f"model {self.model.entry.name} tells no classes, only embeddings: choose one of family "
                f"{named} for sounds, or leave that operation out"
            )
        self._labels = np.array(self.model.entry.labels, object)

    def rows(self, windows: WindowOutputs) -> pa.Table:
        # Of equal scores the class that comes first in the model's order.
        best = np.argsort(-windows.scores, axis=1, kind="stable")[:, : self.options.top]
        window, rank = np.nonzero(np.take_along_axis(windows.scores, best, 1) >= self.options.threshold)
        labels = best[window, rank]
        return pa.table(
            {
                "start_seconds": windows.start_seconds[window],
                "end_seconds": windows.end_seconds[window],
                "label": pa.array(self._labels[labels], pa.string()),
                "score": windows.scores[window, labels],
            },
            schema=self.schema,
        )
