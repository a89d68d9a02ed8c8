"""Scores of frames as stills, from the measures in tables; no picture is needed.

Each measure becomes a factor, 1 where nothing is wrong. The score is the root of their product: one serious
defect makes a picture bad whatever else is good. All arrays are float64 [n] over frames; NaN stands for "not
measured", which costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from framemill.ops.chunks import BoolArray, Float64Array, Int64Array

# Below this contrast there is no picture: black, white or one colour (`duplicates` has the same limit).
MIN_CONTRAST = 0.02
# Least distance to a cut: encoders and detectors are a frame or two off.
CUT_SECONDS = 0.25
# A fade or dissolve is known by its start or its middle alone; most last a second or less.
FADE_SECONDS = 0.5
# A frame this near to one is taken to be part of it where it has less than this share of the contrast that is
# usual in its shot.
FADED_SECONDS, FADED_SHARE = 2.0, 0.6
# A face this large, as a share of the frame's area, counts in full.
FULL_FACE_SHARE = 0.04
FACE_BONUS = 0.25  # most that faces add to the factor 1
SUBJECT_BONUS = 0.1
ASLEEP_LOSS = 0.4  # of the factor 1, where the eyes of a face of full size are closed


@dataclass(frozen=True, slots=True)
class FrameScores:
    """Scores of frames with the factors they are made of.

    Attributes:
        score: 0..1. seen: bool [n], whether there is a picture to see: not black, white or of one colour.
        usable: bool [n], those that are not part of a fade or dissolve either.
        factors: name -> factor or bonus; see `REASONS`.
    """

    score: Float64Array
    seen: BoolArray
    usable: BoolArray
    factors: Mapping[str, Float64Array]


def score_frames(measures: Mapping[str, Float64Array], shot: Int64Array, source: Int64Array) -> FrameScores:
    """Scores frames as stills.

    Args:
        measures: `sharpness`, `brightness`, `contrast`, `colourfulness` and `entropy` as in `frames`; and
            where known `blur`, `underexposed`, `overexposed`, `is_black` (0 or 1) as in `quality`,
            `thirds_distance` and `subject_share` as in `composition`, `face_share` (largest face's share of
            the frame), `face_score`, `frontality` (0..1), `face_blur` and `eyes_open` as in `face_quality`,
            `smile` (probability of a happy face), `shaky` (0 or 1), `cut_seconds` and `fade_seconds` (to
            the nearest cut, fade or dissolve).
        shot: int64 [n], equal for frames of one shot. source: int64 [n], for frames of one file.
    """
    n = len(shot)
    unknown = np.full(n, np.nan)

    def of(name: str) -> Float64Array:
        return measures.get(name, unknown)

    contrast, sharpness, brightness = of("contrast"), of("sharpness"), of("brightness")
    # Relative to the file or shot: a cartoon or a soft lens is never as sharp as a forest.
    usual_sharpness = np.maximum(grouped_quantile(sharpness, source, 0.75), 1e-9)
    usual_contrast = np.maximum(grouped_quantile(contrast, shot, 0.75), 1e-9)
    face_size = _ramp(np.sqrt(of("face_share") / FULL_FACE_SHARE), 0.0, 1.0, unknown=0.0)
    awake, clear = _ramp(of("eyes_open"), 0.1, 0.6), _ramp(1 - of("face_blur"), 0.3, 0.6)
    factors = {
        "sharp": _ramp(sharpness / usual_sharpness, 0.1, 0.9) * _ramp(sharpness, 5.0, 100.0, least=0.6),
        "clear": _ramp(1 - of("blur"), 0.3, 0.6, least=0.3),
        "exposed": _ramp(np.minimum(brightness, 1 - brightness), 0.02, 0.25)
        * _ramp(1 - np.fmax(of("underexposed"), of("overexposed")), 0.2, 0.8, least=0.3),
        "contrasty": _ramp(contrast, MIN_CONTRAST, 0.2, least=0.2),
        "rich": _ramp(of("entropy"), 3.0, 7.0, least=0.4),
        "colourful": _ramp(of("colourfulness"), 0.0, 45.0, least=0.85),
        "composed": _ramp(0.33 - of("thirds_distance"), 0.0, 0.25, least=0.9),
        "steady": np.where(of("shaky") > 0, 0.7, 1.0),
        "unfaded": np.where(
            of("fade_seconds") < 2 * FADED_SECONDS,
            _ramp(contrast / usual_contrast, 0.3, 0.95, least=0.3),
            1.0,
        ),
        "awake": 1 - ASLEEP_LOSS * face_size * (1 - awake),
        "settled": _ramp(of("cut_seconds"), 0.0, CUT_SECONDS, least=0.6),
    }
    face = (
        face_size
        * _ramp(of("face_score"), 0.5, 0.95, unknown=0.0)
        * (0.4 + 0.4 * np.nan_to_num(of("frontality"), nan=0.5) + 0.2 * np.nan_to_num(of("smile"), nan=0.5))
        * clear
        * awake
    )
    subject = _ramp(np.sqrt(of("subject_share")), 0.05, 0.4, unknown=0.0)
    bonus = (1 + FACE_BONUS * face + SUBJECT_BONUS * subject) / (1 + FACE_BONUS + SUBJECT_BONUS)
    score = np.sqrt(np.prod(list(factors.values()), axis=0)) * bonus
    faded = (contrast < FADED_SHARE * usual_contrast) & (of("fade_seconds") < FADED_SECONDS)
    seen = (contrast >= MIN_CONTRAST) & ~(of("is_black") > 0)
    usable = seen & ~faded & ~(of("fade_seconds") < FADE_SECONDS)
    bonuses = {"face": face, "subject": subject, "eyes": face_size * clear * np.nan_to_num(of("eyes_open"))}
    return FrameScores(np.clip(score, 0, 1), seen, usable, {**factors, **bonuses})


# Factor, its least value to be named as a reason, and the text.
REASONS: tuple[tuple[str, float, str], ...] = (
    ("face", 0.5, "clear face"),
    ("eyes", 0.5, "open eyes"),
    ("subject", 0.6, "large subject"),
    ("sharp", 0.9, "sharp"),
    ("exposed", 0.95, "well exposed"),
    ("contrasty", 0.95, "good contrast"),
    ("rich", 0.9, "much to see"),
    ("colourful", 0.98, "colourful"),
)


def reasons_of(factors: Mapping[str, Float64Array], row: int, limit: int = 4) -> list[str]:
    """The strong points of one frame as text, at most `limit`; a fixed text where it has none."""
    strong = [words for name, least, words in REASONS if factors[name][row] >= least]
    return strong[:limit] or ["best of what there is"]


def grouped_quantile(values: Float64Array, group: Int64Array, share: float) -> Float64Array:
    """For each value the quantile of its group's values, in 32-bit precision: float64 [n].

    Group and value are sorted as one whole number, several times as fast as sorting by two keys.

    Args:
        values: float64 [n]; NaN counts as the largest. group: int64 [n], within 31 bits and a sign.
    """
    if not len(values):
        return values
    bits = values.astype(np.float32).view(np.int32).astype(np.int64)
    # The bits of floats are in their order above zero, and in the opposite order below.
    rising = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits) + (1 << 31)
    keys = np.sort((group << 32) + rising)
    sorted_group = keys >> 32
    begin = np.flatnonzero(np.append(True, sorted_group[1:] != sorted_group[:-1]))
    size = np.diff(np.append(begin, len(keys)))
    low = (keys[begin + np.floor(share * (size - 1)).astype(np.int64)] & 0xFFFFFFFF) - (1 << 31)
    quantiles = np.where(low < 0, low ^ 0x7FFFFFFF, low).astype(np.int32).view(np.float32)
    found: Float64Array = quantiles[np.searchsorted(sorted_group[begin], group)].astype(np.float64)
    return found


def _ramp(
    values: Float64Array, low: float, high: float, least: float = 0.0, unknown: float = 1.0
) -> Float64Array:
    """`least` up to `low`, 1 from `high` on, linear between; `unknown` for NaN."""
    ramp = least + (1 - least) * np.clip((values - low) / (high - low), 0, 1)
    return np.where(np.isnan(ramp), unknown, ramp)
