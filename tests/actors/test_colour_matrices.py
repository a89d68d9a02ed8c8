"""Colours known from the standards, and sizes that stand for a tag."""

from __future__ import annotations

import numpy as np
import pytest

from framemill.actors.colour_matrices import luma_from_samples, matrix_name, rgb_from_samples, to_ycc

# Y'CbCr of pure red in studio range at 8 bits, rounded: ITU-R BT.601 2.5, BT.709 3, BT.2020
# table 4, ITU-T H.273 table 4.
REDS = {
    "bt601": (81, 90, 240),
    "bt709": (63, 102, 240),
    "bt2020": (74, 97, 240),
    "fcc": (82, 90, 240),
    "smpte240m": (62, 102, 240),
}


@pytest.mark.parametrize("matrix", REDS)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_red_is_red(matrix: str, bits: int) -> None:
    stored = np.array([*REDS[matrix], 0]) * (1 << (bits - 8)) + [0, 0, 0, 1]
    np.testing.assert_allclose(rgb_from_samples(matrix, bits, False) @ stored, [255, 0, 0], atol=1.5)


@pytest.mark.parametrize("matrix", REDS)
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("is_full", [False, True])
def test_coding_and_back(matrix: str, bits: int, is_full: bool) -> None:
    colours = np.random.default_rng(0).random((20, 3))
    unit, top = 1 << (bits - 8), (1 << bits) - 1
    scales, zero = ((top, top, top), 0) if is_full else ((219 * unit, 224 * unit, 224 * unit), 16 * unit)
    stored = colours @ to_ycc(matrix).T * scales + [zero, 128 * unit, 128 * unit]
    back = np.concatenate([stored, np.ones((20, 1))], axis=1) @ rgb_from_samples(matrix, bits, is_full).T
    np.testing.assert_allclose(back, 255 * colours, atol=1e-9)


def test_grey_has_no_colour() -> None:
    for matrix in REDS:
        np.testing.assert_allclose(to_ycc(matrix).sum(axis=1), [1, 0, 0], atol=1e-12)


def test_ends_of_luma() -> None:
    for bits, is_full, black, white in (
        (8, True, 0, 255), (8, False, 16, 235), (10, True, 0, 1023), (10, False, 64, 940),
        (12, False, 256, 3760),
    ):  # fmt: skip
        ends = luma_from_samples(bits, is_full) @ np.array([[black, white], [1, 1]])
        np.testing.assert_allclose(ends, [[0, 255]], atol=1e-12)


@pytest.mark.parametrize(
    ("code", "num_lines", "name"),
    [(1, 64, "bt709"), (5, 2160, "bt601"), (6, 720, "bt601"), (9, 64, "bt2020"), (10, 64, "bt2020"),
     (4, 1080, "fcc"), (7, 64, "smpte240m"),
     (2, 719, "bt601"), (2, 720, "bt709"), (0, 480, "bt601"), (3, 480, "bt601"), (14, 1080, "bt709")],
)  # fmt: skip
def test_tags_and_sizes(code: int, num_lines: int, name: str) -> None:
    assert matrix_name(code, num_lines) == name
