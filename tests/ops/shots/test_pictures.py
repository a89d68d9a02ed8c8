"""Pictures of stretches of shots: of which frames, in which shape, and what is said where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import pyarrow as pa
import pytest

from framemill.errors import UsageError
from framemill.ops.shots.pictures import pictures_of_shots


def scenes(*edges: float) -> pa.Table:
    """Shots between consecutive times, the last first."""
    rows = list(enumerate(pairwise(edges)))[::-1]
    columns = [[n for n, _ in rows], [start for _, (start, _) in rows], [end for _, (_, end) in rows]]
    return pa.table(columns, names=["scene_index", "start_seconds", "end_seconds"])


def frames(times: Sequence[float], size: tuple[int, int] = (40, 20)) -> pa.Table:
    """Grey pictures, each as bright as its position times ten, in another order."""
    width, height = size
    pictures = [np.full((height, width, 3), 10 * n, np.uint8) for n in range(len(times))]
    coded = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]
    mixed = np.random.default_rng(1).permutation(len(times))
    return pa.table([np.array(times)[mixed], [coded[n] for n in mixed]], names=["pts_seconds", "image"])


def shades(pictures: np.ndarray) -> list[int]:
    return (pictures[:, 0, 0, 0] // 10).tolist()


def test_frames_are_spread_evenly_over_each_shot_in_time_order() -> None:
    found = list(pictures_of_shots(scenes(0, 0.8, 2), frames(np.arange(20) / 10), 4, (8, 8)))
    assert [(one.scene_index, one.start_seconds, one.end_seconds) for one in found] == [
        (0, 0, 0.8),
        (1, 0.8, 2),
    ]
    assert [one.pictures.shape for one in found] == [(4, 8, 8, 3)] * 2
    assert [shades(one.pictures) for one in found] == [[1, 3, 5, 7], [9, 12, 15, 18]]


def test_a_long_shot_is_divided_into_equal_stretches() -> None:
    found = list(pictures_of_shots(scenes(0, 2), frames(np.arange(20) / 10), 1, (8, 8), seconds=0.7))
    assert [(round(one.start_seconds, 3), round(one.end_seconds, 3)) for one in found] == [
        (0, 0.667),
        (0.667, 1.333),
        (1.333, 2),
    ]
    assert [shades(one.pictures) for one in found] == [[3], [10], [17]]


def test_few_frames_come_several_times_and_a_shot_without_any_is_left_out() -> None:
    found = list(pictures_of_shots(scenes(0, 1, 2, 3), frames([0.0, 0.5, 2.5]), 4, (8, 8)))
    assert [one.scene_index for one in found] == [0, 2]
    assert [shades(one.pictures) for one in found] == [[0, 0, 1, 1], [2, 2, 2, 2]]


@pytest.mark.parametrize("size", [(40, 20), (20, 40)])
def test_what_is_too_wide_or_too_high_is_cut_off_or_pressed_together(size: tuple[int, int]) -> None:
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    inside = (abs(y - (height - 1) / 2) < 10) & (abs(x - (width - 1) / 2) < 10)
    picture[inside] = (0, 0, 200)  # red in the order of OpenCV
    coded = cv2.imencode(".png", picture)[1].tobytes()
    table = pa.table([[0.0], [coded]], names=["pts_seconds", "image"])
    (cut,) = pictures_of_shots(scenes(0, 1), table, 1, (10, 10), crop=True)
    assert (cut.pictures == np.array([200, 0, 0])).all(), "the square in the middle, as R G B"
    (pressed,) = pictures_of_shots(scenes(0, 1), table, 1, (10, 10))
    assert pressed.pictures[0, ..., 0].mean() == pytest.approx(100, abs=1)


def test_nothing_comes_of_no_shots_and_missing_pictures_are_said() -> None:
    assert not list(pictures_of_shots(scenes(0), frames([]), 4, (8, 8)))
    table = pa.table([[0.0], pa.array([None], pa.binary())], names=["pts_seconds", "image"])
    with pytest.raises(UsageError, match=r"frames holds no pictures.*`images`"):
        list(pictures_of_shots(scenes(0, 1), table, 4, (8, 8)))
