"""Curves of what happens, and the segments cut out of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.cluster.editing.activity import CELL_SECONDS, TimeCells, activity, loudness_above_usual
from framemill.cluster.editing.instants import last_before, seconds_to_nearest
from framemill.cluster.editing.segments import candidate_segments, choose_segments, segment_means


def test_painting_covers_what_it_says() -> None:
    cells = TimeCells.of(np.array([2.0, 1.2, 0.0]))
    assert cells.starts.tolist() == [0, 4, 7, 8]
    file = np.array([0, 1])
    covered = cells.rasterize(file, np.array([0.25, 1.0]), np.array([1.5, 9.0]), np.array([1.0, 0.5]))
    assert covered == pytest.approx([0.5, 1, 1, 0, 0, 0, 0.5, 0])


def test_values_hold_until_the_next_of_the_same_file() -> None:
    cells = TimeCells.of(np.array([2.0, 1.0]))
    held = cells.hold(np.array([0, 0, 1]), np.array([0.5, 1.0, 0.0]), np.array([0.2, 0.4, 0.6]))
    assert held == pytest.approx([0, 0.2, 0.4, 0.4, 0.6, 0.6])


def test_loud_is_above_what_is_usual_and_silence_never_is() -> None:
    level = np.array([-30.0, -30, -30, -12, -np.inf, -80, -40, -40])
    owner = np.array([0, 0, 0, 0, 0, 1, 2, 2])
    assert loudness_above_usual(level, owner).tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


def test_only_what_is_known_of_a_file_counts() -> None:
    channels = {"motion": np.array([0.5, 0.5]), "loud": np.array([0.0, 0.0])}
    available = {"motion": np.array([True, True]), "loud": np.array([True, False])}
    owner = np.array([0, 1])
    assert activity(channels, available, None, owner).tolist() == [0.25, 0.5]
    dark = activity(channels, available, np.array([0.0, np.nan]), owner)
    assert dark[0] < 0.25 and dark[1] == 0.5


def test_nearest_and_last_stay_within_their_file() -> None:
    source, at = np.array([0, 0, 1, 2]), np.array([1.0, 9.0, 1.0, 1.0])
    events, when = np.array([0, 0, 1]), np.array([0.0, 10.0, 5.0])
    assert last_before(source, at, events, when).tolist() == [0, 0, -1, -1]
    assert seconds_to_nearest(source, at, events, when).tolist() == [1, 1, 4, np.inf]
    nothing = np.zeros(0, np.int64), np.zeros(0)
    assert last_before(source, at, *nothing).tolist() == [-1] * 4


SHOTS = st.lists(st.floats(0.2, 40), min_size=1, max_size=12)


@settings(max_examples=60)
@given(st.lists(SHOTS, min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_segments_are_apart_inside_and_ranked(files: list[list[float]], seed: int, count: int) -> None:
    least, most = 3.0, 10.0
    file = np.repeat(np.arange(len(files)), [len(shots) for shots in files])
    end = np.concatenate([np.cumsum(shots) for shots in files])
    start = np.concatenate([np.cumsum([0, *shots[:-1]]) for shots in files])
    seconds = np.array([sum(shots) for shots in files])
    cells = TimeCells.of(seconds)
    curve = np.random.default_rng(seed).uniform(0, 1, cells.num_cells)
    segments = candidate_segments(file, start, end, least, most)
    scores = segment_means(cells, curve, segments)
    kept = choose_segments(segments, scores, seconds, count, 0.0)
    again = choose_segments(segments, scores, seconds, count, 0.0)
    assert kept.tolist() == again.tolist()
    chosen = segments.take(kept)
    assert set(chosen.file.tolist()) == set(range(len(files)))
    for number in range(len(files)):
        own = chosen.file == number
        assert own.sum() <= count
        begins, ends = chosen.start_seconds[own], chosen.end_seconds[own]
        order = np.argsort(begins)
        assert (ends[order][:-1] <= begins[order][1:] + 1e-9).all()
        assert (begins >= 0).all() and (ends <= seconds[number] + 1e-6).all()
        length = ends - begins
        assert (length <= most + 1e-6).all()
        assert (length >= min(least, seconds[number]) - 1e-6).all()
        cuts = np.append(start[file == number], seconds[number])
        whole = ~chosen.is_inside[own]
        assert all(np.abs(cuts - edge).min() < 1e-6 for edge in [*begins[whole], *ends[whole]])


def test_the_mean_of_a_segment_is_that_of_its_cells() -> None:
    cells = TimeCells.of(np.array([4.0, 4.0]))
    curve = np.arange(16, dtype=np.float64)
    segments = candidate_segments(np.array([0, 1]), np.zeros(2), np.full(2, 4.0), 3.0, 5.0)
    assert segment_means(cells, curve, segments).tolist() == [curve[:8].mean(), curve[8:].mean()]


def test_the_liveliest_window_of_an_endless_shot_is_found() -> None:
    seconds = np.array([600.0])
    cells = TimeCells.of(seconds)
    curve = np.full(cells.num_cells, 0.1)
    curve[round(400 / CELL_SECONDS) : round(404 / CELL_SECONDS)] = 1.0
    segments = candidate_segments(np.zeros(1, np.int64), np.zeros(1), seconds, 3.0, 10.0)
    kept = choose_segments(segments, segment_means(cells, curve, segments), seconds, 1, 0.0)
    best = segments.take(kept)
    assert best.start_seconds[0] <= 401 and best.end_seconds[0] >= 403


def test_where_nothing_happens_nothing_is_chosen() -> None:
    seconds = np.array([60.0])
    cells = TimeCells.of(seconds)
    segments = candidate_segments(np.zeros(1, np.int64), np.zeros(1), seconds, 3.0, 10.0)
    scores = segment_means(cells, np.zeros(cells.num_cells), segments)
    assert len(choose_segments(segments, scores, seconds, 5, 0.02)) == 0
