"""Fades of every length, colour and picture; what looks like one and is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ops.shots.test_scenes import WIDTH, mix, picture, starts_of


def smooth(low: float, high: float, at: float) -> float:
    share = min(max((at - low) / (high - low), 0.0), 1.0)
    return share * share * (3 - 2 * share)


def colour_dip(
    before: np.ndarray[Any, Any], after: np.ndarray[Any, Any], level: float, steps: int
) -> list[np.ndarray[Any, Any]]:
    """As ffmpeg's `fadeblack` and `fadewhite` join two: a fall in a fifth of the time, then a rise."""
    found = []
    for left in (1 - i / steps for i in range(steps)):
        old = before + (level - before) * (1 - smooth(0.8, 1, left))
        new = level + (after - level) * (1 - smooth(0.2, 1, left))
        found.append(old * left + new * (1 - left))
    return found


@pytest.mark.parametrize("level", [16.0, 235.0])
@pytest.mark.parametrize("steps", [4, 6, 8, 12, 15, 20, 30, 50])
def test_dips_of_any_length_into_black_and_white_are_fades(steps: int, level: float) -> None:
    a, b = picture(1), picture(2)
    found = starts_of([a] * 40 + colour_dip(a, b, level, steps) + [b] * 60)
    assert [kind for _, kind in found] == ["start", "fade"]
    assert 40 <= found[1][0] <= 40 + steps // 3


@pytest.mark.parametrize("level", [16.0, 235.0])
@pytest.mark.parametrize(
    ("fall", "held", "rise"),
    [(1, 1, 1), (4, 0, 4), (4, 2, 4), (6, 1, 6), (12, 0, 12), (25, 3, 25), (4, 12, 30)],
)
def test_even_fades_of_any_length_are_fades(fall: int, held: int, rise: int, level: float) -> None:
    a, b = picture(3), picture(4)
    solid = np.full_like(a, level)
    luma = [a] * 40 + mix(a, solid, fall) + [solid] * held + mix(solid, b, rise) + [b] * 60
    found = starts_of(luma)
    assert [kind for _, kind in found] == ["start", "fade"]
    assert abs(found[1][0] - (40 + fall + max(held, 1) - 1)) <= 1


def test_a_dark_picture_fades_like_any_other() -> None:
    """Its brightness alone hardly changes on the way to black."""
    dark = np.where(picture(6) > 190, 110.0, 16.0)
    black, bright = np.full_like(dark, 16.0), picture(7)
    there = [bright] * 40 + mix(bright, black, 12) + [black] * 2 + mix(black, dark, 12) + [dark] * 60
    back = [dark] * 40 + mix(dark, black, 12) + [black] * 2 + mix(black, bright, 12) + [bright] * 60
    for luma in (there, back):
        assert [kind for _, kind in starts_of(luma)] == ["start", "fade"]


@pytest.mark.parametrize("level", [16.0, 235.0])
def test_a_pan_over_a_plain_wall_is_no_fade(level: float) -> None:
    rng = np.random.default_rng(9)
    wide = np.kron(rng.uniform(30, 220, (9, 60)), np.ones((4, 4)))
    wide[:, 90:150] = level  # nearly as wide as the view
    luma = [wide[:, 3 * i : 3 * i + WIDTH] for i in range(58)]
    assert "fade" not in [kind for _, kind in starts_of([luma[0]] * 30 + luma + [luma[-1]] * 30)]
