"""Frames of adaptive sampling: a budget spread over stretches by their importance. Pure functions."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framemill.ops.chunks import Float64Array, FrameIndex

# Seconds between the frames of each tier; the budget scales them all by one factor. Peaks are taken before
# that, one by one; intervals that differ more found fewer events at every budget (benchmarks/planted.py).
INTERVALS = {"critical": 0.7, "high": 0.8, "medium": 1.0, "low": 1.2, "minimal": 1.4}
FINEST_SECONDS = 0.2  # least distance: closer frames hardly differ
PEAK_SECONDS = 0.4  # peaks nearer than this are one
DENSE = ("critical", "high")
DEMOTED = "medium"
PER_SHOT = "one in each shot"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A row of the table `importance`, see there."""

    start_frame: int
    end_frame: int
    shot_index: int
    tier: str
    importance: float
    peak_frame: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a plan may cost.

    Attributes:
        budget: frames in all, >= 1; the floor may need more.
        max_segments: stretches of the tiers critical and high that are sampled densely, the best ones.
        max_segment_frames: frames within each of those.
        floor_seconds: at least one frame in each piece of this length.
    """

    budget: int
    max_segments: int
    max_segment_frames: int
    floor_seconds: float


@dataclass(frozen=True, slots=True)
class Pick:
    """A frame to process, with the tier it counts for and why it was taken."""

    frame_index: int
    tier: str
    reason: str
    is_floor: bool


def plan_frames(index: FrameIndex, stretches: Sequence[Stretch], limits: Limits) -> list[Pick]:
    """Frames in order of time.

    First the floor: in each shot, and in each piece of `floor_seconds`, the most important frame. Then the
    peak of each chosen segment, the best first. What is left of the budget goes, frame by frame, where the
    gap is largest when measured in the intervals of the tiers.

    Args:
        stretches: in order of time, covering all frames.
    """
    if not stretches:
        return []
    return _Planner(index, stretches, limits).plan()


class _Planner:
    def __init__(self, index: FrameIndex, stretches: Sequence[Stretch], limits: Limits) -> None:
        self.index = index
        self.limits = limits
        self.stretches = list(stretches)
        self.segments = _choose_segments(stretches, limits.max_segments)
        chosen = {i for segment in self.segments for i in segment}
        self.tiers = [
            DEMOTED if s.tier in DENSE and i not in chosen else s.tier for i, s in enumerate(stretches)
        ]
        counts = [s.end_frame - s.start_frame for s in stretches]
        self.stretch_of = np.repeat(np.arange(len(stretches)), counts)
        self.segment_of = {i: number for number, segment in enumerate(self.segments) for i in segment}
        self.used = [0] * len(self.segments)
        self.picks: dict[int, Pick] = {}

    def plan(self) -> list[Pick]:
        self._pick_floor()
        dense = [i for i, stretch in enumerate(self.stretches) if stretch.tier in DENSE]
        for i in sorted(dense, key=lambda i: (-self.stretches[i].importance, i)):
            if len(self.picks) < self.limits.budget:
                self._pick_apart(self.stretches[i].peak_frame)
        self._fill()
        return [self.picks[frame] for frame in sorted(self.picks)]

    def _pick(self, frame: int, floor: str = "") -> None:
        at = int(self.stretch_of[frame])
        if frame in self.picks:
            return
        if at in self.segment_of:
            self.used[self.segment_of[at]] += 1
        reason = self.stretches[at].reason
        self.picks[frame] = Pick(
            frame, self.tiers[at], f"{floor}: {reason}" if floor else reason, bool(floor)
        )

    def _pick_apart(self, frame: int) -> None:
        """Takes a frame unless one within `PEAK_SECONDS` is taken."""
        seconds = self.index.pts_seconds
        first, last = np.searchsorted(seconds, seconds[frame] + PEAK_SECONDS * np.array([-1.0, 1.0]))
        if not any(near in self.picks for near in range(first, last)):
            self._pick(frame)

    def _pick_floor(self) -> None:
        shots: dict[int, list[int]] = {}
        for i, stretch in enumerate(self.stretches):
            shots.setdefault(stretch.shot_index, []).append(i)
        for members in shots.values():
            first, last = self.stretches[members[0]].start_frame, self.stretches[members[-1]].end_frame
            self._pick(self._best_frame(first, last), PER_SHOT)
        seconds = self.index.pts_seconds
        every = self.limits.floor_seconds
        edges = np.searchsorted(seconds, np.arange(seconds[0], seconds[-1] + every, every) - 1e-6)
        edges = np.unique(np.append(edges, len(seconds)))
        taken = np.array(sorted(self.picks), np.int64)
        empty = np.diff(np.searchsorted(taken, edges)) == 0
        for first, last in zip(edges[:-1][empty].tolist(), edges[1:][empty].tolist(), strict=True):
            self._pick(self._best_frame(first, last), f"one in every {every:g} s")

    def _best_frame(self, first: int, last: int) -> int:
        """The peak of the most important stretch among the frames [first, last).

        Where no stretch is important, the key frame nearest to the middle, which is the cheapest to decode.
        """
        a, b = int(self.stretch_of[first]), int(self.stretch_of[last - 1])
        inside = [i for i in range(a, b + 1) if first <= self.stretches[i].peak_frame < last]
        dense = [i for i in inside if self.tiers[i] in (*DENSE, DEMOTED)]
        if dense:
            return self.stretches[max(dense, key=lambda i: (self.stretches[i].importance, -i))].peak_frame
        middle = (first + last - 1) // 2
        keys = first + np.flatnonzero(self.index.is_key[first:last])
        return int(keys[np.argmin(np.abs(keys - middle))]) if len(keys) else middle

    def _fill(self) -> None:
        """Adds frames where gaps are largest, evenly in each, until the budget is spent or no more fit."""
        elapsed = self._elapsed_intervals()
        num_before = -1
        while num_before < len(self.picks) < self.limits.budget:
            num_before = len(self.picks)
            fixed = sorted(self.picks)
            gaps = [_Gap(first, last) for first, last in itertools.pairwise([-1, *fixed, len(elapsed)])]
            waiting = [(-gap.spacing(elapsed), i) for i, gap in enumerate(gaps)]
            heapq.heapify(waiting)
            room = self.limits.budget - num_before
            while waiting and room:
                _, i = heapq.heappop(waiting)
                gaps[i].num += 1
                if gaps[i].num > gaps[i].most(self.index.pts_seconds):
                    gaps[i].num -= 1
                    continue
                room -= 1
                heapq.heappush(waiting, (-gaps[i].spacing(elapsed), i))
            for frame in [frame for gap in gaps for frame in gap.frames(elapsed)]:
                segment = self.segment_of.get(int(self.stretch_of[frame]), -1)
                if segment < 0 or self.used[segment] < self.limits.max_segment_frames:
                    self._pick(frame)

    def _elapsed_intervals(self) -> Float64Array:
        """Number of intervals of the tiers between the first frame and each frame, float64 [n]."""
        seconds = self.index.pts_seconds
        interval = np.array([INTERVALS[tier] for tier in self.tiers])[self.stretch_of]
        return np.append(0.0, np.cumsum(np.diff(seconds) / interval[:-1]))


@dataclass(slots=True)
class _Gap:
    """Between two picked frames; -1 and the number of frames stand for the file's ends.

    Attributes:
        num: frames to be put into it.
    """

    first: int
    last: int
    num: int = 0

    def spacing(self, elapsed: Float64Array) -> float:
        """Intervals between the frames in it, were there `num` of them; at an end half of one remains."""
        size = elapsed[min(self.last, len(elapsed) - 1)] - elapsed[max(self.first, 0)]
        return float(size) / (self.num + 1 - 0.5 * self._num_open(len(elapsed)))

    def most(self, seconds: Float64Array) -> int:
        """How many frames fit."""
        size = seconds[min(self.last, len(seconds) - 1)] - seconds[max(self.first, 0)]
        return int(size / FINEST_SECONDS + 1e-6) - 1 + self._num_open(len(seconds))

    def frames(self, elapsed: Float64Array) -> list[int]:
        """The frames in it, evenly spaced in intervals."""
        n = len(elapsed)
        start = elapsed[max(self.first, 0)]
        step = self.spacing(elapsed)
        at = start + step * (np.arange(self.num) + (1.0 if self.first >= 0 else 0.5))
        found = np.clip(np.searchsorted(elapsed, at), self.first + 1, self.last - 1)
        return [int(frame) for frame in np.unique(found) if self.first < frame < min(self.last, n)]

    def _num_open(self, num_frames: int) -> int:
        return (self.first < 0) + (self.last >= num_frames)


def _choose_segments(stretches: Sequence[Stretch], most: int) -> list[list[int]]:
    """The best runs of critical and high stretches, each as positions, the best first."""
    runs: list[list[int]] = []
    for i, stretch in enumerate(stretches):
        if stretch.tier in DENSE:
            if runs and runs[-1][-1] == i - 1:
                runs[-1].append(i)
            else:
                runs.append([i])
    runs.sort(key=lambda run: -max(stretches[i].importance for i in run))
    return runs[:most]
