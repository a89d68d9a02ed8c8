"""Where a montage is cut, and what it shows."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.cluster.editing import assembly
from framemill.cluster.editing.assembly import LEAST_CLIP_SECONDS, Moments, assemble, cut_grid, plan_cuts

FPS = 30


def moments(count: int, files: int, seed: int, shot_seconds: float = 5.0) -> Moments:
    generator = np.random.default_rng(seed)
    at = generator.uniform(0, 60, count)
    low = np.floor(at / shot_seconds) * shot_seconds
    return Moments(
        generator.integers(0, files, count),
        at,
        low,
        low + shot_seconds,
        generator.uniform(0, 1, count),
        generator.integers(0, 1 << 63, count, dtype=np.uint64),
    )


def test_cuts_lie_on_the_strong_beats() -> None:
    beats = 0.3 + 0.5 * np.arange(60)
    strength = np.where(np.arange(60) % 4 == 2, 2.0, 1.0)
    grid = cut_grid(beats, 30.0)
    strong = strength[np.isin(beats, grid)]
    cuts = plan_cuts(grid, strong, 30.0, 2.0)
    assert np.diff(grid[cuts]) == pytest.approx(2.0)
    assert (strong[cuts] == 2.0).all()
    assert grid[cuts][0] >= 1.0 and 30 - grid[cuts][-1] >= 1.0


@given(st.floats(0.3, 1.5), st.floats(1, 120), st.floats(0.5, 20), st.integers(0, 40))
def test_cuts_are_never_too_close(period: float, seconds: float, clip: float, known: int) -> None:
    grid = cut_grid(period * np.arange(1 + known), seconds)
    cuts = plan_cuts(grid, np.ones(known), seconds, clip)
    edges = np.concatenate([[0], grid[cuts], [seconds]])
    if len(cuts):
        assert (np.diff(edges) >= LEAST_CLIP_SECONDS - 1e-9).all()


def test_beats_go_on_where_the_music_ends() -> None:
    grid = cut_grid(np.array([0.0, 1.0, 2.0, 3.0]), 10.0)
    assert grid == pytest.approx(np.arange(1.0, 10.0))
    assert len(cut_grid(np.zeros(0), 10.0)) == len(cut_grid(np.array([1.0]), 10.0)) == 0


@settings(max_examples=40)
@given(st.integers(0, 300), st.integers(1, 12), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_a_timeline_keeps_its_promises(count: int, files: int, per_file: int, seed: int) -> None:
    candidates = moments(count, files, seed)
    grid = list(range(15, 900, 15))
    cuts = list(range(60, 900, 60))
    clips = assemble(candidates, grid, cuts, 900, FPS, per_file)
    assert clips == assemble(candidates, grid, cuts, 900, FPS, per_file)
    at = 0
    used: dict[int, list[tuple[int, int]]] = {}
    for clip in clips:
        row = clip.moment
        assert clip.start_frame >= candidates.low_seconds[row] * FPS - 1e-6
        assert clip.start_frame + clip.num_frames <= candidates.high_seconds[row] * FPS + 1e-6
        at += clip.num_frames
        assert at in grid or at == 900
        used.setdefault(int(candidates.file[row]), []).append(
            (clip.start_frame, clip.start_frame + clip.num_frames)
        )
    for spans in used.values():
        assert len(spans) <= per_file
        ordered = sorted(spans)
        assert all(first[1] < second[0] for first, second in itertools.pairwise(ordered))
    if count >= 200 and files * per_file >= 15:
        assert at == 900


def test_looking_at_few_gives_what_looking_at_all_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = moments(4000, 10, 3)
    grid, cuts = list(range(15, 1800, 15)), list(range(60, 1800, 60))
    few = assemble(candidates, grid, cuts, 1800, FPS, 20)
    monkeypatch.setattr(assembly, "FIRST_EVALUATED", 4000)
    assert few == assemble(candidates, grid, cuts, 1800, FPS, 20)
    monkeypatch.setattr(assembly, "FIRST_EVALUATED", 3)
    assert few == assemble(candidates, grid, cuts, 1800, FPS, 20)


def test_what_was_shown_is_not_shown_again_while_there_is_other_to_show() -> None:
    hashes = np.array([0, 1, 3, (1 << 40) - 1, (1 << 60) - (1 << 20)], np.uint64)
    n = len(hashes)
    score = np.array([0.9, 0.9, 0.9, 0.5, 0.4])
    candidates = Moments(np.arange(n), np.full(n, 2.0), np.zeros(n), np.full(n, 4.0), score, hashes)
    clips = assemble(candidates, [60, 120], [60, 120], 180, FPS, 1)
    assert [clip.moment for clip in clips] == [0, 3, 4]


def test_files_take_turns() -> None:
    n = 40
    spread = np.random.default_rng(0).integers(0, 1 << 63, n, dtype=np.uint64)
    at = np.arange(n) // 2 * 5.0 + 2.5
    score = np.where(np.arange(n) % 2, 0.8, 0.7)
    candidates = Moments(np.arange(n) % 2, at, at - 2.5, at + 2.5, score, spread)
    clips = assemble(candidates, [], list(range(60, 600, 60)), 600, FPS, 5)
    files = [int(candidates.file[clip.moment]) for clip in clips]
    assert Counter(files) == {0: 5, 1: 5}
    assert all(a != b for a, b in itertools.pairwise(files))


def test_clips_are_divided_where_shots_are_short() -> None:
    candidates = moments(400, 40, 1, shot_seconds=1.0)
    clips = assemble(candidates, list(range(15, 300, 15)), [120, 240], 300, FPS, 10)
    assert sum(clip.num_frames for clip in clips) == 300
    assert max(clip.num_frames for clip in clips) <= FPS
