"""Picking what is good and unlike what was picked."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from framemill.cluster.editing.diversity import (
    close_in_time,
    hash_likeness,
    pick_diverse,
    picture_likeness,
    vector_likeness,
)
from framemill.ops.chunks import Float32Array


def unit(rows: list[list[float]]) -> Float32Array:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_likeness_by_hash_falls_from_twins_to_strangers() -> None:
    one = np.uint64(0)
    hashes = np.array([0, (1 << 8) - 1, (1 << 16) - 1, (1 << 24) - 1, (1 << 63)], np.uint64)
    assert hash_likeness(hashes, one).tolist() == [1, 1, 0.5, 0, 1]


def test_likeness_by_vector() -> None:
    vectors = unit([[1, 0], [1, 0.1], [0, 1], [-1, 0]])
    assert vector_likeness(vectors, vectors[0]).tolist() == [1, 1, 0, 0]


def test_hashes_and_vectors_together_see_more_twins() -> None:
    vectors = unit([[1, 0], [0.92, 0.392]])
    assert vectors[0] @ vectors[1] < 0.95
    near, far = np.array([0, 1], np.uint64), np.array([0, (1 << 40) - 1], np.uint64)
    assert picture_likeness(vectors, near, 0)[1] == 1
    assert 0 < picture_likeness(vectors, far, 0)[1] < 1


def test_the_best_comes_first_and_its_twins_never() -> None:
    hashes = np.array([0, 1, (1 << 32) - 1, (1 << 31) - 1], np.uint64)
    scores = np.array([0.8, 0.9, 0.3, 0.2])
    picked = pick_diverse(scores, lambda row: hash_likeness(hashes, hashes[row]), 4, 0.5)
    assert picked.tolist() == [1, 2]


def test_likeness_costs_score() -> None:
    hashes = np.array([0, (1 << 14) - 1, (1 << 62) - 1], np.uint64)
    scores = np.array([1.0, 0.9, 0.6])
    likeness = lambda row: hash_likeness(hashes, hashes[row])  # noqa: E731
    assert pick_diverse(scores, likeness, 2, 0.0).tolist() == [0, 1]
    assert pick_diverse(scores, likeness, 2, 0.6).tolist() == [0, 2]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, (1 << 64) - 1)), max_size=40),
    st.integers(1, 15),
    st.floats(0, 1),
)
def test_no_twins_none_twice_and_no_gap(rows: list[tuple[float, int]], count: int, weight: float) -> None:
    scores = np.array([score for score, _ in rows])
    hashes = np.array([value for _, value in rows], np.uint64)
    usable = np.arange(len(rows)) % 3 != 0

    def likeness(row: int) -> Float32Array:
        return hash_likeness(hashes, hashes[row])

    picked = pick_diverse(scores, likeness, count, weight, usable)
    assert len(set(picked.tolist())) == len(picked) <= count and usable[picked].all()
    for place, row in enumerate(picked.tolist()):
        assert (likeness(row)[picked[:place]] < 1).all()
    left = np.setdiff1d(np.flatnonzero(usable), picked)
    if len(picked) < count and len(picked):  # it stopped early: whatever is left is a twin
        closest = np.max([likeness(row) for row in picked.tolist()], axis=0)
        assert (closest[left] >= 1).all()
    again = pick_diverse(scores, likeness, count, weight, usable)
    assert again.tolist() == picked.tolist()


def test_frames_of_one_shot_need_time_between_them() -> None:
    seconds, shot = np.array([0.0, 0.5, 2.0, 2.0, 5.0, 0.5]), np.array([0, 0, 0, 0, 0, 1])
    far = (1 << 40) - 1
    hashes = np.array([0, far, far, (1 << 12) - 1, 0, 0], np.uint64)
    assert close_in_time(seconds, shot, hashes, 0).tolist() == [True, True, False, True, True, False]


def test_slow_cameras_show_the_same_for_longer() -> None:
    hashes = np.array([0, (1 << 12) - 1, (1 << 12) - 1, (1 << 16) - 1, (1 << 12) - 1], np.uint64)
    seconds, shot = np.array([0.0, 3.1, 8.0, 3.1, 3.1]), np.array([0, 0, 0, 0, 1])
    assert close_in_time(seconds, shot, hashes, 0).tolist() == [True, True, False, False, False]
