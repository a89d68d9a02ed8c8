from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framemill.ops.chunks import Float32Array
from framemill.ops.pixels.boxes import areas, letterbox_size, nms, overlaps


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(1280, 720, (416, 234)), (720, 1280, (234, 416)), (416, 416, (416, 416)), (100, 50, (416, 208))],
)
def test_letterbox_keeps_the_shape(width: int, height: int, expected: tuple[int, int]) -> None:
    assert letterbox_size(width, height, (416, 416)) == expected


@given(st.integers(1, 30_000), st.integers(1, 30_000), st.integers(1, 1280), st.integers(1, 1280))
def test_letterbox_fits_and_touches_one_side(width: int, height: int, across: int, down: int) -> None:
    inner = letterbox_size(width, height, (across, down))
    assert 1 <= inner[0] <= across and 1 <= inner[1] <= down
    assert inner[0] == across or inner[1] == down


def test_overlap_of_known_boxes() -> None:
    box = np.array([0, 0, 10, 10], np.float32)
    others = np.array(
        [[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [0, 0, 5, 5], [3, 3, 3, 9]], np.float32
    )
    np.testing.assert_allclose(overlaps(box, others), [1, 1 / 3, 0, 0.25, 0], rtol=1e-6)
    np.testing.assert_allclose(areas(others), [100, 100, 100, 25, 0])
    empty = np.zeros(4, np.float32)
    assert overlaps(empty, empty[None]).tolist() == [0]


def plainly(
    boxes: Float32Array, scores: Float32Array, labels: list[int], max_overlap: float, max_boxes: int
) -> list[int]:
    """The same choice, one pair after the other."""
    chosen: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if len(chosen) == max_boxes:
            break
        for j in chosen:
            if labels[i] == labels[j] and overlaps(boxes[j], boxes[i : i + 1])[0] > max_overlap:
                break
        else:
            chosen.append(i)
    return chosen


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 40),
    st.floats(0, 1),
    st.integers(1, 20),
    st.sampled_from([1, 3]),
)
def test_choice_equals_the_plain_one(
    seed: int, count: int, max_overlap: float, max_boxes: int, num_labels: int
) -> None:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 20, (count, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 20, (count, 2))], axis=1).astype(np.float32)
    scores = (rng.integers(0, 10, count) / 10).astype(np.float32)  # many ties
    labels = rng.integers(0, num_labels, count)
    got = nms(boxes, scores, labels, max_overlap, max_boxes)
    assert got.tolist() == plainly(boxes, scores, labels.tolist(), max_overlap, max_boxes)


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 40), st.floats(0, 1), st.integers(1, 9), st.sampled_from([1, 3])
)
def test_many_frames_at_once_are_chosen_from_as_one_by_one(
    seed: int, count: int, max_overlap: float, max_boxes: int, num_labels: int
) -> None:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 20, (count, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 20, (count, 2))], axis=1).astype(np.float32)
    scores = (rng.integers(0, 10, count) / 10).astype(np.float32)
    labels, frames = rng.integers(0, num_labels, count), rng.integers(0, 4, count)
    expected = []
    for frame in range(4):
        at = np.flatnonzero(frames == frame)
        expected += at[plainly(boxes[at], scores[at], labels[at].tolist(), max_overlap, max_boxes)].tolist()
    assert nms(boxes, scores, labels, max_overlap, max_boxes, frames).tolist() == expected


def test_an_overlap_without_limit_keeps_the_best_of_each_frame() -> None:
    boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (5, 1))
    scores, frames = np.array([0.1, 0.5, 0.4, 0.9, 0.5], np.float32), np.array([0, 1, 1, 0, 1])
    assert nms(boxes, scores, np.zeros(5, np.int64), np.inf, 2, frames).tolist() == [3, 0, 1, 4]
