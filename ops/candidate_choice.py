"""Choosing frames for expensive operations by cheap measures. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ops.chunks import BoolArray, Float64Array, Int64Array

DARK, BRIGHT, FLAT = 0.05, 0.95, 0.03  # of `brightness` and `contrast`: nothing can be made out beyond
# A frame this much less sharp than is usual in its file, and blurred by itself, is one of a fast move.
BLURRED_SHARE, BLURRED = 0.2, 40.0
RECENT_GROUPS = 8  # a shot that comes back after another is known still
NEW_BITS = 16  # a hash this far from those of all recent groups is as new as can be
NEW_CHANGES = 20.0  # ... or measures that differ by so many of the file's usual changes
LEAST_NEW = 0.25  # of the score stays with a group that hardly differs from another
# What is compared beside the hash, which does not see a person at the back of a hall. Changes below these
# are no changes, however still a file is.
LEAST_CHANGES = {
    "brightness": 0.002,
    "contrast": 0.001,
    "entropy": 0.01,
    "colourfulness": 0.2,
    "log_sharpness": 0.01,
}

BEST, ALIKE, LOW = "best of its group", "near duplicate", "low score"


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of n frames.

    Attributes:
        score: float64 [n], 0 to 1.
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
    """Groups frames in order of time, weighs each group by its best frame and its size, and keeps the best.

    Args:
        measures: pts_seconds, sharpness, brightness, contrast, entropy, colourfulness and frame_score, as in
            `frames`; float64 [n].
        hashes: uint64 [n], perceptual hashes.
        recall_target: kept groups carry at least this share of all groups' weights.
    """
    faults = _faults(measures)
    group, newness = _groups(
        measures["pts_seconds"],
        hashes,
        _in_usual_changes(measures),
        [not fault for fault in faults],
        max_distance,
        max_change,
        max_group_seconds,
    )
    n = len(hashes)
    score = np.where(group >= 0, measures["frame_score"] * newness[np.maximum(group, 0)], 0.0)
    stand_in = np.full(n, -1, np.int64)
    is_kept = np.zeros(n, bool)
    reasons = [fault or LOW for fault in faults]
    members: dict[int, list[int]] = {}
    for i in np.flatnonzero(group >= 0).tolist():
        members.setdefault(int(group[i]), []).append(i)
    best = {g: max(inside, key=lambda i: (score[i], -i)) for g, inside in members.items()}
    # A group that is not kept leaves all its frames without a stand-in; but ten alike are no ten things.
    weights = {g: float(score[i]) * len(members[g]) ** 0.5 for g, i in best.items()}
    wanted = recall_target * sum(weights.values())
    carried = 0.0
    for g in sorted(best, key=lambda g: (-weights[g], g)):
        if carried >= wanted - 1e-9:
            break
        carried += weights[g]
        is_kept[best[g]] = True
        for i in members[g]:
            stand_in[i] = best[g]
            reasons[i] = ALIKE
        reasons[best[g]] = BEST
    return Choice(score, is_kept, stand_in, reasons)


def _faults(measures: Mapping[str, Float64Array]) -> list[str]:
    """What makes each frame useless, or empty."""
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


def _in_usual_changes(measures: Mapping[str, Float64Array]) -> Float64Array:
    """The measures of each frame, float64 [n, 5], in units of the median change to the next frame."""
    known = {**measures, "log_sharpness": np.log(np.maximum(measures["sharpness"], 1.0))}
    columns = []
    for name, least in LEAST_CHANGES.items():
        values = known[name]
        usual = float(np.median(np.abs(np.diff(values)))) if len(values) > 1 else 0.0
        columns.append(values / max(usual, least))
    return np.stack(columns, axis=1)


def _groups(
    seconds: Float64Array,
    hashes: npt.NDArray[np.uint64],
    places: Float64Array,
    usable: list[bool],
    max_distance: int,
    max_change: float,
    max_seconds: float,
) -> tuple[Int64Array, Float64Array]:
    """Group of each frame (-1: none), and how new each group is, 0 to 1.

    A frame joins the recent group with the nearest first frame, if that is near enough in hash, in every
    measure and in time.
    """
    group = np.full(len(hashes), -1, np.int64)
    firsts: list[int] = []
    newness: list[float] = []
    for i in [i for i, is_usable in enumerate(usable) if is_usable]:
        recent = firsts[-RECENT_GROUPS:]
        bits = [int(hashes[i] ^ hashes[first]).bit_count() for first in recent]
        changes = np.abs(places[recent] - places[i]).max(axis=1).tolist() if recent else []
        near = [
            (distance, -number)
            for number, (distance, change, first) in enumerate(zip(bits, changes, recent, strict=True))
            if distance <= max_distance
            and change <= max_change
            and seconds[i] - seconds[first] <= max_seconds
        ]
        if near:
            group[i] = len(firsts) - len(recent) - min(near)[1]
            continue
        group[i] = len(firsts)
        firsts.append(i)
        far = max(min(bits, default=64) / NEW_BITS, min(changes, default=NEW_CHANGES) / NEW_CHANGES)
        newness.append(LEAST_NEW + (1 - LEAST_NEW) * min(1.0, far))
    return group, np.array(newness or [0.0])
