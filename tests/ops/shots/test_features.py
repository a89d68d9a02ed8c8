"""Numbers that scenes are found by, of planes whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from framemill.ops.shots.features import THUMB_BYTES, change_between, thumbnails


def test_change_and_thumbnail_of_known_planes() -> None:
    dark, light = np.full((8, 16), 10, np.uint8), np.full((8, 16), 40, np.uint8)
    u, v = np.full((4, 8), 100, np.uint8), np.full((4, 8), 120, np.uint8)
    assert change_between((dark, u, u), (light, v, u)) == pytest.approx(30 + 10)
    small = thumbnails(dark[None], u[None], v[None])[0]
    assert small.shape == (THUMB_BYTES,)
    assert set(small[:64]) == {10} and set(small[64:80]) == {100} and set(small[80:]) == {120}


def test_thumbnails_are_exact_means_of_cells_that_cut_through_samples() -> None:
    rng = np.random.default_rng(0)
    for height, width in ((135, 240), (90, 160), (256, 256), (7, 3), (1, 1)):
        luma = rng.integers(0, 256, (9, height, width), np.uint8)
        luma[0] = 255
        chroma = luma[:, : (height + 1) // 2, : (width + 1) // 2]
        found = thumbnails(luma, chroma, chroma)
        # Samples repeated as often as there are cells make cells of whole samples.
        large = luma.repeat(8, 1).repeat(8, 2).astype(np.int64)
        sums = large.reshape(9, 8, height, 8, width).sum(axis=(2, 4))
        means = (2 * sums + height * width) // (2 * height * width)
        assert np.array_equal(found[:, :64], means.reshape(9, 64))
        assert np.array_equal(found[4:5], thumbnails(luma[4:5], chroma[4:5], chroma[4:5]))
