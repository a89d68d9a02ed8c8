"""Beats and tempo against rendered clicks and real music."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from framemill.ops.audio.beat_tracking import FRAMES_PER_SECOND, estimate_period, track_beats
from framemill.ops.audio.beats import Beats
from framemill.ops.chunks import Float64Array
from tests.ops.audio.sound_clips import RATE, clicks, read_sound, rows_of, without_models


def f_measure(found: Float64Array, true: Float64Array, tolerance: float = 0.07) -> float:
    """Harmonic mean of precision and recall; each true beat is met by one found beat at most."""
    left = list(found)
    hits = 0
    for time in true:
        near = [beat for beat in left if abs(beat - time) <= tolerance]
        if near:
            left.remove(min(near, key=lambda beat: abs(beat - time)))
            hits += 1
    return 2 * hits / (len(found) + len(true))


@pytest.mark.parametrize("bpm", [60, 75, 90, 100, 120, 133.3, 150, 174, 190])
def test_clicks_are_found_and_their_tempo_told(bpm: float) -> None:
    samples, times = clicks(bpm, 20)
    rows = rows_of(without_models(Beats), samples)
    assert f_measure(rows["time_seconds"].to_numpy(), times) >= 0.98
    assert rows["tempo_bpm"][0].as_py() == pytest.approx(bpm, rel=0.01)


def test_clicks_in_noise_and_quiet_clicks_are_found() -> None:
    samples, times = clicks(100, 20)
    noise = np.random.default_rng(3).normal(0, 0.02, len(samples)).astype(np.float32)
    for sound in (samples + noise, samples * np.float32(0.003)):
        assert f_measure(rows_of(without_models(Beats), sound)["time_seconds"].to_numpy(), times) >= 0.98


def test_times_count_from_the_presentation_and_strong_onsets_are_strong() -> None:
    samples, times = clicks(120, 12)
    op = without_models(Beats)
    first, later = rows_of(op, samples), rows_of(op, samples, start_sample=RATE // 2)
    assert np.allclose(later["time_seconds"].to_numpy() - first["time_seconds"].to_numpy(), 0.5)
    assert first["strength"].to_numpy().min() > 1
    assert np.abs(first["time_seconds"].to_numpy() - times[: first.num_rows]).max() < 0.03


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(10 * RATE, np.float32),
        np.ones(160, np.float32),
        np.full(5 * RATE, np.nan, np.float32),
        np.full(10 * RATE, 0.3, np.float32),
    ],
    ids=["silence", "10 ms", "damage", "a constant"],
)
def test_sound_without_onsets_has_no_beats(samples: np.ndarray) -> None:
    assert rows_of(without_models(Beats), samples).num_rows == 0


def test_a_trumpet_keeps_its_pace(media_dir: Path) -> None:
    tempo = rows_of(without_models(Beats), read_sound(media_dir / "audio" / "trumpet_90bpm.ogg"))["tempo_bpm"]
    assert min(abs(tempo[0].as_py() / bpm - 1) for bpm in (45, 90, 180)) <= 0.04


def test_the_chain_of_beats_is_the_best_of_all() -> None:
    """Against the same recurrence, frame by frame."""
    strength = np.abs(np.random.default_rng(5).normal(size=400))
    period = 0.5 * FRAMES_PER_SECOND
    width = max(1.0, period / 32)
    kernel = np.exp(-0.5 * (np.arange(-round(3 * width), round(3 * width) + 1) / width) ** 2)
    local = np.convolve(strength, kernel, "same")
    totals, origin = local.copy(), np.full(len(local), -1)
    for frame in range(len(local)):
        before = np.arange(max(0, frame - round(2 * period)), max(0, frame - int(period / 2) + 1))
        if len(before):
            scores = totals[before] - 680 * np.log((frame - before) / period) ** 2
            if scores.max() > 0:
                origin[frame] = before[scores.argmax()]
                totals[frame] += scores.max()
    chain = [int(totals.argmax())]
    while origin[chain[-1]] >= 0:
        chain.append(int(origin[chain[-1]]))
    found = track_beats(strength, period)
    assert len(found) > 5 and set(found) <= set(chain) and len(found) >= len(chain) - 2


def test_nothing_that_repeats_has_no_period() -> None:
    assert estimate_period(np.zeros(1000)) == 0
    assert estimate_period(np.ones(3)) == 0
