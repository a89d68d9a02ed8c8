"""Which frames fast mode looks at, by the packet index alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from framemill.ops.chunks import FrameIndex
from framemill.ops.shots.selection import early_keys, select_frames


def _keys(gaps: list[int], tail: int) -> np.ndarray[Any, Any]:
    is_key = np.zeros(sum(gaps) + tail, np.bool_)
    is_key[np.cumsum([0, *gaps])] = True
    return is_key


def test_early_keys() -> None:
    assert early_keys(_keys([250, 60, 250, 100], 50)).tolist() == [310, 660]  # type: ignore[union-attr]
    assert early_keys(_keys([60, 60, 60], 20)) is None  # regular
    assert early_keys(_keys([59, 60, 61], 20)) is None  # regular but for rounding
    assert early_keys(_keys([1, 1, 1, 5, 1], 1)) is None  # nearly all of them
    assert early_keys(_keys([], 700)) is None  # a single one tells nothing


def test_select_looks_behind_keys_only_where_a_packet_is_large() -> None:
    is_key = _keys([200, 250, 100], 200)
    sizes = np.full(len(is_key), 100, np.int64)
    sizes[is_key] = 4000
    sizes[215] = 3000  # a cut within the minimum interval of the key at 200
    at = np.arange(len(is_key), dtype=np.int64)
    chosen = select_frames(FrameIndex(at, at.astype(np.float64) * 0.04, is_key, sizes))
    assert chosen is not None
    assert set(np.flatnonzero(is_key)) <= set(chosen)
    assert set(range(200, 217)) <= set(chosen)
    assert len(chosen) < 60


def _chosen(sizes: np.ndarray[Any, Any], is_key: np.ndarray[Any, Any]) -> set[int]:
    at = np.arange(len(is_key), dtype=np.int64)
    chosen = select_frames(FrameIndex(at, at.astype(np.float64) * 0.04, is_key, sizes))
    assert chosen is not None
    return set(chosen.tolist())


def test_a_shot_that_moves_all_along_is_not_taken_for_a_dissolve() -> None:
    is_key = _keys([90, 120, 100], 90)
    sizes = np.full(len(is_key), 100, np.int64)
    sizes[91:210] = 500  # moves from end to end
    sizes[is_key] = 4000
    assert not set(range(97, 210)) & _chosen(sizes, is_key)
    sizes[91:210] = 100
    sizes[130:150] = 500  # a dissolve's worth
    assert set(range(90, 150)) <= _chosen(sizes, is_key)


def test_the_first_predicted_picture_of_a_still_shot_is_not_taken_for_a_cut() -> None:
    is_key = _keys([90, 120, 100], 90)
    sizes = np.full(len(is_key), 100, np.int64)
    sizes[is_key] = 4000
    sizes[94] = 1000  # ten times those around it, but seen with the key frame
    assert {94} <= _chosen(sizes, is_key) and not set(range(97, 210)) & _chosen(sizes, is_key)
    sizes[108] = 1000
    assert set(range(90, 110)) <= _chosen(sizes, is_key)
