"""Selection of frames for expensive operations by cheap measures. Pure functions."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import BoolArray, Float64Array, Int64Array

# Limits of `brightness` and `contrast` beyond which nothing is recognisable. An HDR clip at a brightness of
# 0.036 still has objects.
DARK, BRIGHT, FLAT = 0.02, 0.95, 0.03
# Share of the file's median sharpness, and absolute sharpness: a frame below both is blurred by motion.
BLURRED_SHARE, BLURRED = 0.2, 40.0
# Measures compared beside the hash, which misses small things such as a person at the back of a hall, and
# the least change of each that counts, however still a file is.
LEAST_CHANGES = {
    "brightness": 0.002,
    "contrast": 0.001,
    "entropy": 0.01,
    "colourfulness": 0.2,
    "log_sharpness": 0.01,
}
# Doubt, the probability that a frame shows something else than a kept one: where both are equal, and where
# they differ as much as is allowed. Detectors differ even between frames that look the same. Set so that
# targets of 0.8, 0.9 and 0.95 are reached by objects (YOLOX-nano) and by faces in 11 real clips at 1, 2 and 4
# frames a second, as 0.85 to 0.93, 0.91 to 0.97, and 0.96 to 0.98. In 14 clips that were not used for this,
# at 10 frames a second, objects reach 0.83, 0.90 and 0.96, faces 0.96, 0.98 and 0.99.
LEAST_DOUBT, MOST_DOUBT = 0.12, 0.4

NEW, ALIKE, LOW = "shows something new", "near duplicate", "low score"


@dataclass(frozen=True, slots=True)
class Choice:
    """Decisions on n frames.

    Attributes:
        score: float64 [n], 0 to 1: `frame_score` times the doubt; of a kept frame, that before it was kept.
        is_kept: bool [n].
        stand_in: int64 [n], position of the kept frame that stands for each, -1 where none does.
        reasons: n texts.
    """

    score: Float64Array
    is_kept: BoolArray
    stand_in: Int64Array
    reasons: list[str]


def choose(
    measures: Mapping[str, Float64Array],
    hashes: npt.NDArray[np.uint64],
    *,
    recall_target: float,
    max_distance: int,
    max_change: float,
    max_group_seconds: float,
) -> Choice:
    """Keeps frames, those of the highest score first, until `recall_target` is expected to be reached.

    The doubt about a frame that is left out is the probability that it shows something that the kept frame
    nearest to it does not. Keeping a frame removes its doubt, and reduces that of similar frames.

    Args:
        measures: pts_seconds (ascending), sharpness, brightness, contrast, entropy, colourfulness and
            frame_score, as in `frames`; float64 [n].
        hashes: uint64 [n], perceptual hashes.
        recall_target: expected value of kept / (kept + missed), where every frame has the same weight.
    """
    defects = _defects(measures)
    usable = np.array([not defect for defect in defects], bool)
    n, seconds, value = len(hashes), measures["pts_seconds"], measures["frame_score"]
    places = _in_median_changes(measures)
    doubt = usable.astype(np.float64)
    score = value * doubt
    stand_in = np.full(n, -1, np.int64)
    is_kept = np.zeros(n, bool)
    first = np.searchsorted(seconds, seconds - max_group_seconds)
    last = np.searchsorted(seconds, seconds + max_group_seconds, side="right")
    num_kept, left = 0, float(doubt.sum())  # `left`: expected number of frames whose content is missed
    waiting = [(-promise, i) for i, promise in enumerate(score.tolist()) if usable[i]]
    heapq.heapify(waiting)
    while waiting and num_kept < recall_target * (num_kept + left) - 1e-9:
        promise, i = heapq.heappop(waiting)
        score[i] = value[i] * doubt[i]
        if -promise > score[i]:  # its doubt was reduced since this entry was made
            heapq.heappush(waiting, (-float(score[i]), i))
            continue
        near = slice(int(first[i]), int(last[i]))
        shares = (
            np.bitwise_count(hashes[near] ^ hashes[i]) / max(max_distance, 0.5),
            np.abs(places[near] - places[i]).max(axis=1) / max(max_change, 1e-9),
            np.abs(seconds[near] - seconds[i]) / max(max_group_seconds, 1e-9),
        )
        far = np.max(shares, axis=0)
        new_doubt = np.where(usable[near] & (far <= 1), LEAST_DOUBT + (MOST_DOUBT - LEAST_DOUBT) * far, 1.0)
        new_doubt[i - near.start] = 0.0
        reduced = np.flatnonzero(new_doubt < doubt[near])
        left -= float((doubt[near] - new_doubt)[reduced].sum())
        doubt[near][reduced] = new_doubt[reduced]
        stand_in[near][reduced] = i
        is_kept[i], stand_in[i] = True, i
        num_kept += 1
    score = np.where(is_kept, score, value * doubt)
    reasons = [
        defect or (NEW if kept else ALIKE if other >= 0 else LOW)
        for defect, kept, other in zip(defects, is_kept.tolist(), stand_in.tolist(), strict=True)
    ]
    return Choice(score, is_kept, stand_in, reasons)


def _defects(measures: Mapping[str, Float64Array]) -> list[str]:
    """The defect that makes each frame unusable, or an empty text."""
    sharpness = measures["sharpness"]
    usual = float(np.median(sharpness)) if len(sharpness) else 0.0
    found = []
    for sharp, bright, contrast in zip(
        sharpness.tolist(), measures["brightness"].tolist(), measures["contrast"].tolist(), strict=True
    ):
        if bright < DARK:
            found.append("too dark")
        elif bright > BRIGHT:
            found.append("too bright")
        elif contrast < FLAT:
            found.append("flat")
        elif sharp < min(BLURRED, BLURRED_SHARE * usual):
            found.append("blurred")
        else:
            found.append("")
    return found


def _in_median_changes(measures: Mapping[str, Float64Array]) -> Float64Array:
    """The measures of each frame, float64 [n, 5], in units of the median change to the next frame."""
    known = {**measures, "log_sharpness": np.log(np.maximum(measures["sharpness"], 1.0))}
    columns = []
    for name, least in LEAST_CHANGES.items():
        values = known[name]
        usual = float(np.median(np.abs(np.diff(values)))) if len(values) > 1 else 0.0
        columns.append(values / max(usual, least))
    return np.stack(columns, axis=1)
