"""What an operation gets for a model role: the entry that describes it and the session that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from framemill.models.registry import ModelEntry


class Runner(Protocol):
    """Runs one model. Blocking and thread-safe; the caller needs no knowledge of other callers.

    Inputs may also lie on a device, as CuPy's arrays: then they are bound where they are. Outputs are always
    NumPy's.
    """

    max_batch: int

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name for inputs by name; the first axis of each is the batch, of any length >= 1.

        The batch may be split, or merged with other callers'; each row's result is that of the row alone.
        """

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """One call exactly as given, for models whose first axis is not a batch (recurrent ones)."""


@dataclass(frozen=True, slots=True)
class Model:
    """One opened model."""

    entry: ModelEntry
    runner: Runner
