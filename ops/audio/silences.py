"""Where the sound falls silent: quiet stretches of `audio_levels`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from framemill.errors import UsageError
from framemill.ops.audio.audio_levels import WINDOWS_PER_SECOND
from framemill.ops.chunks import ShardInfo
from framemill.ops.columns import SPAN_COLUMNS, column
from framemill.ops.operation import TableOp


@dataclass(frozen=True, kw_only=True, slots=True)
class SilencesOptions:
    """Options of `silences`.

    Attributes:
        threshold_db: windows whose level is below this are silent, in dBFS, -120 < threshold <= 0.
        min_seconds: shorter stretches are dropped, >= 0.
    """

    threshold_db: float = -50.0
    min_seconds: float = 0.5

    def __post_init__(self) -> None:
        if not -120 < self.threshold_db <= 0:
            raise UsageError(
                f"silences.threshold_db is {self.threshold_db}; it must be above -120 and at most 0"
            )
        if not 0 <= self.min_seconds <= 3600:
            raise UsageError(f"silences.min_seconds is {self.min_seconds}; it must be 0 to 3600")


class Silences(TableOp):
    """One row a stretch; its ends are exact to the 0.1 s of `audio_levels`."""

    name = "silences"
    after = ("audio_levels",)
    Options = SilencesOptions
    schema = pa.schema(
        [
            *SPAN_COLUMNS,
            column("peak_db", pa.float32(), "largest absolute sample within, in dBFS, >= -120"),
        ]
    )

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        levels = upstream["audio_levels"].sort_by("start_seconds")
        starts, peaks = levels["start_seconds"].to_numpy(), levels["peak_db"].to_numpy()
        quiet = levels["rms_db"].to_numpy() < self.options.threshold_db
        edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]])))
        first, last = edges[::2], edges[1::2] - 1
        begins, ends = starts[first], starts[last] + 1 / WINDOWS_PER_SECOND
        if source.duration_seconds > 0:
            ends = np.maximum(np.minimum(ends, source.duration_seconds), begins)
        # Sums of tenths are not exact in binary.
        long = ends - begins >= self.options.min_seconds - 1e-6
        loudest = [peaks[a : b + 1].max() for a, b in zip(first[long], last[long], strict=True)]
        return pa.table(
            {"start_seconds": begins[long], "end_seconds": ends[long], "peak_db": loudest},
            schema=self.schema,
        )
