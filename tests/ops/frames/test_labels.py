from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model
from framemill.ops.frames.labels import Labels, LabelsOptions
from framemill.ops.pixels.framing import frame_pictures
from tests.ops.frames.embedding_stand_ins import LabelsRunner
from tests.ops.frames_stub import ArrayFrames
from tests.small_models import SMALL

ENTRY = SMALL["labels"]


def make(**options: Any) -> Labels:
    return Labels(LabelsOptions(**options), {"labels": Model(ENTRY, LabelsRunner())})


def gray(*shades: int) -> ArrayFrames:
    pixels = np.zeros((len(shades), 90, 160, 3), np.uint8)
    pixels[:] = np.array(shades, np.uint8)[:, None, None, None]
    return ArrayFrames(pixels)


def test_best_classes_come_first_with_their_probabilities() -> None:
    rows = make(score=0.0, top=3).run(gray(117, 200), {}).to_pylist()
    assert [row["rank"] for row in rows] == [0, 1, 2] * 2
    assert [row["frame_index"] for row in rows] == [0, 0, 0, 1, 1, 1]
    best = ENTRY.labels.index(rows[0]["label"])
    assert [row["label"] for row in rows[1:3]] == [ENTRY.labels[best + 1], ENTRY.labels[best - 1]]
    powers = np.exp([9.0, 8.0, 7.0])
    expected = powers / (powers.sum() + 997)
    np.testing.assert_allclose([row["score"] for row in rows[:3]], expected, rtol=1e-5)


def test_score_and_top_bound_the_rows() -> None:
    assert make(score=0.2).run(gray(117), {}).num_rows == 2
    assert make(score=0.99).run(gray(117), {}).num_rows == 0
    assert make(top=1).run(gray(117, 0), {}).num_rows == 2


@pytest.mark.parametrize("options", [{"top": 0}, {"score": -0.1}, {"score": 2.0}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"labels\.(top|score) is .*; it must be"):
        LabelsOptions(**options)


def test_models_of_another_kind_are_refused() -> None:
    for change in ({"family": "yolox"}, {"input_size": None}, {"labels": ()}):
        with pytest.raises(ModelError, match="add one of family 'imagenet'"):
            Labels(LabelsOptions(), {"labels": Model(replace(ENTRY, **change), LabelsRunner())})
    entry = replace(ENTRY, labels=ENTRY.labels[:10])
    with pytest.raises(ModelError, match=r"gives \{'output': \[1, 1000\]\}.*ask for one output \[1, 10\]"):
        Labels(LabelsOptions(), {"labels": Model(entry, LabelsRunner())}).run(gray(1), {})


def test_pictures_show_the_middle_or_all_of_a_frame() -> None:
    # Columns of the frame are numbered by their brightness.
    pixels = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, None, :, None], (1, 100, 200, 3))
    frames = ArrayFrames(np.ascontiguousarray(pixels))
    whole = frame_pictures(frames, (20, 20), None)
    assert whole.shape == (1, 20, 20, 3)
    np.testing.assert_allclose(whole[0, 0, :, 0], np.arange(20) * 10 + 4.5, atol=1)
    middle = frame_pictures(frames, (20, 20), 1.0)
    np.testing.assert_allclose(middle[0, 0, :, 0], 50 + np.arange(20) * 5 + 2, atol=1)
    half = frame_pictures(frames, (20, 20), 0.5)
    np.testing.assert_allclose(half[0, 0, :, 0], 75 + np.arange(20) * 2.5 + 0.75, atol=1)
    assert frame_pictures(ArrayFrames(np.empty((0, 9, 9, 3), np.uint8)), (20, 20), None).shape[0] == 0
