"""What a benchmark is, and what one finds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness import Setting


@dataclass(frozen=True, slots=True)
class Measured:
    """What a benchmark found.

    Attributes:
        values: one number a run, in the goal's unit. details: medians behind them, for the record.
        shares: CPU seconds of the bare work over ours, a run each: decoding, inference and encoding with the
            same libraries, each on one thread, on what was looked at. Empty where no such work is measured.
    """

    values: Sequence[float]
    details: Mapping[str, Any] = field(default_factory=dict)
    shares: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A figure to reach.

    Attributes:
        name: on the command line and in result files. work: what is done. against: what with.
        goal: the number to reach, in `unit`; `at_least` or, if False, at most.
        run: measures. programs: executables without which it is skipped.
        runs: measured runs, where no other number is asked for; fewer where one takes minutes.
    """

    name: str
    work: str
    against: str
    goal: float
    unit: str
    at_least: bool
    run: Callable[[Setting], Measured]
    programs: tuple[str, ...] = ()
    runs: int = 5

    def reached(self, measured: Measured) -> bool:
        """Whether the median reaches the goal."""
        median = statistics.median(measured.values)
        return median >= self.goal if self.at_least else median <= self.goal
