"""How much happens when: curves over the time of many files at once, from intervals and instants.

Time is cut into cells of `CELL_SECONDS`; the cells of all files lie one after another in one array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from framemill.cluster.editing.frame_scores import grouped_quantile
from framemill.ops.chunks import BoolArray, Float64Array, Int64Array

CELL_SECONDS = 0.5
# What each kind of event counts. A picture alone, however good, is no event.
WEIGHTS: Mapping[str, float] = {
    "motion": 1.0,
    "loud": 1.0,
    "faces": 1.0,
    "speech": 0.8,
    "sounds": 0.8,
    "things": 0.6,
    "text": 0.4,
}
# Of what happens where the picture is black or spoilt, this much counts.
UNSEEN_SHARE = 0.35
SILENCE_DB = -50.0
LOUD_DB = 12.0  # above what is usual in the file: fully loud


@dataclass(frozen=True, slots=True)
class Clocks:
    """The cells of some files.

    Attributes:
        seconds: float64 [files], length of each. starts: int64 [files + 1], first cell of each, and the end.
    """

    seconds: Float64Array
    starts: Int64Array

    @classmethod
    def of(cls, seconds: Float64Array) -> Clocks:
        """Cells for files of these lengths, at least one each."""
        counts = np.maximum(np.ceil(seconds / CELL_SECONDS), 1).astype(np.int64)
        return cls(seconds, np.concatenate([[0], np.cumsum(counts)]))

    @property
    def num_cells(self) -> int:
        return int(self.starts[-1])

    def owner(self) -> Int64Array:
        """The file of each cell."""
        return np.repeat(np.arange(len(self.seconds)), np.diff(self.starts))

    def place(self, file: Int64Array, seconds: Float64Array) -> Float64Array:
        """Instants as positions in the array of cells, within their files."""
        length = np.diff(self.starts)[file]
        place: Float64Array = self.starts[file].astype(np.float64) + np.clip(
            seconds / CELL_SECONDS, 0, length
        )
        return place

    def paint(
        self, file: Int64Array, start: Float64Array, end: Float64Array, value: Float64Array
    ) -> Float64Array:
        """Sum over intervals of value times the share of each cell that they cover, float64 [cells]."""
        slope = np.zeros(self.num_cells + 2)
        for seconds, sign in ((start, 1.0), (np.maximum(end, start), -1.0)):
            place = self.place(file, seconds)
            cell = np.floor(place).astype(np.int64)
            late = place - cell
            np.add.at(slope, cell, sign * value * (1 - late))
            np.add.at(slope, cell + 1, sign * value * late)
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
        return self.paint(file, seconds, end, value)

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
    heard = level_db > SILENCE_DB
    usual = np.full(len(level_db), SILENCE_DB)
    usual[heard] = grouped_quantile(level_db[heard], owner[heard], 0.5)
    above: Float64Array = np.where(heard, np.clip((level_db - usual) / LOUD_DB, 0, 1), 0.0)
    return above


def attention(
    channels: Mapping[str, Float64Array],
    available: Mapping[str, BoolArray],
    picture: Float64Array | None,
    owner: Int64Array,
) -> Float64Array:
    """How much happens in each cell: the weighted mean of what is known of its file, float64 [cells], 0..1.

    Args:
        channels: of `WEIGHTS`, float64 [cells], 0..1. available: channel -> bool [files].
        picture: how good the picture is, 0..1; NaN where there is none; None where nothing is known.
    """
    total = np.zeros(len(owner))
    weight = np.zeros(len(owner))
    for name, values in channels.items():
        known = available[name][owner]
        total += WEIGHTS[name] * np.where(known, values, 0)
        weight += WEIGHTS[name] * known
    curve = total / np.maximum(weight, 1e-9)
    if picture is not None:
        seen = UNSEEN_SHARE + (1 - UNSEEN_SHARE) * np.clip(picture, 0, 1)
        curve *= np.where(np.isnan(picture), 1.0, seen)
    return curve
