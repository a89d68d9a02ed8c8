"""Shot boundary detection: a few numbers per frame, and decisions over the whole series of them.

Everything here is a pure function of its arguments. A decision at frame t looks at no frame beyond
t + `reach(step_seconds)`, so frames that are added later never change earlier decisions.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import BoolArray, Float32Array, Int64Array, UInt8Array

Planes = tuple[UInt8Array, UInt8Array, UInt8Array]

LUMA_CELLS = 8  # thumbnails of 8 x 8 luma and 4 x 4 chroma cells: motion within a cell (1/8 of the
CHROMA_CELLS = 4  # picture) leaves them nearly still, a new picture does not
THUMB_BYTES = LUMA_CELLS**2 + 2 * CHROMA_CELLS**2

# All constants below were set on the clips of benchmarks/scene_accuracy.py; the distance between true and
# false ones found there is given.
NEIGHBOURS = 6  # frames on either side that a cut must stand out from
FLASH_SECONDS = 0.16  # a picture that returns after this long was a flash: x264 hides as much (3 B-frames)
FLASH_RETURN = 0.5  # ... where "back" is half the distance to the flash, or less
DARK, BRIGHT, FLAT = 34.0, 215.0, 9.0  # a solid frame: mean luma below or above, deviation of cells below
SOLID_DRIFT = 1.0  # luma levels by which a held black may wander
GRADUAL_SECONDS = (0.16, 0.32, 0.64, 1.12)  # half lengths of windows in which a dissolve is looked for
MIDDLE_ERROR = 0.25  # of the distance between the ends: how far the middle may lie from their mean
STRAIGHTNESS = 0.6  # distance between the ends over the length of the way: a pan wanders, a dissolve doesn't
LARGEST_STEP = 0.4  # of the distance between the ends: more in a single step is a cut
OFF_LINE = 0.25  # of the distance between the ends: how far a quarter may lie from the line between them
PLAIN = 3.0  # deviation of luma cells below which a frame has no picture to dissolve from or into
AT_REST = 0.6  # of the distance between the ends: how far the picture may move on in a half length outside
DETAIL_DIP = 0.75  # detail in the middle over the mean of the ends; two unrelated pictures mixed give 0.5
SAME_PICTURE = 0.8  # correlation of the ends: above it only the light changed
BLOCK = 4096  # frames handled at once, which bounds memory


@dataclass(frozen=True, slots=True)
class Features:
    """What is kept of n frames in presentation order.

    Attributes:
        frame_index: int64 [n], ascending. pts_seconds: float64 [n].
        change: float32 [n], distance to the frame before in levels (0..510); the first is 0.
        detail: float32 [n], mean squared difference of neighbouring luma samples.
        thumbs: uint8 [n, THUMB_BYTES], mean luma and chroma of the cells.
    """

    frame_index: Int64Array
    pts_seconds: npt.NDArray[np.float64]
    change: Float32Array
    detail: Float32Array
    thumbs: UInt8Array

    def __len__(self) -> int:
        return len(self.frame_index)

    def part(self, start: int, end: int) -> Features:
        """Positions [start, end) as a series of its own."""
        change = self.change[start:end].copy()
        change[:1] = 0
        rows = slice(start, end)
        return Features(
            self.frame_index[rows], self.pts_seconds[rows], change, self.detail[rows], self.thumbs[rows]
        )


@dataclass(frozen=True, slots=True)
class Boundary:
    """The first frame of a shot: position in the series, kind of transition, and its strength."""

    position: int
    transition: str
    score: float


def change_between(before: Planes, after: Planes) -> float:
    """Mean absolute luma difference plus half the sum of the two chroma ones, in 8-bit levels."""
    luma = cv2.norm(before[0], after[0], cv2.NORM_L1) / max(after[0].size, 1)
    if not after[1].size:
        return luma
    chroma = cv2.norm(before[1], after[1], cv2.NORM_L1) + cv2.norm(before[2], after[2], cv2.NORM_L1)
    return luma + 0.5 * chroma / after[1].size


def detail_of(luma: UInt8Array) -> float:
    """Mean squared difference between horizontal neighbours, in squared levels."""
    return cv2.norm(luma[:, 1:], luma[:, :-1], cv2.NORM_L2SQR) / luma.size if luma.shape[1] > 1 else 0.0


def thumbnail(planes: Planes) -> UInt8Array:
    """Cell means, uint8 [THUMB_BYTES]: luma row by row, then U, then V."""
    out = np.full(THUMB_BYTES, 128, np.uint8)
    start = 0
    for plane, cells in zip(planes, (LUMA_CELLS, CHROMA_CELLS, CHROMA_CELLS), strict=True):
        if plane.size:
            small = cv2.resize(plane, (cells, cells), interpolation=cv2.INTER_AREA)
            out[start : start + cells * cells] = small.reshape(-1)
        start += cells * cells
    return out


def reach(step_seconds: float) -> int:
    """Frames after t that the decision at t may depend on."""
    return 3 * max(half_lengths(step_seconds)) + NEIGHBOURS + flash_length(step_seconds)


def flash_length(step_seconds: float) -> int:
    """Longest flash in frames."""
    return max(1, round(FLASH_SECONDS / step_seconds))


def half_lengths(step_seconds: float) -> list[int]:
    """Half lengths in frames of the windows for dissolves."""
    return sorted({max(3, round(s / step_seconds)) for s in GRADUAL_SECONDS})


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
    dark, bright = solid_frames(features.thumbs)
    fades = find_fades(features, dark, bright, spikes, step_seconds)
    dips, falls = find_dips(features, dark, spikes, step_seconds)
    cuts = [cut for cut in cuts if cut.position not in falls]
    dissolves = find_dissolves(features, steps, dissolve_floor, step_seconds)
    return sorted(cuts + fades + dips + dissolves, key=lambda b: b.position)


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


def solid_frames(thumbs: UInt8Array) -> tuple[BoolArray, BoolArray]:
    """Which frames are black (small text allowed) and which are white all over, bool [n] each."""
    dark = np.zeros(len(thumbs), np.bool_)
    bright = np.zeros(len(thumbs), np.bool_)
    for start in range(0, len(thumbs), BLOCK):
        luma = thumbs[start : start + BLOCK, : LUMA_CELLS**2].astype(np.float32)
        mean, spread = luma.mean(axis=1), luma.std(axis=1)
        dark[start : start + BLOCK] = (spread < FLAT) & (mean < DARK)
        bright[start : start + BLOCK] = (spread < PLAIN) & (mean > BRIGHT)
    return dark, bright


def find_fades(
    features: Features, dark: BoolArray, bright: BoolArray, spikes: Int64Array, step_seconds: float
) -> list[Boundary]:
    """Fades from black or white: a solid colour that is held, with a gradual change before and after.

    The threshold method for fades (Lienhart 1999, "Comparison of automatic shot boundary detection
    algorithms"), on cell means. The shot begins with the rise out of the solid. A cut to black followed by a
    rise is one change of shot, which the cut already represents. White is a picture of its own (a title
    card) unless something with detail lies before or after it.

    Args:
        dark, bright: as `solid_frames` tells.
    """
    sudden = np.zeros(len(features) + 1, np.bool_)
    sudden[spikes] = True
    near = max(half_lengths(step_seconds))
    found = []
    mean = features.thumbs[:, : LUMA_CELLS**2].mean(axis=1).astype(np.float32)
    for held, sign in ((dark, 1.0), (bright, -1.0)):
        edges = np.flatnonzero(np.diff(np.r_[False, held, False]))
        for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if first == 0 or end == len(features) or sudden[max(first - 1, 0) : end + 1].any():
                continue
            around = np.r_[features.thumbs[max(0, first - near) : first], features.thumbs[end : end + near]]
            if sign < 0 and around[:, : LUMA_CELLS**2].std(axis=1).max() < FLAT:
                continue
            if _sudden(features.thumbs, first, first - near) or _sudden(features.thumbs, end, end + near):
                continue
            level = sign * mean[first:end]
            low = np.flatnonzero(level <= level.min() + SOLID_DRIFT)
            depth = abs(float(np.median(around[:, : LUMA_CELLS**2])) - float(mean[first:end].mean()))
            found.append(Boundary(max(first + int(low[-1]), end - near), "fade", depth))
    return found


def find_dips(
    features: Features, dark: BoolArray, spikes: Int64Array, step_seconds: float
) -> tuple[list[Boundary], set[int]]:
    """Fades that fall to black within a few frames and rise slowly, such as ffmpeg's `fadeblack`.

    Black is not held: it lasts no longer than a flash does. A cut to black that is held stays a cut, and a
    picture that goes dark for a moment and comes back begins no shot.

    Args:
        dark: as `solid_frames` tells.

    Returns:
        The fades, and the spikes that are falls to black, of those and of pictures that come back.
    """
    short, near = flash_length(step_seconds), max(half_lengths(step_seconds))
    sudden = set(spikes.tolist())
    thumbs = features.thumbs
    found: list[Boundary] = []
    falls: set[int] = set()
    edges = np.flatnonzero(np.diff(np.r_[False, dark, False]))
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if first == 0 or end == len(thumbs) or end - first > short:
            continue
        fall = {t for t in range(max(first - short, 1), end) if t in sudden}
        is_quick = bool(fall) or _sudden(thumbs, first, first - near)
        if not is_quick or end in sudden or _sudden(thumbs, end, end + near):
            continue
        before = thumbs[max(first - short - 1, 0)]
        after = thumbs[min(end + near, len(thumbs)) - 1]
        falls |= fall
        if not _same_picture(before, after):
            luma = thumbs[first:end, : LUMA_CELLS**2].mean(axis=1)
            depth = float(np.maximum(before, after)[: LUMA_CELLS**2].mean() - luma.min())
            found.append(Boundary(first + int(luma.argmin()), "fade", depth))
    return found, falls


def _same_picture(before: UInt8Array, after: UInt8Array) -> bool:
    """Whether only the light changed between two frames."""
    a, b = (thumb[: LUMA_CELLS**2].astype(np.float64) for thumb in (before, after))
    a, b = a - a.mean(), b - b.mean()
    return bool((a * b).sum() > SAME_PICTURE * np.sqrt((a**2).sum() * (b**2).sum()))


def _sudden(thumbs: UInt8Array, at: int, far: int) -> bool:
    """Whether the step into frame `at` is most of the way between the solid next to it and frame `far`."""
    beyond = thumbs[min(max(far, 0), len(thumbs) - 1)]
    solid = thumbs[at] if far < at else thumbs[at - 1]
    return bool(_distance(thumbs[at], thumbs[at - 1]) > LARGEST_STEP * _distance(beyond, solid))


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
    for quarter in (-(half // 2), (half + 1) // 2):
        gone = at(quarter) - a
        share = np.clip((gone * line).sum(axis=1) / ((line * line).sum(axis=1) + 1e-6), 0, 1)
        good &= np.abs(gone - share[:, None] * line).mean(axis=1) <= OFF_LINE * apart
    for row in np.flatnonzero(good).tolist():
        t = int(centre[rows[row]])
        near = features.thumbs[max(t - 2 * half, 0) : t + 2 * half + 1]
        if not np.logical_or(*solid_frames(near)).any():
            strength[rows[row]] = apart[row] - error[row]
    return strength
