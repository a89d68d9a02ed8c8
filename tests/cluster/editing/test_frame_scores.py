"""Which frames make good stills."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framemill.cluster.editing.frame_scores import grouped_quantile, reasons_of, score_frames
from framemill.ops.chunks import Float64Array

GOOD = {
    "sharpness": 400.0, "brightness": 0.5, "contrast": 0.25, "colourfulness": 50.0, "entropy": 7.5,
}  # fmt: skip


def frames(*changes: dict[str, float]) -> dict[str, Float64Array]:
    names = {name for change in changes for name in change} | set(GOOD)
    return {name: np.array([{**GOOD, **c}.get(name, np.nan) for c in changes]) for name in names}


def rate(*changes: dict[str, float]) -> tuple[list[float], list[bool]]:
    one = np.zeros(len(changes), np.int64)
    scores = score_frames(frames(*changes), one, one)
    return scores.score.tolist(), scores.usable.tolist()


@pytest.mark.parametrize(
    "fault",
    [
        {"sharpness": 20.0}, {"brightness": 0.03}, {"brightness": 0.98}, {"contrast": 0.06}, {"entropy": 2.0},
        {"blur": 0.8}, {"underexposed": 0.9}, {"overexposed": 0.9}, {"shaky": 1.0}, {"cut_seconds": 0.0},
        {"thirds_distance": 0.33},
    ],
)  # fmt: skip
def test_each_fault_costs(fault: dict[str, float]) -> None:
    (good, bad, _), _ = rate({}, fault, {})
    assert bad < 0.97 * good


@pytest.mark.parametrize(
    "merit",
    [{"face_share": 0.05, "face_score": 0.95, "frontality": 1.0}, {"subject_share": 0.2}],
)
def test_faces_and_subjects_gain(merit: dict[str, float]) -> None:
    (plain, better), _ = rate({}, merit)
    assert better > plain


def test_a_face_turned_away_counts_less() -> None:
    face = {"face_share": 0.05, "face_score": 0.95}
    (front, side), _ = rate({**face, "frontality": 1.0}, {**face, "frontality": 0.0})
    assert front > side


def test_closed_eyes_and_a_blurred_face_count_less() -> None:
    face = {"face_share": 0.05, "face_score": 0.95, "frontality": 1.0, "face_blur": 0.3, "eyes_open": 0.9}
    (good, closed, blurred, unknown, faceless, small), _ = rate(
        face, {**face, "eyes_open": 0.02}, {**face, "face_blur": 0.75},
        {**face, "eyes_open": np.nan, "face_blur": np.nan}, {},
        {**face, "face_share": 0.0004, "eyes_open": 0.02},
    )  # fmt: skip
    assert good == unknown > blurred and good > faceless > closed, "better nobody than somebody asleep"
    assert small > 0.9 * faceless


def test_black_frames_and_fades_are_not_usable() -> None:
    _, usable = rate(
        {}, {"contrast": 0.01}, {"is_black": 1.0}, {"fade_seconds": 0.3}, {"fade_seconds": 1.5},
        {"fade_seconds": 1.5, "contrast": 0.1},
    )  # fmt: skip
    assert usable == [True, False, False, False, True, False]


def test_softness_is_judged_by_what_is_usual_in_the_file() -> None:
    values = frames(*({"sharpness": 60.0},) * 4, {}, {}, {}, {"sharpness": 60.0})
    source = np.repeat([0, 1], 4)
    score = score_frames(values, source, source).score
    assert score[0] > 1.1 * score[7]


def test_reasons_are_the_strong_points() -> None:
    one = np.zeros(2, np.int64)
    scores = score_frames(frames({}, {"brightness": 0.05, "contrast": 0.05, "entropy": 3.5}), one, one)
    assert reasons_of(scores.factors, 0)[0] == "sharp" and "well exposed" in reasons_of(scores.factors, 0)
    assert "well exposed" not in reasons_of(scores.factors, 1)


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=60),
    st.floats(0, 1),
)
def test_quantiles_of_groups(rows: list[tuple[int, float]], share: float) -> None:
    group = np.array([row[0] for row in rows])
    values = np.array([row[1] for row in rows])
    found = grouped_quantile(values, group, share)
    for number in set(group.tolist()):
        own = np.sort(values[group == number])
        assert (found[group == number] == own[int(share * (len(own) - 1))]).all()
