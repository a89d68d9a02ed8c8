"""Shot boundary detection: a few numbers per frame, and decisions over the whole series of them.

Everything here is a pure function of its arguments. A decision at frame t looks at no frame beyond
t + `reach(step_seconds)`, so frames that are added later never change earlier decisions.
"""

from __future__ import annotations

import numpy as np

from framemill.ops.chunks import Float32Array, Int64Array, UInt8Array
from framemill.ops.shots.fades import find_fades, solid_frames
from framemill.ops.shots.features import (
    BLOCK,
    LUMA_CELLS,
    NEIGHBOURS,
    PLAIN,
    SAME_PICTURE,
    Boundary,
    Features,
    flash_length,
    half_lengths,
)

FLASH_RETURN = 0.5  # how near a picture that is back may be, in distances to the flash between
MIDDLE_ERROR = 0.25  # of the distance between the ends: how far the middle may lie from their mean
STRAIGHTNESS = 0.6  # distance between the ends over the length of the way: a pan wanders, a dissolve doesn't
LARGEST_STEP = 0.4  # of the distance between the ends: more in a single step is a cut
OFF_LINE = 0.25  # of the distance between the ends: how far a quarter may lie from the line between them
AT_REST = 0.5  # of the distance between the ends: how far the picture may move on in a half length outside
UNEVEN = (
    0.15  # of the way: how far the middle may lie from half of it; what drives into the picture is faster
)
DETAIL_DIP = 0.75  # detail in the middle over the mean of the ends; two unrelated pictures mixed give 0.5


def peak_ratio(change: Float32Array) -> Float32Array:
    """Ratio of each value to the second largest of its neighbours (one may be another cut), plus one level.

    As in adaptive detectors, which compare with the neighbours' mean (PySceneDetect's AdaptiveDetector);
    the second largest keeps its meaning when a cut or a flash lies close by.
    """
    around = np.lib.stride_tricks.sliding_window_view(np.pad(change, NEIGHBOURS), 2 * NEIGHBOURS + 1).copy()
    around[:, NEIGHBOURS] = 0
    ratio: Float32Array = change / (np.partition(around, -2, axis=1)[:, -2] + 1.0)
    return ratio


def _distance(a: UInt8Array, b: UInt8Array) -> Float32Array:
    # Sums of whole numbers, exact in any grouping.
    apart = np.maximum(a, b) - np.minimum(a, b)
    difference: Float32Array = apart.mean(axis=-1, dtype=np.float32)
    return difference


def find_boundaries(
    features: Features, ratio: float, floor: float, dissolve_floor: float, step_seconds: float
) -> list[Boundary]:
    """All transitions of a gapless series in order of position."""
    steps = cell_steps(features.thumbs)
    cuts, spikes = find_cuts(features, steps, ratio, floor, step_seconds)
    fades = find_fades(features, spikes, step_seconds)
    cuts = [cut for cut in cuts if cut.position not in fades.steps]
    dissolves = find_dissolves(features, steps, dissolve_floor, step_seconds)
    dissolves = [dissolve for dissolve in dissolves if not fades.inside[dissolve.position]]
    return sorted(cuts + fades.boundaries + dissolves, key=lambda b: b.position)


def cell_steps(thumbs: UInt8Array) -> Float32Array:
    """Mean distance of each frame's cells to those of the frame before, in levels; 0 for the first."""
    steps = np.zeros(len(thumbs), np.float32)
    for start in range(1, len(thumbs), BLOCK):
        end = min(start + BLOCK, len(thumbs))
        steps[start:end] = _distance(thumbs[start:end], thumbs[start - 1 : end - 1])
    return steps


def find_cuts(
    features: Features, steps: Float32Array, ratio: float, floor: float, step_seconds: float
) -> tuple[list[Boundary], Int64Array]:
    """Hard cuts: peaks of the change in samples and cells that are no flash; and positions of all peaks.

    Motion changes samples too, but hardly cells. True cuts had a geometric mean of both ratios of 2.6 and
    more, motion up to 1.6.
    """
    ratios = np.sqrt(peak_ratio(features.change) * peak_ratio(steps))
    cuts, spikes = [], np.flatnonzero((ratios >= ratio) & (features.change >= floor))
    for t in spikes.tolist():
        if not _is_flash(features.thumbs, t, flash_length(step_seconds)):
            cuts.append(Boundary(t, "cut", float(ratios[t])))
    return cuts, spikes


def _is_flash(thumbs: UInt8Array, t: int, longest: int) -> bool:
    """Whether what changes at t is undone, or undoes a change, within `longest` frames."""
    first = max(0, t - 1 - longest)
    near = thumbs[first : t + 1 + longest].astype(np.float32)
    at = t - first
    jump = near[at] - near[at - 1]
    limit = FLASH_RETURN * np.abs(jump).sum()
    back = np.abs(near[at + 1 :] - near[at - 1]).sum(axis=1) <= limit
    came = np.abs(near[: at - 1] - near[at]).sum(axis=1) <= limit
    against = np.diff(near, axis=0) @ jump <= -FLASH_RETURN * (jump @ jump)
    return bool(back.any() or came.any() or against.any())


def find_dissolves(
    features: Features, steps: Float32Array, floor: float, step_seconds: float
) -> list[Boundary]:
    """Dissolves: the cells move in a straight line from one picture to another while detail dips.

    Mixing (1 - a) A + a B moves every cell along the line from A to B at the same pace, and the variance of
    a mix of unrelated pictures follows a parabola with its bottom in the middle (Alattar 1993,
    "Detecting and compressing dissolve regions in video sequences"). Pans and objects that pass do
    neither; a change of light keeps the picture, so that the ends correlate.
    """
    n = len(features)
    best = np.zeros(n, np.float32)
    width = np.zeros(n, np.int64)
    way = np.cumsum(steps, dtype=np.float64)
    for half in half_lengths(step_seconds):
        for start in range(half, n - half, BLOCK):
            centre = np.arange(start, min(start + BLOCK, n - half))
            # The distance of the ends is at most the length of the way: this rules out most frames.
            centre = centre[way[centre + half] - way[centre - half] >= floor]
            if len(centre):
                strength = _dissolve_strength(features, steps, centre, half, floor)
                better = strength > best[centre] * 1.1
                best[centre[better]], width[centre[better]] = strength[better], half
    found = []
    for t in np.flatnonzero(best > 0):
        half = int(width[t])
        if best[t] < best[max(0, t - half) : t + half + 1].max():
            continue
        run = features.thumbs[t - half : t + half + 1].astype(np.float32)
        line = run[-1] - run[0]
        progress = (run - run[0]) @ line / (line @ line)
        found.append(Boundary(int(t) - half + int(np.argmax(progress >= 0.5)), "dissolve", float(best[t])))
    return found


def _dissolve_strength(
    features: Features, steps: Float32Array, centre: Int64Array, half: int, floor: float
) -> Float32Array:
    """Distance of the ends around each centre less the error in the middle; 0 where there is no dissolve."""
    strength = np.zeros(len(centre), np.float32)
    inside = np.lib.stride_tricks.sliding_window_view(steps, 2 * half)[centre - half + 1]
    rows = np.arange(len(centre))

    def at(offset: int) -> Float32Array:
        place = (centre[rows] + offset).clip(0, len(features) - 1)
        cells: Float32Array = features.thumbs[place].astype(np.float32)
        return cells

    apart = np.abs(at(half) - at(-half)).mean(axis=1)
    good = (apart >= floor) & (inside.max(axis=1) <= LARGEST_STEP * apart)
    rows = np.flatnonzero(good & (apart >= STRAIGHTNESS * inside.sum(axis=1)))
    if not len(rows):
        return strength
    a, middle, b, apart = at(-half), at(0), at(half), apart[rows]
    error = np.abs(middle - (a + b) / 2).mean(axis=1)
    detail = features.detail[centre[rows][:, None] + (-half, 0, half)]
    good = (error <= MIDDLE_ERROR * apart) & (2 * detail[:, 1] <= DETAIL_DIP * (detail[:, 0] + detail[:, 2]))
    luma = [m - m.mean(axis=1, keepdims=True) for m in (a[:, : LUMA_CELLS**2], b[:, : LUMA_CELLS**2])]
    spread = [np.sqrt((m**2).mean(axis=1)) for m in luma]
    good &= (luma[0] * luma[1]).mean(axis=1) <= SAME_PICTURE * spread[0] * spread[1]
    good &= np.minimum(*spread) >= PLAIN
    good &= np.abs(at(-2 * half) - a).mean(axis=1) <= AT_REST * apart
    good &= np.abs(at(2 * half) - b).mean(axis=1) <= AT_REST * apart
    line = b - a
    for inner in (-(half // 2), 0, (half + 1) // 2):
        gone = at(inner) - a
        share = np.clip((gone * line).sum(axis=1) / ((line * line).sum(axis=1) + 1e-6), 0, 1)
        good &= np.abs(gone - share[:, None] * line).mean(axis=1) <= OFF_LINE * apart
        if inner == 0:
            good &= np.abs(share - 0.5) <= UNEVEN
    for row in np.flatnonzero(good).tolist():
        t = int(centre[rows[row]])
        near = features.thumbs[max(t - 2 * half, 0) : t + 2 * half + 1]
        if not solid_frames(near).any():
            strength[rows[row]] = apart[row] - error[row]
    return strength
