"""Motion of shots: camera moves that are known, alone and with what disturbs them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import framemill
from framemill.errors import UsageError
from framemill.ops.chunks import UInt8Array
from framemill.ops.shots.motion import MotionOptions
from tests.ops.shots.camera_clips import (
    FPS,
    WIDTH,
    WORLD,
    View,
    film,
    held_by_hand,
    motion_of,
    seen,
    steps_of,
)

COUNT = 50
# From the first look to the last, at frames 0 and 48.
FRAMES = 48
STILL = View()
# Pixels and degrees of the frame, for each frame.
MOVES: dict[str, tuple[Callable[[int], View], str, str, str, float]] = {
    "pan left": (lambda n: View(x=-4 * n / 1.4), "pan", "left", "pan", -4 * FRAMES / WIDTH),
    "pan right, slowly": (lambda n: View(x=0.5 * n / 1.4), "pan", "right", "pan", 0.5 * FRAMES / WIDTH),
    "pan left, at a rush": (lambda n: View(x=10 * (25 - n)), "pan", "left", "pan", -14 * FRAMES / WIDTH),
    "tilt up": (lambda n: View(y=-3 * n / 1.4), "tilt", "up", "tilt", 3 * FRAMES / WIDTH),
    "tilt down": (lambda n: View(y=3 * n / 1.4), "tilt", "down", "tilt", -3 * FRAMES / WIDTH),
    "zoom in": (lambda n: View(zoom=1.2 * 1.01**n), "zoom", "in", "zoom", 1.01**FRAMES),
    "zoom out": (lambda n: View(zoom=2.0 / 1.01**n), "zoom", "out", "zoom", 1.01**-FRAMES),
    "zoom in, slowly": (lambda n: View(zoom=1.4 * 1.001**n), "zoom", "in", "zoom", 1.001**FRAMES),
    "roll": (lambda n: View(roll=0.5 * n), "roll", "clockwise", "roll_degrees", 0.5 * FRAMES),
    "roll back": (lambda n: View(roll=-0.5 * n), "roll", "counterclockwise", "roll_degrees", -0.5 * FRAMES),
}  # fmt: skip


def only(luma: UInt8Array, **options: float) -> dict[str, Any]:
    (row,) = motion_of(luma, **options)
    return row


def kind_of(row: dict[str, Any]) -> tuple[str | None, str | None]:
    return row["kind"], row["direction"]


def with_passer_by(luma: UInt8Array) -> UInt8Array:
    """Something with detail of its own, a sixth of the picture large, goes through it from the left."""
    made, passer = luma.copy(), 255 - WORLD[:480:8, :320:8]
    for n, frame in enumerate(made):
        left = 2 * n
        part = passer[:, : max(0, frame.shape[1] - left)]
        frame[20:80, left : left + part.shape[1]] = part
    return made


@pytest.mark.parametrize("name", MOVES)
def test_a_camera_move_is_told_with_its_direction_and_its_way(name: str) -> None:
    path, kind, direction, column, way = MOVES[name]
    row = only(film(path, COUNT))
    assert kind_of(row) == (kind, direction)
    assert row[column] == pytest.approx(way, rel=0.03, abs=0.003)
    others = {"pan": 0.0, "tilt": 0.0, "zoom": 1.0, "roll_degrees": 0.0}
    del others[column]
    for other, nothing in others.items():
        assert row[other] == pytest.approx(nothing, abs=0.3 if other == "roll_degrees" else 0.01), other
    assert row["known_share"] == 1.0 and row["shake"] < 0.01


@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0])
def test_a_camera_at_rest_is_static_whatever_the_noise(noise: float) -> None:
    row = only(film(lambda n: STILL, COUNT, noise))
    assert kind_of(row) == ("static", None)
    assert row["amount"] < 0.01 and row["camera_speed"] < 0.005
    assert row["zoom"] == pytest.approx(1, abs=0.005)


def test_what_moves_before_a_camera_is_not_the_camera() -> None:
    still = only(with_passer_by(film(lambda n: STILL, COUNT)))
    assert kind_of(still) == ("static", None)
    assert still["own_speed"] > 0.03 and still["amount"] > 0.03 and still["camera_speed"] < 0.005
    panned = only(with_passer_by(film(lambda n: View(x=3 * n / 1.4), COUNT)))
    assert kind_of(panned) == ("pan", "right")
    assert panned["pan"] == pytest.approx(3 * FRAMES / WIDTH, rel=0.05)
    assert panned["own_speed"] > 0.03 and panned["amount"] > still["amount"]


def test_something_that_moves_over_more_points_than_stand_still_is_not_the_camera() -> None:
    luma = np.stack([seen(STILL)] * COUNT)
    # 55 of 90 rows, in a picture that is as detailed everywhere.
    for n, frame in enumerate(luma):
        frame[35:] = np.roll(frame[35:], 2 * n, axis=1)
    assert kind_of(only(luma)) == ("static", None)


@pytest.mark.parametrize("size", [4.0, 10.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_camera_in_the_hand_trembles_and_goes_nowhere(size: float, seed: int) -> None:
    row = only(film(held_by_hand(size, seed, COUNT), COUNT))
    assert kind_of(row) == ("handheld", None)
    assert row["shake"] == pytest.approx(0.0065 * size, rel=0.35)


def test_a_pan_by_hand_is_a_pan() -> None:
    hand = held_by_hand(4.0, 7, COUNT)
    row = only(film(lambda n: View(hand(n).x - 6 * n, hand(n).y, hand(n).zoom, hand(n).roll), COUNT))
    assert kind_of(row) == ("pan", "left") and row["shake"] > MotionOptions().shake


def test_there_and_back_has_no_direction() -> None:
    row = only(film(lambda n: View(x=4 * min(n, 49 - n)), COUNT))
    assert kind_of(row) == ("pan", None) and abs(row["pan"]) < 0.02 and row["amount"] > 0.1


def test_each_shot_has_a_motion_of_its_own() -> None:
    shots = [film(path, COUNT) for path, *_ in (MOVES["pan left"], MOVES["zoom in"])]
    other = np.ascontiguousarray(film(lambda n: STILL, COUNT)[:, ::-1])
    rows = motion_of(np.concatenate([*shots, other]), [COUNT, 2 * COUNT])
    assert [kind_of(row) for row in rows] == [("pan", "left"), ("zoom", "in"), ("static", None)]
    assert [row["scene_index"] for row in rows] == [0, 1, 2]
    assert rows[1]["start_seconds"] == COUNT / FPS and rows[1]["zoom"] == pytest.approx(
        1.01**FRAMES, rel=0.03
    )


def test_what_is_seen_through_a_dissolve_does_not_count() -> None:
    first, second = film(MOVES["pan left"][0], COUNT), film(lambda n: STILL, COUNT)[:, ::-1]
    weights = np.clip((np.arange(COUNT) + 0.5) / 12, 0, 1)[:, None, None]
    last = first[-1]
    luma = np.concatenate([first, (last * (1 - weights) + second * weights).astype(np.uint8)])
    rows = motion_of(luma, [COUNT], transition="dissolve")
    assert [kind_of(row) for row in rows] == [("pan", "left"), ("static", None)]
    assert rows[1]["amount"] < 0.01


def test_a_turned_and_mirrored_picture_is_told_as_it_is_shown() -> None:
    luma = film(MOVES["pan left"][0], COUNT)  # things move to the right in the plane as coded

    def middle(**info: Any) -> tuple[float, float]:
        rows = steps_of(luma, **info)
        return tuple(float(np.nanmean(rows[name].to_numpy())) for name in ("shift_x", "shift_y"))  # type: ignore[return-value]

    way = 4 * FRAMES / WIDTH / 19  # in as many steps
    assert middle() == pytest.approx((way, 0), abs=0.0005)
    turned = {"size": (720, 1280)}
    assert middle(rotation_quarters=1, **turned) == pytest.approx((0, way), abs=0.0005)
    assert middle(rotation_quarters=2) == pytest.approx((-way, 0), abs=0.0005)
    assert middle(rotation_quarters=3, **turned) == pytest.approx((0, -way), abs=0.0005)
    assert middle(is_mirrored=True) == pytest.approx((-way, 0), abs=0.0005)
    # Pixels twice as wide as high: the same way in a picture as long as it is shown.
    assert middle(size=(2560, 720)) == pytest.approx((way, 0), abs=0.0005)


def test_where_a_source_is_cut_into_shards_changes_nothing() -> None:
    luma = film(MOVES["roll"][0], COUNT)
    whole = steps_of(luma)
    assert whole["shift_x"].null_count == 1 and whole.num_rows == 20
    for borders, chunk in (([1], 50), ([20], 7), ([2, 3, 31], 1)):
        assert steps_of(luma, borders, chunk).equals(whole)


def test_flat_pictures_and_single_looks_tell_nothing_and_a_frozen_one_stands() -> None:
    grey = np.full((COUNT, 90, 160), 90, np.uint8)
    flicker = grey + np.arange(COUNT, dtype=np.uint8)[:, None, None] % 5
    nothing = {"amount", "camera_speed", "own_speed", "kind", "direction", "pan", "zoom", "shake"}
    for row in (only(flicker), only(grey[:1])):
        assert {row[name] for name in nothing} == {None} and row["known_share"] == 0
    frozen = only(grey)
    assert kind_of(frozen) == ("static", None) and frozen["amount"] == 0 and frozen["known_share"] == 1


def test_the_limits_of_options_are_told() -> None:
    assert kind_of(only(film(MOVES["pan right, slowly"][0], COUNT), move=0.1)) == ("static", None)
    hand = film(held_by_hand(4.0, 1, COUNT), COUNT)
    assert kind_of(only(hand, shake=1.0)) == ("static", None)
    with pytest.raises(UsageError, match=r"motion.move is 0; give a number above 0"):
        MotionOptions(move=0)
    assert math.isclose(MotionOptions(shake=10).shake, 10)


@pytest.mark.media
@pytest.mark.slow
def test_cameras_of_real_clips_do_what_was_seen(media_dir: Path, tmp_path: Path) -> None:
    """Looked at: a tripod over a street, slow zooms in and out, a camera that travels, stored upside down."""
    seen_moves = {
        "car-detection.mp4": {("static", None)},
        "sample_h265.mp4": {("zoom", "in")},
        "nasa_13013_hdr.mp4": {("static", None), ("zoom", "out")},
        "internal_180_rotated.mp4": {("pan", "right")},
    }
    framemill.extract(
        [media_dir / "video" / name for name in seen_moves],
        tmp_path / "out",
        ops=["media", "scenes", "motion"],
    )
    sql = "SELECT name, camera, camera_direction FROM shots"
    found: dict[str, set[tuple[str | None, str | None]]] = {name: set() for name in seen_moves}
    for name, kind, direction in framemill.open(tmp_path / "out").sql(sql).rows:
        found[name].add((kind, direction))
    assert found == seen_moves
