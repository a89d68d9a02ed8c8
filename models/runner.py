"""What an operation gets for a model role: the entry that describes it and the session that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from framemill.models.arrays import is_on_host
from framemill.models.registry import ModelEntry


class Runner(Protocol):
    """Runs one model. Blocking and thread-safe; the caller needs no knowledge of other callers.

    Inputs may also lie on a device, as CuPy's arrays: then they are bound where they are. Outputs are always
    NumPy's, but for `run_in_place`.
    """

    max_batch: int

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name for inputs by name; the first axis of each is the batch, of any length >= 1.

        The batch may be split, or merged with other callers'; each row's result is that of the row alone.
        """

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """One call exactly as given, for models whose first axis is not a batch (recurrent ones)."""


@runtime_checkable
class InPlaceRunner(Runner, Protocol):
    """A runner that can leave outputs where they are made."""

    def run_in_place(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """As `run` for inputs on a device; outputs stay there, for callers who need little of them.

        They are whole when the call returns, so that any thread may use them; their memory is used again when
        they go, so that what was asked of them has to be done by then, as it is once its result was copied.
        """


def run_in_place(runner: Runner, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs where the inputs lie, if the runner can leave them there; else, as of `Runner.run`, NumPy's."""
    if isinstance(runner, InPlaceRunner) and not all(is_on_host(array) for array in inputs.values()):
        return runner.run_in_place(inputs)
    return runner.run(inputs)


@dataclass(frozen=True, slots=True)
class Model:
    """One opened model."""

    entry: ModelEntry
    runner: Runner
