"""Candidate segments of files, at shot boundaries where those are known, and the choice of the best ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from framemill.cluster.editing.activity import CELL_SECONDS, TimeCells
from framemill.ops.chunks import BoolArray, Float64Array, Int64Array

# Shots joined to one segment at most.
MAX_SHOTS = 12
# A segment of this length or more loses nothing; shorter ones up to a fifth.
FULL_SECONDS = 5.0
# Between two segments out of one shot: else they would be one segment.
GAP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Segments:
    """Segments of many files.

    Attributes:
        file: int64 [n]. start_seconds, end_seconds: float64 [n].
        is_inside: bool [n], whether it is cut out of a shot, so that its boundaries lie on no cut.
    """

    file: Int64Array
    start_seconds: Float64Array
    end_seconds: Float64Array
    is_inside: BoolArray

    def __len__(self) -> int:
        return len(self.file)

    def take(self, rows: Int64Array) -> Segments:
        return Segments(
            self.file[rows], self.start_seconds[rows], self.end_seconds[rows], self.is_inside[rows]
        )


def candidate_segments(
    file: Int64Array, start: Float64Array, end: Float64Array, least: float, most: float
) -> Segments:
    """Segments of `least` to `most` seconds: whole shots and runs of them, and windows in longer ones.

    Files that are shorter give one segment, the whole.

    Args:
        file, start, end: of shots, sorted; a file without known shots has one.
    """
    parts: list[tuple[Int64Array, Float64Array, Float64Array, bool]] = []
    first = np.flatnonzero(np.append(True, file[1:] != file[:-1])) if len(file) else np.zeros(0, np.int64)
    last = np.append(first[1:], len(file)) - 1
    whole = end[last] - start[first] < least
    parts.append((file[first[whole]], start[first[whole]], end[last[whole]], False))
    for count in range(1, MAX_SHOTS + 1):
        at = np.arange(len(file) - count + 1)
        until = at + count - 1
        length = end[until] - start[at]
        fits = (file[at] == file[until]) & (length >= least) & (length <= most)
        parts.append((file[at[fits]], start[at[fits]], end[until[fits]], False))
        if not ((file[at] == file[until]) & (length <= most)).any():
            break
    long_ = np.flatnonzero(end - start > most)
    for window in sorted({least, (least + most) / 2, most}):
        counts = np.floor((end[long_] - start[long_] - window) / CELL_SECONDS).astype(np.int64) + 1
        of = np.repeat(long_, counts)
        step = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
        begin = start[of] + step * CELL_SECONDS
        parts.append((file[of], begin, begin + window, True))
    return Segments(
        np.concatenate([part[0] for part in parts]).astype(np.int64),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([np.full(len(part[0]), part[3]) for part in parts]),
    )


def segment_means(time_cells: TimeCells, curve: Float64Array, segments: Segments) -> Float64Array:
    """Mean of a curve over each segment, float64 [n]."""
    total = np.concatenate([[0.0], np.cumsum(curve)])

    def until(seconds: Float64Array) -> Float64Array:
        place = time_cells.place(segments.file, seconds)
        cell = np.minimum(np.floor(place).astype(np.int64), len(curve) - 1)
        reached: Float64Array = total[cell] + (place - cell) * curve[cell]
        return reached

    cells = np.maximum((segments.end_seconds - segments.start_seconds) / CELL_SECONDS, 1e-9)
    mean: Float64Array = (until(segments.end_seconds) - until(segments.start_seconds)) / cells
    return np.maximum(mean, 0)


def choose_segments(
    segments: Segments, scores: Float64Array, seconds: Float64Array, count: int, least_score: float
) -> Int64Array:
    """Rows of up to `count` segments a file, the best first, that do not overlap: int64 [m] by file and rank.

    Together they take at most half of a file, unless one alone is longer.

    Args:
        scores: float64 [n], 0..1. seconds: float64 [files], lengths.
        least_score: worse ones are left out, and those below 0.4 of the best of their file.
    """
    weighted = scores * (
        0.8 + 0.2 * np.minimum(1, (segments.end_seconds - segments.start_seconds) / FULL_SECONDS)
    )
    order = np.lexsort((segments.end_seconds, segments.start_seconds, -weighted, segments.file))
    sorted_ = segments.take(order)
    starts = np.searchsorted(sorted_.file, np.arange(len(seconds) + 1))
    alive = scores[order] >= least_score
    room = seconds / 2
    length = sorted_.end_seconds - sorted_.start_seconds
    gap = np.where(sorted_.is_inside, GAP_SECONDS, 0.0)
    floor = np.zeros(len(seconds))
    chosen: list[Int64Array] = []
    for turn in range(count):
        if turn:
            alive &= (length <= room[sorted_.file]) & (scores[order] >= floor[sorted_.file])
        rows = np.flatnonzero(alive)
        if not len(rows):
            break
        # The rows of a file are in descending order: its first one alive is the best.
        first = rows[np.searchsorted(rows, starts[:-1]).clip(max=len(rows) - 1)]
        first = first[alive[first] & (sorted_.file[first] == np.arange(len(seconds)))]
        files = sorted_.file[first]
        chosen.append(first)
        room[files] -= length[first]
        if not turn:
            floor[files] = 0.4 * scores[order][first]
        best = np.full(len(seconds), -1, np.int64)
        best[files] = first
        against = best[sorted_.file]
        has = against >= 0
        apart = np.maximum(gap, gap[against])
        overlaps = (sorted_.start_seconds < sorted_.end_seconds[against] + apart) & (
            sorted_.end_seconds > sorted_.start_seconds[against] - apart
        )
        alive &= ~(has & overlaps) & has  # a file without a choice in this turn has none later
    rows = np.concatenate([*chosen, np.zeros(0, np.int64)])
    turns = np.repeat(np.arange(len(chosen)), [len(c) for c in chosen])
    ranked: Int64Array = order[rows[np.lexsort((turns, sorted_.file[rows]))]]
    return ranked
