"""Composition: where the eye goes and where the subject stands, on pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from framemill.ops.frames.composition import Composition, symmetry, thirds_distance
from framemill.ops.operation import NoOptions
from framemill.ops.pixels.saliency import centre, share_within, spectral_residual
from tests.ops.frames_stub import ArrayFrames
from tests.ops.objects.object_tables import objects_table


def spot(x: int, y: int, side: int = 6) -> npt.NDArray[np.uint8]:
    """A bright spot in an even texture of 64 x 64."""
    picture = np.random.default_rng(2).integers(100, 110, (64, 64), dtype=np.uint8)
    picture[y : y + side, x : x + side] = 240
    return picture


@pytest.mark.parametrize(("x", "y"), [(10, 12), (45, 30), (30, 50)])
def test_what_stands_out_is_salient(x: int, y: int) -> None:
    saliency = spectral_residual(spot(x, y))
    assert saliency.sum() == pytest.approx(1, abs=1e-4) and saliency.min() >= 0
    row, column = np.unravel_index(saliency.argmax(), saliency.shape)
    assert abs(int(column) - (x + 3)) <= 4 and abs(int(row) - (y + 3)) <= 4
    box = np.array([[x - 4, y - 4, x + 10, y + 10]], np.float32) / 64
    assert share_within(saliency, box)[0] > 3 * (14 * 14) / 64**2


def test_a_flat_picture_draws_the_eye_nowhere() -> None:
    saliency = spectral_residual(np.full((64, 64), 55, np.uint8))
    assert np.ptp(saliency) == 0 and centre(saliency) == (pytest.approx(0.5), pytest.approx(0.5))
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.3, 0.3, 0.3, 0.3]], np.float32)
    shares = share_within(saliency, boxes)
    assert shares[:2].tolist() == pytest.approx([1, 0.25], abs=1e-4) and shares[2] < 0.001


def test_thirds() -> None:
    assert thirds_distance(1 / 3, 2 / 3) == 0
    assert thirds_distance(0.5, 0.5) == pytest.approx(1 / 6)
    assert [thirds_distance(0, 0), thirds_distance(1, 1)] == pytest.approx([1 / 3, 1 / 3])


def test_symmetry() -> None:
    half = np.random.default_rng(1).integers(0, 256, (64, 32), dtype=np.uint8)
    even = np.concatenate([half, half[:, ::-1]], axis=1)
    assert symmetry(even) == pytest.approx(1)
    assert symmetry(np.concatenate([half, 255 - half[:, ::-1]], axis=1)) < -0.9
    assert abs(symmetry(np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8))) < 0.2
    assert symmetry(np.full((64, 64), 9, np.uint8)) == 1


def test_the_subject_is_the_object_that_is_seen_first() -> None:
    gray = spot(40, 8, 12).repeat(4, axis=0).repeat(4, axis=1)  # the spot covers 160..208 x 32..80
    frames = ArrayFrames(np.repeat(gray[None, ..., None], 3, axis=3).repeat(2, axis=0), frame_index=[3, 8])
    objects = objects_table(
        [
            (3, "car", 0.9, (0, 150, 60, 210)),
            (3, "person", 0.8, (150, 26, 214, 90)),
            (3, "car", 0.3, (0, 0, 9, 9)),
        ]
    )
    table = Composition(NoOptions(), {}).run(frames, {"objects": objects})
    assert table.schema.equals(Composition.schema, check_metadata=True)
    table.validate(full=True)
    row, without = table.to_pylist()
    assert row["subject_index"] == 1 and row["subject_saliency"] > 0.25
    assert (row["subject_x"], row["subject_y"]) == (pytest.approx(182 / 256), pytest.approx(58 / 256))
    assert row["subject_share"] == pytest.approx((64 / 256) ** 2) and row["headroom"] == pytest.approx(
        26 / 256
    )
    assert row["thirds_distance"] == pytest.approx(thirds_distance(182 / 256, 58 / 256), abs=1e-6)
    assert row["saliency_x"] > 0.52 and row["saliency_y"] < 0.48
    nulls = {name for name, value in without.items() if value is None}
    assert nulls == {
        "subject_index",
        "subject_x",
        "subject_y",
        "subject_share",
        "subject_saliency",
        "headroom",
    }
    assert without["thirds_distance"] == pytest.approx(
        thirds_distance(without["saliency_x"], without["saliency_y"]), abs=1e-6
    )
