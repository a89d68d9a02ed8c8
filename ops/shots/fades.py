"""Fades: one picture goes into black or white, and another comes out of it.

The threshold method (Lienhart 1999, "Comparison of automatic shot boundary detection algorithms") looks for
frames of one colour. A quick fade has none: four frames of fall and four of rise leave a fifth of the picture
at the darkest one. So frames count as solid, too, that are nearly so beside the pictures around them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from framemill.ops.chunks import BoolArray, Float32Array, Int64Array, UInt8Array
from framemill.ops.shots.features import (
    BLOCK,
    LUMA_CELLS,
    PLAIN,
    SAME_PICTURE,
    Boundary,
    Features,
    flash_length,
    half_lengths,
)

BLACK, WHITE = 16.0, 235.0  # luma of both in video; full-range files go beyond
DARK, BRIGHT, FLAT = 34.0, 215.0, 9.0  # a solid frame: mean luma below or above, deviation of cells below
SOLID_DRIFT = 1.0  # luma levels by which a held black may wander
NEARLY = 0.3  # of the pictures around: what distance to the colour and contrast a nearly solid frame has left
SUDDEN = 0.6  # of a whole rise or fall: more in a single step is a cut; half is a fade of two frames
PAUSE = 2  # frames that a rise or fall may stand still: encoders skip faint changes
GROWTH = 0.01  # of the way so far: less in a step is standing still
LEAST_DEPTH = 6.0  # luma levels that a picture must rise out of the colour


@dataclass(frozen=True, slots=True)
class Slope:
    """How a picture comes out of a solid colour, or goes into it, seen from the colour.

    Attributes:
        top: position of the frame where the picture is back.
        depth: luma levels from the colour to there, root mean square over the cells.
        step: largest step between two frames, as part of the depth.
    """

    top: int
    depth: float
    step: float

    @property
    def is_gradual(self) -> bool:
        return self.depth >= LEAST_DEPTH and self.step <= SUDDEN


@dataclass(frozen=True, slots=True)
class Fades:
    """What fades explain.

    Attributes:
        boundaries: the fades. steps: positions of sudden steps that belong to fades, or to pictures that go
            dark for a moment and come back, and are no cuts.
        inside: which frames lie on a gradual way into or out of a colour, bool [n]: no dissolve is there.
    """

    boundaries: list[Boundary]
    steps: set[int]
    inside: BoolArray


def find_fades(features: Features, spikes: Int64Array, step_seconds: float) -> Fades:
    """Fades out of and into black or white; each begins with the rise out of the colour.

    The rise is gradual. The fall is gradual, too, or the colour is not held longer than a flash lasts, as in
    ffmpeg's `fadeblack`, which falls in a fifth of its time. A cut to black that is held, with a rise behind
    it, is one change of shot, which the cut already represents; a picture that goes dark for a moment and
    comes back begins none. White is a picture of its own (a title card) unless something with detail lies
    before or after it.

    Args:
        spikes: positions of all sudden changes, flashes among them.
    """
    short, near = flash_length(step_seconds), max(half_lengths(step_seconds))
    n = len(features)
    cells = features.thumbs[:, : LUMA_CELLS**2]
    mean, spread = _level_and_contrast(cells)
    found = Fades([], set(), np.zeros(n, np.bool_))
    sudden = set(spikes.tolist())
    for solid, colour in (
        ((spread < FLAT) & (mean < DARK), BLACK),
        ((spread < PLAIN) & (mean > BRIGHT), WHITE),
    ):
        beyond = np.maximum(mean - BLACK, 0) if colour == BLACK else np.maximum(WHITE - mean, 0)
        away: Float32Array = np.hypot(beyond, spread)
        for first, end, is_run in _solids(solid, away, short):
            purest = np.flatnonzero(away[first:end] <= away[first:end].min() + SOLID_DRIFT) + first
            fall = _way_out(away, (int(purest[0]), first), -1, 2 * near, sudden)
            rise = _way_out(away, (int(purest[-1]), end - 1), 1, 2 * near, sudden)
            if colour == WHITE and max(spread[fall.top], spread[rise.top]) < PLAIN:
                continue
            if not is_run and not _is_nearly_solid(cells, away, spread, fall, rise, first):
                continue
            if fall.is_gradual:
                found.inside[fall.top : first + 1] = True
            if rise.is_gradual:
                found.inside[end - 1 : rise.top + 1] = True
            is_brief = purest[-1] - purest[0] < short
            if not rise.is_gradual or fall.depth < LEAST_DEPTH or not (fall.is_gradual or is_brief):
                continue
            found.steps.update(sudden & set(range(max(first - short, 0), end + short)))
            is_doubtful = is_brief and (not is_run or first - fall.top <= short)
            if is_doubtful and _same_picture(cells[fall.top], cells[rise.top]):
                continue
            start = max(int(purest[-1]), end - near)
            found.boundaries.append(Boundary(start, "fade", min(fall.depth, rise.depth)))
    return found


def solid_frames(thumbs: UInt8Array) -> BoolArray:
    """Which frames are black (small text allowed) or white all over, bool [n]."""
    mean, spread = _level_and_contrast(thumbs[:, : LUMA_CELLS**2])
    found: BoolArray = ((spread < FLAT) & (mean < DARK)) | ((spread < PLAIN) & (mean > BRIGHT))
    return found


def _level_and_contrast(cells: UInt8Array) -> tuple[Float32Array, Float32Array]:
    """Mean and deviation of the luma cells of each frame, float32 [n] each."""
    mean, spread = np.zeros(len(cells), np.float32), np.zeros(len(cells), np.float32)
    for start in range(0, len(cells), BLOCK):
        luma = cells[start : start + BLOCK].astype(np.float32)
        mean[start : start + BLOCK], spread[start : start + BLOCK] = luma.mean(axis=1), luma.std(axis=1)
    return mean, spread


def _solids(solid: BoolArray, away: Float32Array, short: int) -> Iterator[tuple[int, int, bool]]:
    """Runs of solid frames, half-open, and single frames nearest to the colour among those around them.

    Yields whether it is a run, too. Those at either end of the series are left out: nothing lies beyond.
    """
    edges = np.flatnonzero(np.diff(np.r_[False, solid, False]))
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if first > 0 and end < len(solid):
            yield first, end, True
    padded = np.pad(away, short, constant_values=np.inf)
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * short + 1).min(axis=1)
    for at in np.flatnonzero(away == lowest)[1:].tolist():
        is_first = away[at - 1] != away[at]  # of equals
        if is_first and at < len(away) - 1 and not solid[max(at - short, 0) : at + short + 1].any():
            yield at, at + 1, False


def _is_nearly_solid(
    cells: UInt8Array, away: Float32Array, spread: Float32Array, fall: Slope, rise: Slope, at: int
) -> bool:
    """Whether in a frame one picture has all but gone into the colour, and another begins to come out."""
    ends = [fall.top, rise.top]
    # Of the two pictures, the one with less contrast says nothing about how much the other has lost.
    if away[at] > NEARLY * away[ends].min() or spread[at] > NEARLY * spread[ends].max():
        return False
    return _keeps_picture(cells, away, fall, at) and _keeps_picture(cells, away, rise, at)


def _way_out(
    away: Float32Array, starts: tuple[int, int], direction: int, longest: int, sudden: set[int]
) -> Slope:
    """Follows the distance to the colour while it grows: from the purest frame, or the last solid one.

    The last solid one counts where the colour is not left in one go: letters come and go on black.
    """
    way = _slope(away, starts[0], direction, longest, sudden)
    inside = (starts[1] - way.top) * direction >= 0
    return _slope(away, starts[1], direction, longest, sudden) if inside else way


def _slope(away: Float32Array, start: int, direction: int, longest: int, sudden: set[int]) -> Slope:
    """Follows the distance from frame `start` on while it grows, at most `longest` frames.

    A rise ends before a sudden step, which is a cut out of the new picture; one right out of the colour is
    its own.
    """
    top, largest = start, 0.0
    at = start
    while abs(at - start) < longest and 0 <= at + direction < len(away):
        at += direction
        if direction > 0 and at in sudden and at > start + PAUSE:
            break
        grown = float(away[at] - away[top])
        if grown > GROWTH * float(away[top] - away[start]):
            largest = max(largest, float(away[at] - away[at - direction]))
            top = at
        elif abs(at - top) > PAUSE:
            break
    depth = float(away[top] - away[start])
    return Slope(top, depth, largest / depth if depth > 0 else 1.0)


def _keeps_picture(cells: UInt8Array, away: Float32Array, slope: Slope, start: int) -> bool:
    """Whether the picture is the same half-way to the colour: a pan over a bright wall shows others."""
    low, high = min(start, slope.top), max(start, slope.top) + 1
    middle = low + int(np.abs(away[low:high] - (away[start] + away[slope.top]) / 2).argmin())
    return _same_picture(cells[middle], cells[slope.top])


def _same_picture(before: UInt8Array, after: UInt8Array) -> bool:
    """Whether only the light changed between two frames, by their luma cells."""
    a, b = before.astype(np.float64), after.astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    return bool((a * b).sum() > SAME_PICTURE * np.sqrt((a**2).sum() * (b**2).sum()))
