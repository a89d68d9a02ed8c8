"""Importance: what stands out is found from packets, key frames and sound; and a file is only itself."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.errors import LimitError
from framemill.ops.chunks import FrameIndex, ShardInfo
from framemill.ops.operation import NoOptions
from framemill.ops.sampling.importance import NOTHING, Importance
from framemill.ops.sampling.importance_curve import (
    BIN_SECONDS,
    MOST_AROUND,
    SHOT_CHANGE,
    TIERS,
    KeyFrameThumbnails,
    find_shots,
    make_curve,
    packet_surprises,
    runs_of,
    tier_bins,
)
from framemill.ops.sampling.key_frames import LEAST_GAP_SECONDS, KeyFrames, select_key_frames
from framemill.ops.shots.features import THUMB_BYTES
from tests.ops.stand_ins import shard, signals

FPS = 25.0


def make_index(sizes: list[int], keys: list[int], fps: float = FPS) -> FrameIndex:
    position = np.arange(len(sizes), dtype=np.int64)
    return FrameIndex(position, position / fps, np.isin(position, keys), np.array(sizes, np.int64))


def rows_of(
    index: FrameIndex,
    cells: list[int] | None = None,
    levels: list[float] | None = None,
    speech: list[tuple[float, float]] | None = None,
) -> list[dict[str, object]]:
    """Rows of importance; `cells` are grey values of the key frames, `levels` dB every tenth of a second."""
    keys = select_key_frames(index)
    grey = cells or [100] * len(keys)
    key_frames = pa.table(
        {
            "frame_index": keys,
            "pts_seconds": index.pts_seconds[keys],
            "brightness": [float(g) for g in grey],
            "detail": [1.0] * len(keys),
            "cells": pa.array([bytes([g]) * THUMB_BYTES for g in grey], pa.binary(THUMB_BYTES)),
        }
    )
    heard = levels or []
    upstream = {
        "key_frames": key_frames,
        "audio_levels": pa.table(
            {
                "start_seconds": pa.array([k / 10 for k in range(len(heard))], pa.float64()),
                "rms_db": pa.array(heard, pa.float32()),
            }
        ),
        "speech": pa.table(
            {
                "start_seconds": pa.array([a for a, _ in speech or []], pa.float64()),
                "end_seconds": pa.array([b for _, b in speech or []], pa.float64()),
            }
        ),
    }
    info = ShardInfo(index, 0, len(index), 0, 1, 64, 36, len(index) / FPS)
    rows: list[dict[str, object]] = Importance(NoOptions(), {}).combine(upstream, info).to_pylist()
    return rows


def steady(num_frames: int) -> list[int]:
    return [1000 + 37 * (k * 7 % 11) for k in range(num_frames)]


@settings(deadline=None)
@given(st.data())
def test_stretches_cover_the_picture_and_shots_follow_each_other(data: st.DataObject) -> None:
    num = data.draw(st.integers(1, 400))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    keys = [0, *sorted(data.draw(st.sets(st.integers(0, num - 1), max_size=8)))]
    index = make_index(rng.integers(1, 9000, num).tolist(), keys)
    grey = rng.integers(0, 256, len(select_key_frames(index))).tolist()
    rows = rows_of(index, grey, rng.uniform(-80, 0, num * 10 // 25).tolist(), [(0.5, 2.0)])
    edges = [(row["start_frame"], row["end_frame"]) for row in rows]
    assert edges[0][0] == 0 and edges[-1][1] == num
    assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))
    assert all(row["tier"] in TIERS and 0 <= row["importance"] <= 1 for row in rows)  # type: ignore[operator]
    assert all(row["start_frame"] <= row["peak_frame"] < row["end_frame"] for row in rows)  # type: ignore[operator]
    shots = [row["shot_index"] for row in rows]
    assert shots == sorted(shots) and set(shots) == set(range(max(shots) + 1))  # type: ignore[type-var,operator]


def test_a_packet_that_stands_out_is_the_peak_of_a_critical_stretch() -> None:
    sizes = steady(1500)
    sizes[733] = 9000
    rows = rows_of(make_index(sizes, [0, 250, 500, 750, 1000, 1250]))
    best = max(rows, key=lambda row: row["importance"])  # type: ignore[arg-type,return-value]
    assert (best["peak_frame"], best["tier"]) == (733, "critical")
    assert "something appears" in str(best["reason"])


def test_a_sudden_sound_is_a_reason_too() -> None:
    levels = [-40.0] * 600
    levels[300:305] = [-12.0] * 5
    rows = rows_of(make_index([1000] * 1500, [0]), levels=levels)
    best = max(rows, key=lambda row: row["importance"])  # type: ignore[arg-type,return-value]
    assert 29.9 <= float(best["peak_frame"]) / FPS <= 30.6  # type: ignore[arg-type]
    assert best["reason"] == "louder sound"


@pytest.mark.parametrize("num_frames", [1, 2, 25, 1500])
def test_where_nothing_happens_nothing_stands_out(num_frames: int) -> None:
    rows = rows_of(make_index([1000] * num_frames, [0]))
    assert {row["tier"] for row in rows} == {"minimal"}
    assert {row["reason"] for row in rows} == {NOTHING}
    assert len({row["shot_index"] for row in rows}) == 1


def test_shots_begin_at_early_keys_or_else_at_the_largest_packet_between() -> None:
    sizes = steady(1000)
    sizes[620] = 8000
    index = make_index(sizes, [0, 250, 340, 590, 840])

    def thumbnails(grey: list[int]) -> KeyFrameThumbnails:
        cells = np.array(grey, np.uint8)[:, None].repeat(THUMB_BYTES, 1)
        return KeyFrameThumbnails(np.array([0, 250, 340, 590, 840]), cells)

    far = int(2 * SHOT_CHANGE)
    assert find_shots(index, thumbnails([90, 90, 90 + far, 90 + far, 90])).tolist() == [
        [0, 340],
        [340, 620],
        [620, 1000],
    ]
    assert find_shots(index, thumbnails([90, 91, 92, 93, 94])).tolist() == [[0, 1000]]


@given(st.lists(st.integers(1, 100_000), min_size=3, max_size=200), st.sampled_from([5.0, 25.0]), st.data())
def test_surprise_is_what_the_naive_loop_says(sizes: list[int], fps: float, data: st.DataObject) -> None:
    keys = data.draw(st.sets(st.integers(0, len(sizes) - 1), max_size=3))
    index = make_index(sizes, sorted(keys), fps)
    plain = [k for k in range(len(sizes)) if k not in keys]
    found = packet_surprises(index)
    if len(plain) < 3:
        assert not found.any()
        return
    step = float(np.median(np.diff(index.pts_seconds[plain])))
    reach = int(np.clip(round(1.0 / step), 2, MOST_AROUND))
    for at, k in enumerate(plain):
        near = [
            sizes[plain[j]] for j in range(max(0, at - reach), min(len(plain), at + reach + 1)) if j != at
        ]
        second = sorted(near)[-2]
        assert found[k] == pytest.approx(max(0.0, np.log2(sizes[k]) - np.log2(second)), abs=1e-9)
    assert not found[sorted(keys)].any()


def test_tiers_are_shares_of_the_file_and_do_not_flicker() -> None:
    value = np.random.default_rng(5).random(4000)
    shares = np.bincount(tier_bins(value), minlength=5) / len(value)
    assert shares[4] == pytest.approx(0.055, abs=0.01)
    assert shares[3:].sum() == pytest.approx(0.165, abs=0.02)
    # A value between the two thresholds keeps the tier that was entered, and does not enter it.
    value[100:104] = [0.99, 0.92, 0.92, 0.1]
    value[200:203] = [0.1, 0.92, 0.99]
    tiers = tier_bins(value)
    assert tiers[100:104].tolist() == [4, 4, 4, 0]
    assert tiers[200:203].tolist() == [0, 3, 4]
    assert tier_bins(np.zeros(0)).tolist() == []


def test_runs_are_maximal() -> None:
    assert runs_of(np.array([3, 3, 1, 1, 1, 3])) == [(0, 2), (2, 5), (5, 6)]
    assert runs_of(np.zeros(0, np.int64)) == []


def test_key_frames_are_looked_at_twice_a_second_at_most() -> None:
    dense = make_index([9] * 100, list(range(100)))
    gaps = np.diff(dense.pts_seconds[select_key_frames(dense)])
    assert gaps.min() >= LEAST_GAP_SECONDS - 1 / FPS and len(gaps) == 7
    assert select_key_frames(make_index([9] * 30, [])).tolist() == [0]
    assert select_key_frames(make_index([], [])).tolist() == []


def test_key_frames_take_their_own_out_of_what_others_asked_for() -> None:
    op = KeyFrames(NoOptions(), {})
    extractor = op.open(shard(60, 128, 72, 6.0))
    extractor.feed(signals(60), {})
    rows = extractor.finish().rows
    assert rows["frame_index"].to_pylist() == list(range(0, 60, 5))
    assert rows["brightness"].to_pylist() == pytest.approx(
        [float(signals(1, k).luma.mean()) for k in range(0, 60, 5)]
    )
    assert BIN_SECONDS > 0


def test_pictures_thousands_of_years_apart_are_refused_before_memory_is_taken() -> None:
    pts = np.array([0, 1, 2]) * 2**31
    index = FrameIndex(pts, pts.astype(np.float64), np.ones(3, bool), np.full(3, 500, np.int64))
    nothing, cells = np.zeros(0), np.zeros((0, 96), np.uint8)
    thumbnails = KeyFrameThumbnails(np.zeros(0, np.int64), cells)
    shots = np.array([[0, 3]])
    with pytest.raises(LimitError, match="lasts 4294967296 seconds by its times"):
        make_curve(index, 2.0**32, thumbnails, shots, (nothing, nothing), (nothing, nothing))
