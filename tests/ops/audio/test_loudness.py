"""Loudness against the standard's own figures, pyloudnorm and, where it is installed, FFmpeg's meter."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from framemill.errors import UsageError
from framemill.ops.audio.audio_levels import AudioLevels
from framemill.ops.audio.loudness import Loudness
from framemill.ops.audio.loudness_measures import channel_weights, true_peak
from framemill.ops.audio.silences import Silences
from framemill.ops.chunks import Float32Array, NativeAudio
from tests.actors.clips import write_sound
from tests.ops.audio.sound_clips import RATE, read_native, rows_of, rows_of_native, without_models
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


def measured_native(sound: NativeAudio, size: int = 50_000) -> dict[str, float]:
    (row,) = rows_of_native(without_models(Loudness), sound, size).to_pylist()
    return dict(row)


def channels_of(rate: int, levels_db: tuple[float, ...], names: tuple[str, ...]) -> NativeAudio:
    """20 s of a tone and of noise, swelling, at another level and pitch in each channel."""
    t = np.arange(20 * rate) / rate
    noise = np.random.default_rng(1).normal(0, 0.2, (len(names), len(t)))
    tones = np.sin(2 * np.pi * t * (300 + 500 * np.arange(len(names)))[:, None]) * (1 + np.sin(t)) / 2
    samples = 10 ** (np.array(levels_db) / 20)[:, None] * (tones + noise)
    return NativeAudio(0, np.clip(samples, -1, 1).astype(np.float32), rate, names)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_stereo_at_its_own_rate_is_as_loud_as_pyloudnorm_finds_it(rate: int) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    sound = channels_of(rate, (-10, -16), ("FL", "FR"))
    # `DeMan` are the standard's own filters; its default ones approximate them to 0.13 LU.
    expected = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(sound.samples.T.astype(float))
    assert measured_native(sound)["integrated_lufs"] == pytest.approx(expected, abs=0.001)


def test_surrounds_count_as_pyloudnorm_counts_them() -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    sound = channels_of(48_000, (-20, -20, -14, -12, -10), ("FL", "FR", "FC", "BL", "BR"))
    expected = pyloudnorm.Meter(48_000, filter_class="DeMan").integrated_loudness(
        sound.samples.T.astype(float)
    )
    assert measured_native(sound)["integrated_lufs"] == pytest.approx(expected, abs=0.001)
    assert channel_weights(("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")).tolist() == [
        *(1, 1, 1, 0, 1, 1),
        *(1.41, 1.41),
    ]
    alone = channels_of(48_000, (-10,), ("LFE",))
    assert measured_native(alone)["integrated_lufs"] is None, "the low frequency channel does not count"


@pytest.mark.parametrize(("rate", "layout"), [(44_100, "stereo"), (48_000, "5.1"), (22_050, "mono")])
def test_it_agrees_with_the_meter_of_ffmpeg(tmp_path: Path, rate: int, layout: str) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("the program ffmpeg is not installed")
    names = {"mono": ("FC",), "stereo": ("FL", "FR"), "5.1": ("FL", "FR", "FC", "LFE", "BL", "BR")}[layout]
    levels = (-8.0, -14.0, -20.0, -3.0, -12.0, -18.0)[: len(names)]
    samples = channels_of(rate, levels, names).samples
    path = write_sound(tmp_path / "t.wav", samples, rate, layout=layout)
    command = ["ffmpeg", "-nostats", "-i", str(path), "-af", "ebur128=peak=true", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    summary = told[told.rindex("Summary") :]
    theirs = {
        name: float(re.search(rf"{sign}:\s+(-?[\d.]+)", summary)[1])  # type: ignore[index]
        for name, sign in (("integrated_lufs", "I"), ("range_lu", "LRA"), ("true_peak_db", "Peak"))
    }
    ours = measured_native(read_native(path))
    assert ours["integrated_lufs"] == pytest.approx(theirs["integrated_lufs"], abs=0.06), "it prints tenths"
    assert ours["range_lu"] == pytest.approx(theirs["range_lu"], abs=0.11)
    # Meters may differ by +0.2 to -0.4 dB (EBU Tech 3341); the test sound is clipped, which is the worst.
    assert ours["true_peak_db"] == pytest.approx(theirs["true_peak_db"], abs=0.3)


def test_real_music_is_as_loud_as_pyloudnorm_finds_it(media_dir: Path) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    for name in ("jfk.flac", "music_vibe_ace.ogg", "trumpet_90bpm.ogg"):
        sound = read_native(media_dir / "audio" / name)
        meter = pyloudnorm.Meter(sound.sample_rate, filter_class="DeMan")
        expected = meter.integrated_loudness(sound.samples.T.astype(float))
        assert measured_native(sound)["integrated_lufs"] == pytest.approx(expected, abs=0.01), name


def test_peaks_are_found_whatever_is_known_before() -> None:
    """Places that cannot hold a peak are left out; the answer is that of making every point."""
    generator = np.random.default_rng(4)
    for _ in range(20):
        samples = (generator.normal(0, 1, 3_000) * generator.uniform(0, 1, 3_000) ** 4).astype(np.float32)
        t = np.arange(3_000 * 4 - 64)[32:] / 4
        near = np.floor(t).astype(int)[:, None] + np.arange(-7, 9)
        distance = t[:, None] - near
        kernel = np.sinc(distance) * np.i0(5 * np.sqrt(np.maximum(0, 1 - (distance / 8) ** 2))) / np.i0(5.0)
        exact = np.abs((samples[near] * kernel).sum(axis=1) / kernel.sum(axis=1)).max()
        expected = max(exact, np.abs(samples).max())
        assert true_peak(samples) == pytest.approx(expected, rel=1e-3)
        assert true_peak(samples, known=expected * 0.9) == pytest.approx(expected, rel=1e-3)
        assert true_peak(samples, known=expected * 1.1) == expected * 1.1


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
    table = op.combine({"audio_levels": shuffled}, shard(seconds=len(samples) / RATE))
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
