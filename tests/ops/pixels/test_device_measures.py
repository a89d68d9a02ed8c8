"""Measures of a batch on a device are those of OpenCV frame by frame, by nothing that only NumPy has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.actors.dali_frames import DaliFrames
from framemill.models.arrays import to_host
from framemill.ops import load_op
from framemill.ops.pixels.defects import Bars, measure_defects
from framemill.ops.pixels.device_measures import (
    blur_sums,
    histograms,
    laplacian_sums,
    line_sums,
    noise_sums,
    step_sums,
)
from framemill.ops.pixels.measures import (
    colourfulness,
    measure_luma,
    measure_lumas,
    perceptual_hash,
    perceptual_hashes,
)
from tests.ops.frames.test_quality import scenery

strict = pytest.importorskip("array_api_strict")
MODULES = pytest.mark.parametrize("asarray", [np.asarray, strict.asarray], ids=["numpy", "strict"])
AsArray = Callable[[Any], Any]


def shades(count: int = 3, height: int = 72, width: int = 128) -> Any:
    """Rectangles, a black frame with a mark, a barred one, and noise."""
    made = np.stack([scenery(height, width) for _ in range(count + 3)])
    made[1] = 0
    made[1, 5:9, 5:9] = 20
    made[2, : height // 5] = made[2, :, -width // 4 :] = 10
    made[3] = np.random.default_rng(7).integers(0, 256, (height, width))
    made[4] = cv2.GaussianBlur(made[4], (0, 0), 3)
    return made[: count + 2]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_sums_are_those_of_opencv(count: int, height: int, width: int, seed: int) -> None:
    given = np.random.default_rng(seed).integers(0, 256, (count, height, width), np.uint8)
    there = strict.asarray(given)
    counts = [np.bincount(picture.ravel(), minlength=256) for picture in given]
    np.testing.assert_array_equal(to_host(histograms(there)), counts)
    changes = [cv2.Laplacian(picture, cv2.CV_16S).astype(np.int64) for picture in given]
    np.testing.assert_array_equal(
        to_host(laplacian_sums(there)), [[change.sum(), (change**2).sum()] for change in changes]
    )
    wide = given.astype(np.int64)
    for axis in (1, 2):
        steps = np.abs(np.diff(wide, axis=axis)).sum(axis=3 - axis)
        np.testing.assert_array_equal(to_host(step_sums(there, axis)), steps)
        lines = np.stack([wide.sum(axis=3 - axis), (wide**2).sum(axis=3 - axis)], axis=1)
        np.testing.assert_array_equal(to_host(line_sums(there, axis)), lines)
    for direction, window in enumerate([(1, 9), (9, 1)]):
        change = np.abs(np.diff(wide, axis=direction + 1))
        less = np.abs(np.diff([cv2.blur(p, window).astype(np.int64) for p in given], axis=direction + 1))
        lost = np.maximum(change - less, 0)
        expected = [change.sum(axis=(1, 2)), lost.sum(axis=(1, 2))]
        np.testing.assert_array_equal(to_host(blur_sums(there, 9))[:, direction].T, expected)
    if min(height, width) > 2:
        mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
        inner = [cv2.filter2D(picture, cv2.CV_16S, mask)[1:-1, 1:-1] for picture in given]
        np.testing.assert_array_equal(
            to_host(noise_sums(there)), [np.abs(part.astype(int)).sum() for part in inner]
        )


def test_measures_of_luma_are_those_of_the_host() -> None:
    given = shades()
    expected = [measure_luma(luma) for luma in given]
    assert measure_lumas(given) == expected
    for got, want in zip(measure_lumas(strict.asarray(given)), expected, strict=True):
        assert (got.brightness, got.contrast, got.entropy) == (want.brightness, want.contrast, want.entropy)
        assert got.sharpness == pytest.approx(want.sharpness, rel=1e-12)
        assert got.score == pytest.approx(want.score, rel=1e-12)


def test_defects_are_those_of_the_host() -> None:
    small = shades()
    full = np.stack([cv2.resize(picture, (700, 540)) for picture in small])
    expected = measure_defects(small, full)
    got = measure_defects(strict.asarray(small), strict.asarray(full))
    assert got == expected
    assert expected[1].is_black and expected[1].bars == Bars(0, 0, 0, 0) and expected[2].bars.top > 0.1
    tiny = np.full((2, 1, 2), 7, np.uint8)
    assert measure_defects(strict.asarray(tiny), strict.asarray(tiny)) == measure_defects(tiny, tiny)


@MODULES
def test_colours(asarray: AsArray) -> None:
    given = np.random.default_rng(1).integers(0, 256, (4, 40, 60, 3), np.uint8)
    given[1] //= 3
    expected = []
    for picture in given.astype(np.float64):
        red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
        one, two = red - green, (red + green) / 2 - blue
        expected.append(np.hypot(one.std(), two.std()) + 0.3 * np.hypot(one.mean(), two.mean()))
    # The host's are what they were when each frame was measured by itself, to the last bit.
    assert colourfulness(asarray(given)) == (
        expected if asarray is np.asarray else pytest.approx(expected, rel=1e-12)
    )


def test_hashes() -> None:
    given = np.random.default_rng(2).integers(0, 256, (20, 32, 32), np.uint8)
    given[3] = 77
    expected = [perceptual_hash(luma) for luma in given]
    assert perceptual_hashes(given) == expected == perceptual_hashes(strict.asarray(given))


@pytest.mark.parametrize("name", ["frames", "quality", "preview"])
def test_rows_are_those_of_the_host(name: str) -> None:
    """The stand-in for a device refuses whatever is not in the array API standard."""
    colours = np.random.default_rng(3).integers(0, 256, (3, 9, 16, 3), np.uint8)
    pixels = np.stack([cv2.resize(picture, (320, 180)) for picture in colours])
    kind = load_op(name)
    assert kind.on_device
    tables = []
    for array in (pixels, strict.asarray(pixels)):
        frames = DaliFrames(array, np.arange(3), np.arange(3) / 25, np.ones(3, bool), (320, 180), 0, "bt709")
        extractor = kind(kind.Options(), {}).open(None)  # type: ignore[arg-type]
        extractor.feed(frames, {})
        tables.append(extractor.finish().rows.to_pylist())
    host, device = tables
    assert host
    for mine, theirs in zip(host, device, strict=True):
        for column, value in mine.items():
            same = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
            assert theirs[column] == same, column
