"""Quality: each measure on pictures whose answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from framemill.ops.frames.quality import Quality
from framemill.ops.operation import NoOptions
from framemill.ops.pixels.defects import Bars, bars, blockiness, blur, exposure, noise
from tests.ops.frames_stub import ArrayFrames

Picture = npt.NDArray[np.uint8]


def scenery(height: int = 288, width: int = 512) -> Picture:
    """Rectangles of many sizes and shades: edges everywhere, no noise."""
    generator = np.random.default_rng(3)
    picture = np.full((height, width), 120, np.uint8)
    for _ in range(150):
        x, y = int(generator.integers(width)), int(generator.integers(height))
        w, h = generator.integers(8, 90, 2).tolist()
        picture[y : y + h, x : x + w] = generator.integers(40, 200)
    return picture


def test_blur_grows_with_blurring() -> None:
    picture = scenery()
    values = [blur(picture)] + [
        blur(np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)) for sigma in (1, 2, 4)
    ]
    assert values == sorted(values) and values[0] < 0.2 and 0.5 < values[2] < values[3] < 1
    assert blur(np.full((20, 30), 77, np.uint8)) == 1 and blur(np.zeros((1, 1), np.uint8)) == 1


def test_stripes_of_one_direction_are_sharp() -> None:
    stripes = np.tile(np.repeat(np.array([0, 255], np.uint8), 16), 9)[None].repeat(60, axis=0)
    assert blur(stripes) < 0.3


def test_blur_sees_motion_in_one_direction() -> None:
    smeared = np.asarray(cv2.blur(scenery(), (25, 1)), np.uint8)
    assert blur(smeared) > 0.5


def test_exposure_is_a_share_of_pixels() -> None:
    picture = np.full((10, 10), 128, np.uint8)
    picture[:2], picture[9:] = 5, 250
    assert exposure(picture) == (pytest.approx(0.2), pytest.approx(0.1), False)
    assert exposure(np.full((10, 10), 25, np.uint8)) == (0, 0, True)
    spotted = np.full((10, 10), 10, np.uint8)
    spotted[0, :2] = 90
    assert exposure(spotted)[2]
    spotted[0, :3] = 90
    assert not exposure(spotted)[2]


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_noise_is_found_as_strong_as_it_was_added(sigma: float) -> None:
    picture = np.full((720, 1280), 128.0) + np.random.default_rng(1).normal(0, sigma, (720, 1280))
    assert noise(np.clip(np.rint(picture), 0, 255).astype(np.uint8)) == pytest.approx(sigma, rel=0.03)


def test_noise_of_what_has_none() -> None:
    assert noise(np.full((300, 300), 9, np.uint8)) == 0 and noise(np.zeros((2, 300), np.uint8)) == 0
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (256, 256)).copy()
    assert noise(ramp) == 0


def test_blockiness_grows_as_a_coder_is_starved() -> None:
    picture = np.asarray(cv2.GaussianBlur(scenery(), (0, 0), 2), np.uint8)
    values = []
    for quality in (95, 30, 10):
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        values.append(blockiness(np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)))
    assert blockiness(picture) == pytest.approx(1, abs=0.06)
    assert values == sorted(values) and values[0] < 1.1 and values[-1] > 1.5
    assert blockiness(np.zeros((4, 4), np.uint8)) == 1 and blockiness(np.zeros((1, 1), np.uint8)) == 1


def test_bars_are_shares_of_the_frame() -> None:
    picture = scenery(200, 400)
    picture[:20] = picture[160:] = picture[:, :100] = 12
    picture[:20:2, ::3] += 1
    assert bars(picture) == Bars(left=0.25, top=0.1, right=0.0, bottom=0.2)
    assert bars(scenery()) == bars(np.zeros((9, 9), np.uint8)) == Bars(0, 0, 0, 0)


def test_a_dark_scene_has_no_bars() -> None:
    night = (scenery().astype(np.float32) / 8 + np.random.default_rng(2).normal(0, 3, (288, 512))).astype(
        np.uint8
    )
    assert bars(night) == Bars(0, 0, 0, 0)


def test_a_row_tells_all_of_a_frame() -> None:
    shades = np.stack([scenery(144, 256), np.zeros((144, 256), np.uint8)])
    shades[0, :, :64] = 0
    shades[1, 100:110, 100:120] = 20  # a mark in a black picture is not what bars surround
    frames = ArrayFrames(np.repeat(shades[..., None], 3, axis=3), frame_index=[5, 9], pts_seconds=[0.2, 0.6])
    table = Quality(NoOptions(), {}).run(frames, {})
    assert table.schema.equals(Quality.schema, check_metadata=True)
    first, second = table.to_pylist()
    assert (first["frame_index"], second["frame_index"], second["pts_seconds"]) == (5, 9, 0.6)
    assert first["bar_left"] == 0.25 and first["bar_top"] == 0 and not first["is_black"]
    assert first["underexposed"] == pytest.approx(0.25, abs=0.01)
    assert second["is_black"] and second["bar_left"] == second["bar_top"] == 0
    assert second["underexposed"] > 0.99
