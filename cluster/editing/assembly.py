"""Assembly of a montage: where to cut, and which moment of which file each clip shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framemill.cluster.editing.diversity import UInt64Array, hash_likeness
from framemill.ops.chunks import BoolArray, Float32Array, Float64Array, Int64Array

# Penalty on a score for full likeness to a clip shown before, and for showing a file again right after; the
# latter falls with every clip between.
LIKENESS_WEIGHT = 0.6
RECENCY_WEIGHT = 0.4
RECENT_CLIPS = 4
# Clips of one file are at least so far apart.
GAP_SECONDS = 1.0
LEAST_CLIP_SECONDS = 0.5
# Candidates evaluated first; more only where those left out could be better.
FIRST_EVALUATED = 2048


@dataclass(frozen=True, slots=True)
class Moments:
    """Candidates for clips.

    Attributes:
        file: int64 [n]. seconds: float64 [n], the instant at the centre of interest.
        low_seconds, high_seconds: float64 [n], what may be shown around it: within one shot.
        score: float64 [n], 0..1. phash: uint64 [n], of the picture.
    """

    file: Int64Array
    seconds: Float64Array
    low_seconds: Float64Array
    high_seconds: Float64Array
    score: Float64Array
    phash: UInt64Array

    def __len__(self) -> int:
        return len(self.file)

    def take(self, rows: Int64Array | BoolArray) -> Moments:
        return Moments(*(getattr(self, name)[rows] for name in Moments.__slots__))


@dataclass(frozen=True, slots=True)
class Cut:
    """One clip of a montage, in frames of the timeline's rate.

    Attributes:
        moment: row of the candidate. start_frame: first frame in its file. num_frames: length, >= 1.
    """

    moment: int
    start_frame: int
    num_frames: int


def cut_grid(beats: Float64Array, seconds: float) -> Float64Array:
    """Where cuts may lie: the beats inside, float64 [n] ascending.

    Where the music ends early the beats go on at its pace; with fewer than two there are none.
    """
    beats = np.unique(beats[(beats >= 0) & np.isfinite(beats)])
    if len(beats) < 2:
        return np.zeros(0)
    period = float(np.median(np.diff(beats)))
    further = np.arange(beats[-1] + period, seconds, period) if period > 0 else np.zeros(0)
    grid = np.concatenate([beats, further])
    return grid[(grid >= LEAST_CLIP_SECONDS) & (grid <= seconds - LEAST_CLIP_SECONDS)]


def plan_cuts(grid: Float64Array, strength: Float64Array, seconds: float, clip_seconds: float) -> Int64Array:
    """Which of the grid's places to cut at: every beat, or every second, fourth, eighth or sixteenth one.

    Of the possible phases, the one with the strongest beats is taken.

    Args:
        grid: of `cut_grid`. strength: float64, of the first beats of the grid; further ones have none.
        clip_seconds: the length that clips should have, > 0.

    Returns:
        int64 positions in the grid, at least half a usual clip and `LEAST_CLIP_SECONDS` apart, and as far
        from both ends.
    """
    if len(grid) < 2:
        return np.arange(len(grid))
    period = float(np.median(np.diff(grid)))
    every = min((1, 2, 4, 8, 16), key=lambda count: abs(np.log(count * period / clip_seconds)))
    known = strength[: len(grid)]
    phases = range(min(every, len(grid)))
    phase = max(phases, key=lambda first: float(known[first::every].mean()) if len(known) > first else 0.0)
    shortest = max(LEAST_CLIP_SECONDS, every * period / 2)  # what is left at the two ends joins its neighbour
    kept: list[int] = []
    for place in range(phase, len(grid), every):
        before = grid[kept[-1]] if kept else 0.0
        if grid[place] - before >= shortest and seconds - grid[place] >= shortest:
            kept.append(place)
    return np.array(kept, np.int64)


def assemble(
    moments: Moments, grid: Sequence[int], cuts: Sequence[int], num_frames: int, fps: int, per_file: int
) -> list[Cut]:
    """Fills a timeline from its start with the best moments; the same arguments give the same clips.

    For each clip the candidate with the highest score, less its likeness to what was shown, less how lately
    its file was shown. Where no candidate is long enough for a clip, it is divided at the places of the grid
    inside it; where that does not help, the timeline ends there.

    Args:
        grid: frames at which a cut may lie, ascending. cuts: those at which one is wanted.
        num_frames: length of the timeline. fps: its frames a second.
        per_file: most clips out of one file, >= 1.
    """
    order = np.argsort(-moments.score, kind="stable")
    pool = _CandidatePool(moments.take(order), fps, per_file)
    ends = [*(cut for cut in cuts if 0 < cut < num_frames), num_frames]
    clips: list[Cut] = []
    at = 0
    waiting = ends[::-1]
    while waiting:
        end = waiting.pop()
        best = pool.best(end - at)
        if best < 0:
            inside = [place for place in grid if at < place < end]
            if not inside:
                break
            middle = min(inside, key=lambda place: (abs(place - (at + end) / 2), place))
            waiting += [end, middle]
            continue
        start = pool.use(best, end - at)
        clips.append(Cut(int(order[best]), start, end - at))
        at = end
    return clips


class _CandidatePool:
    """Candidates by descending score, of which only the first are evaluated.

    Penalties never raise a score: once the best of those evaluated is no worse than the score of the next
    one, no other can be better.
    """

    def __init__(self, moments: Moments, fps: int, per_file: int) -> None:
        self._m = moments
        self._fps, self._per_file = fps, per_file
        # Whole frames inside what may be shown.
        self._low = np.ceil(moments.low_seconds * fps - 1e-6).astype(np.int64)
        self._high = np.floor(moments.high_seconds * fps + 1e-6).astype(np.int64)
        self._centre = np.round(moments.seconds * fps).astype(np.int64)
        self._closest = np.zeros(0, np.float32)
        self._used: list[tuple[int, int, int]] = []  # row, first frame, end
        self._counts: Counter[int] = Counter()

    def best(self, length: int) -> int:
        """The row of the best candidate for a clip of so many frames, the first of equals; -1 without one."""
        num_evaluated = max(len(self._closest), min(FIRST_EVALUATED, len(self._m)))
        while True:
            self._extend(num_evaluated)
            values = self._values(length)
            row = int(np.argmax(values)) if len(values) else -1
            found = row >= 0 and values[row] > -np.inf
            if num_evaluated >= len(self._m) or (found and values[row] >= self._m.score[num_evaluated]):
                return row if found else -1
            num_evaluated = min(4 * num_evaluated, len(self._m))

    def use(self, row: int, length: int) -> int:
        """Takes a candidate; returns the first frame to show."""
        start = int(self._starts(length)[row])
        self._used.append((row, start, start + length))
        self._counts[int(self._m.file[row])] += 1
        likeness = hash_likeness(self._m.phash[: len(self._closest)], self._m.phash[row])
        np.maximum(self._closest, likeness, out=self._closest)
        return start

    def _extend(self, num_evaluated: int) -> None:
        first = len(self._closest)
        if num_evaluated <= first:
            return
        fresh = np.zeros(num_evaluated - first, np.float32)
        hashes = self._m.phash[first:num_evaluated]
        for row, _, _ in self._used:
            np.maximum(fresh, hash_likeness(hashes, self._m.phash[row]), out=fresh)
        self._closest = np.concatenate([self._closest, fresh])

    def _starts(self, length: int) -> Int64Array:
        """First frame of each clip: the instant in its middle, as far as the shot allows."""
        evaluated = slice(0, len(self._closest))
        wanted = self._centre[evaluated] - length // 2
        starts: Int64Array = np.maximum(
            np.minimum(wanted, self._high[evaluated] - length), self._low[evaluated]
        )
        return starts

    def _values(self, length: int) -> Float64Array:
        num_evaluated = len(self._closest)
        file = self._m.file[:num_evaluated]
        likeness: Float32Array = self._closest
        values = self._m.score[:num_evaluated] - LIKENESS_WEIGHT * likeness.astype(np.float64)
        fits = self._high[:num_evaluated] - self._low[:num_evaluated] >= length
        starts = self._starts(length)
        gap = round(GAP_SECONDS * self._fps)
        for age, (row, first, end) in enumerate(reversed(self._used)):
            used_file = int(self._m.file[row])
            same = np.flatnonzero(file == used_file)
            if age < RECENT_CLIPS:
                values[same] -= RECENCY_WEIGHT * (RECENT_CLIPS - age) / RECENT_CLIPS
            if self._counts[used_file] >= self._per_file:
                fits[same] = False
            else:
                apart = (starts[same] >= end + gap) | (starts[same] + length <= first - gap)
                fits[same] &= apart
        values[~fits] = -np.inf
        return values
