"""Loudness against the standard's own figures and, where it is installed, pyloudnorm."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.errors import UsageError
from ops.audio_levels import AudioLevels
from ops.chunks import Float32Array
from ops.loudness import Loudness
from ops.silences import Silences
from tests.ops.sound_clips import RATE, read_sound, rows_of, without_models
from tests.ops.stand_ins import shard


def tone(seconds: float, level_db: float, hertz: float = 997.0) -> Float32Array:
    t = np.arange(round(seconds * RATE)) / RATE
    return (10 ** (level_db / 20) * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def measured(samples: Float32Array) -> dict[str, float]:
    (row,) = rows_of(without_models(Loudness), samples).to_pylist()
    return dict(row)


def test_a_tone_has_the_loudness_that_the_standard_states() -> None:
    """A full-scale sine of 997 Hz in one channel is -3.01 LKFS (BS.1770-4)."""
    assert measured(tone(20, 0))["integrated_lufs"] == pytest.approx(-3.01, abs=0.1)
    assert measured(tone(20, -23))["integrated_lufs"] == pytest.approx(-26.01, abs=0.1)


def test_pauses_do_not_count() -> None:
    """As in case 3 of EBU Tech 3341: quiet parts before and after are gated out."""
    sound = np.concatenate([tone(10, -36), tone(60, -23), tone(10, -36)])
    assert measured(sound)["integrated_lufs"] == pytest.approx(-26.0, abs=0.1)


@pytest.mark.parametrize(("levels", "expected"), [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20)])
def test_the_range_is_that_of_ebu_tech_3342(levels: tuple[float, float], expected: float) -> None:
    sound = np.concatenate([tone(20, level) for level in levels])
    assert measured(sound)["range_lu"] == pytest.approx(expected, abs=1)


def test_real_sound_is_as_loud_as_pyloudnorm_finds_it(media_dir: Path) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    for name in ("jfk.flac", "music_vibe_ace.ogg", "trumpet_90bpm.ogg"):
        samples = read_sound(media_dir / "audio" / name)
        # `DeMan` are the standard's own filters; its default ones approximate them to 0.13 LU.
        expected = pyloudnorm.Meter(RATE, filter_class="DeMan").integrated_loudness(samples.astype(float))
        assert measured(samples)["integrated_lufs"] == pytest.approx(expected, abs=0.02), name


def test_peaks_between_samples_are_seen() -> None:
    t = np.arange(2 * RATE) / RATE
    between = np.sin(2 * np.pi * 4000 * t + math.pi / 4) * np.sin(np.pi * t / 2)  # no sample above 0.71
    assert measured(between.astype(np.float32))["true_peak_db"] == pytest.approx(0, abs=0.2)
    assert measured(tone(2, -6))["true_peak_db"] == pytest.approx(-6, abs=0.1)


def test_clipping_and_noise_are_told() -> None:
    clean = tone(5, -3, 200)
    noise = np.random.default_rng(2).normal(0, 1e-3, 5 * RATE).astype(np.float32)
    assert measured(clean)["clipped_fraction"] == 0
    # A sine of twice full scale is beyond it two thirds of the time.
    assert measured(np.clip(tone(5, 6.02, 200), -1, 1))["clipped_fraction"] == pytest.approx(2 / 3, abs=0.02)
    assert measured(np.concatenate([clean, noise]))["noise_floor_db"] == pytest.approx(-60, abs=1)


def test_short_silent_and_damaged_sound_is_measured_as_far_as_it_goes() -> None:
    for samples in (np.zeros(10 * RATE, np.float32), np.full(RATE, np.nan, np.float32)):
        row = measured(samples)
        assert row["integrated_lufs"] is None and row["range_lu"] is None
        assert row["true_peak_db"] == row["noise_floor_db"] == -120
    short = measured(tone(0.01, -3))
    assert short["integrated_lufs"] is None and short["end_seconds"] == pytest.approx(0.01)
    assert measured(tone(1, -3))["range_lu"] is None


def silences(samples: Float32Array, **options: float) -> list[tuple[float, float]]:
    levels = rows_of(without_models(AudioLevels), samples)
    op = without_models(Silences, **options)
    assert isinstance(op, Silences)
    shuffled = levels.take(pa.array(np.random.default_rng(1).permutation(levels.num_rows)))
    table = op.combine({"audio_levels": shuffled}, shard(seconds=len(samples) / RATE, has_audio=True))
    return list(zip(table["start_seconds"].to_pylist(), table["end_seconds"].to_pylist(), strict=True))


def test_silences_are_found_and_short_ones_dropped() -> None:
    sound = np.concatenate([tone(1, -20), tone(0.3, -80), tone(1, -20), np.zeros(12_000, np.float32)])
    assert np.allclose(silences(sound), [(2.3, 3.05)])
    assert np.allclose(silences(sound, min_seconds=0.2), [(1.0, 1.3), (2.3, 3.05)])
    assert silences(sound, threshold_db=-119.0, min_seconds=2) == []
    assert silences(tone(2, -20)) == []


def test_options_name_value_and_limit() -> None:
    with pytest.raises(UsageError, match=r"threshold_db is 3.0; .* at most 0"):
        Silences.Options(threshold_db=3.0)
    with pytest.raises(UsageError, match=r"min_seconds is -1; .* 0 to 3600"):
        Silences.Options(min_seconds=-1)
