"""Pictures resized in the array API agree with OpenCV, and use nothing that only NumPy has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from framemill.actors.pyav_colours import shrink as shrink_plane
from framemill.models.arrays import to_host
from framemill.ops.pixels.boxes import areas, nms, overlaps
from framemill.ops.pixels.model_input import letterbox, planes
from framemill.ops.pixels.resizing import (
    cut_regions,
    halve,
    mirror,
    mix_channels,
    resize_linear,
    shrink,
    turn,
)

strict = pytest.importorskip("array_api_strict")
MODULES = pytest.mark.parametrize("asarray", [np.asarray, strict.asarray], ids=["numpy", "strict"])
AsArray = Callable[[Any], Any]


def pictures(count: int = 3, height: int = 90, width: int = 160) -> Any:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, height // 5 + 2, width // 5 + 2, 3), np.uint8)
    return np.stack([cv2.resize(p, (width, height)) for p in coarse])


def worst(a: Any, b: Any) -> int:
    return int(np.abs(to_host(a).astype(int) - b.astype(int)).max())


@MODULES
@pytest.mark.parametrize("size", [(160, 90), (64, 48), (33, 21), (200, 100)])
def test_linear_is_that_of_opencv(asarray: AsArray, size: tuple[int, int]) -> None:
    given = pictures()
    expected = np.stack([cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in given])
    made = resize_linear(asarray(given), size)
    assert made.shape == expected.shape and worst(made, expected) <= 1


@MODULES
@pytest.mark.parametrize(("height", "width"), [(90, 160), (91, 160), (91, 161), (7, 5)])
def test_halves_are_means(asarray: AsArray, height: int, width: int) -> None:
    given = pictures(2, height, width)[..., 0]
    size = (width // 2, height // 2)
    expected = np.stack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in given])
    assert worst(halve(asarray(given)), expected) <= (0 if height % 2 == width % 2 == 0 else 1)


@MODULES
@pytest.mark.parametrize("size", [(32, 32), (128, 72), (40, 23)])
def test_shrinking_is_that_of_the_readers(asarray: AsArray, size: tuple[int, int]) -> None:
    given = pictures(2, 360, 642)[..., 1]
    expected = np.stack([shrink_plane(p, size) for p in given])
    assert worst(shrink(asarray(given), size), expected) <= 2


@MODULES
def test_regions_are_cut_with_black_around(asarray: AsArray) -> None:
    given = pictures()
    boxes = np.array([[10, 20, 60, 70], [-20, -10, 40, 30], [100, 50, 200, 120], [5, 5, 5, 9]], np.float32)
    index = np.array([0, 1, 2, 0])
    made = to_host(cut_regions(asarray(given), index, boxes, (24, 20)))
    for row, (at, (x0, y0, x1, y1)) in enumerate(zip(index, boxes, strict=True)):
        if x1 <= x0:
            assert not made[row].any()
            continue
        sx, sy = (x1 - x0) / 24, (y1 - y0) / 20
        warp = np.array([[sx, 0, x0 + sx / 2 - 0.5], [0, sy, y0 + sy / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        expected = cv2.warpAffine(given[at], warp, (24, 20), flags=flags)
        # OpenCV rounds places to a 32nd of a pixel.
        assert worst(made[row], expected) <= 6
        assert np.abs(made[row].astype(int) - expected.astype(int)).mean() < 0.6


@MODULES
@pytest.mark.parametrize("quarters", range(4))
def test_turns(asarray: AsArray, quarters: int) -> None:
    given = pictures()
    for part in (given, given[..., 0]):
        expected = np.rot90(part, -quarters, axes=(1, 2))
        np.testing.assert_array_equal(to_host(turn(asarray(part), quarters)), expected)


@MODULES
def test_left_and_right_are_exchanged(asarray: AsArray) -> None:
    given = pictures()
    for part in (given, given[..., 0]):
        np.testing.assert_array_equal(to_host(mirror(asarray(part))), part[:, :, ::-1])


@MODULES
def test_channels_are_mixed_and_limited(asarray: AsArray) -> None:
    given = pictures()
    matrix = np.array([[2.0, 0, 0], [0, -1, 0], [0.299, 0.587, 0.114]], np.float32)
    expected = np.clip(np.round(given.astype(np.float64) @ matrix.T), 0, 255)
    assert worst(mix_channels(asarray(given), matrix), expected) <= 1
    assert mix_channels(asarray(given), matrix[2:]).shape == given.shape[:3]


@MODULES
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("mean", "scale"), [((), ()), ((127.0,), (1 / 128,)), ((1.0, 2.0, 3.0), (0.5, 1.0, 2.0))]
)
def test_model_inputs(
    asarray: AsArray, colour: str, mean: tuple[float, ...], scale: tuple[float, ...]
) -> None:
    given = pictures(2)
    ordered = given[..., ::-1] if colour == "bgr" else given
    expected = (ordered - np.array(mean or (0.0,), np.float32)) * np.array(scale or (1.0,), np.float32)
    made = to_host(planes(asarray(given), colour, mean, scale))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected.transpose(0, 3, 1, 2), rtol=1e-6, atol=1e-5)
    boxed = to_host(letterbox(asarray(given), (200, 120), (20, 10), 114, colour, mean, scale))
    np.testing.assert_array_equal(boxed[:, :, 10:100, 20:180], made)
    grey = to_host(planes(asarray(np.full((1, 1, 1, 3), 114, np.uint8)), colour, mean, scale))[0, :, 0, 0]
    for edge in (boxed[:, :, :10], boxed[:, :, 100:], boxed[..., :20], boxed[..., 180:]):
        np.testing.assert_array_equal(edge, np.broadcast_to(grey[:, None, None], edge.shape))


def test_boxes_are_chosen_alike_anywhere() -> None:
    rng = np.random.default_rng(3)
    low = rng.random((50, 2)) * 80
    boxes = np.concatenate([low, low + rng.random((50, 2)) * 40 - 2], axis=1).astype(np.float32)
    scores, labels = (rng.integers(0, 9, 50) / 9).astype(np.float32), rng.integers(0, 2, 50)
    expected = nms(boxes, scores, labels, 0.4, 20)
    made = nms(*(strict.asarray(a) for a in (boxes, scores, labels)), 0.4, 20)
    np.testing.assert_array_equal(to_host(made), expected)
    np.testing.assert_array_equal(to_host(areas(strict.asarray(boxes))), areas(boxes))
    there = overlaps(strict.asarray(boxes[0]), strict.asarray(boxes))
    np.testing.assert_array_equal(to_host(there), overlaps(boxes[0], boxes))
