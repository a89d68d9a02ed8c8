"""Activity over time: curves of many files at once, from intervals and instants.

Time is divided into cells of `CELL_SECONDS`; the cells of all files are consecutive in one array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from framemill.cluster.editing.frame_scores import grouped_quantile
from framemill.ops.chunks import BoolArray, Float64Array, Int64Array

CELL_SECONDS = 0.5
# Weight of each kind of event. A picture alone, however good, is no event.
WEIGHTS: Mapping[str, float] = {
    "motion": 1.0,
    "loud": 1.0,
    "faces": 1.0,
    "speech": 0.8,
    "sounds": 0.8,
    "things": 0.6,
    "text": 0.4,
}
# Factor on the activity where the picture is black or unusable.
UNUSABLE_FACTOR = 0.35
SILENCE_DB = -50.0
LOUD_DB = 12.0  # above the usual level of the file: counts in full


@dataclass(frozen=True, slots=True)
class TimeCells:
    """The cells of some files.

    Attributes:
        seconds: float64 [files], length of each. starts: int64 [files + 1], first cell of each, and the end.
    """

    seconds: Float64Array
    starts: Int64Array

    @classmethod
    def of(cls, seconds: Float64Array) -> TimeCells:
        """Cells for files of these lengths, at least one each."""
        counts = np.maximum(np.ceil(seconds / CELL_SECONDS), 1).astype(np.int64)
        return cls(seconds, np.concatenate([[0], np.cumsum(counts)]))

    @property
    def num_cells(self) -> int:
        return int(self.starts[-1])

    def file_of_cell(self) -> Int64Array:
        """The file of each cell."""
        return np.repeat(np.arange(len(self.seconds)), np.diff(self.starts))

    def place(self, file: Int64Array, seconds: Float64Array) -> Float64Array:
        """Instants as positions in the array of cells, within their files."""
        length = np.diff(self.starts)[file]
        place: Float64Array = self.starts[file].astype(np.float64) + np.clip(
            seconds / CELL_SECONDS, 0, length
        )
        return place

    def rasterize(
        self, file: Int64Array, start: Float64Array, end: Float64Array, value: Float64Array
    ) -> Float64Array:
        """Sum over intervals of value times the share of each cell that they cover, float64 [cells]."""
        slope = np.zeros(self.num_cells + 2)
        for seconds, sign in ((start, 1.0), (np.maximum(end, start), -1.0)):
            place = self.place(file, seconds)
            cell = np.floor(place).astype(np.int64)
            fraction = place - cell
            np.add.at(slope, cell, sign * value * (1 - fraction))
            np.add.at(slope, cell + 1, sign * value * fraction)
        covered: Float64Array = np.cumsum(slope)[: self.num_cells]
        return np.maximum(covered, 0)  # sums of many leave a trace of rounding

    def hold(self, file: Int64Array, seconds: Float64Array, value: Float64Array) -> Float64Array:
        """Values that last until the next instant of the same file, or its end: float64 [cells].

        Args:
            file, seconds: sorted by both.
        """
        end = self.seconds[file].copy()
        follows = np.flatnonzero(file[1:] == file[:-1])
        end[follows] = seconds[follows + 1]
        return self.rasterize(file, seconds, end, value)

    def mean(
        self, file: Int64Array, seconds: Float64Array, value: Float64Array, empty: float
    ) -> Float64Array:
        """Mean of the values of instants in each cell, `empty` where there is none: float64 [cells]."""
        cell = np.minimum(np.floor(self.place(file, seconds)).astype(np.int64), self.starts[file + 1] - 1)
        counts = np.bincount(cell, minlength=self.num_cells)
        sums = np.bincount(cell, weights=value, minlength=self.num_cells)
        return np.where(counts > 0, sums / np.maximum(counts, 1), empty)


def loudness_above_usual(level_db: Float64Array, owner: Int64Array) -> Float64Array:
    """How far each cell is above the usual level of its file, 0..1; silence is never loud.

    Args:
        level_db: float64 [cells], RMS level; -inf where there is no sound.
    """
    audible = level_db > SILENCE_DB
    usual = np.full(len(level_db), SILENCE_DB)
    usual[audible] = grouped_quantile(level_db[audible], owner[audible], 0.5)
    above: Float64Array = np.where(audible, np.clip((level_db - usual) / LOUD_DB, 0, 1), 0.0)
    return above


def activity(
    channels: Mapping[str, Float64Array],
    available: Mapping[str, BoolArray],
    picture: Float64Array | None,
    owner: Int64Array,
) -> Float64Array:
    """Activity of each cell: the weighted mean of the known channels of its file, float64 [cells], 0..1.

    Args:
        channels: of `WEIGHTS`, float64 [cells], 0..1. available: channel -> bool [files].
        picture: quality of the picture, 0..1; NaN where there is none; None where it is not known.
    """
    total = np.zeros(len(owner))
    weight = np.zeros(len(owner))
    for name, values in channels.items():
        known = available[name][owner]
        total += WEIGHTS[name] * np.where(known, values, 0)
        weight += WEIGHTS[name] * known
    curve = total / np.maximum(weight, 1e-9)
    if picture is not None:
        factor = UNUSABLE_FACTOR + (1 - UNUSABLE_FACTOR) * np.clip(picture, 0, 1)
        curve *= np.where(np.isnan(picture), 1.0, factor)
    return curve
