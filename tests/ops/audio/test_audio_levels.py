from __future__ import annotations

from itertools import cycle, repeat

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.ops.audio.audio_levels import AudioLevels
from framemill.ops.chunks import Audio, Float32Array
from framemill.ops.operation import NoOptions
from tests.ops.stand_ins import audio_chunks, shard


def levels(samples: Float32Array, sizes: list[int], start_sample: int = 0) -> pa.Table:
    extractor = AudioLevels(NoOptions(), {}).open(shard())
    for chunk in audio_chunks(samples, cycle(sizes), start_sample):
        extractor.feed(chunk, {})
    return extractor.finish().rows


def test_full_scale_sine_and_silence() -> None:
    time = np.arange(16_000) / 16_000
    sine = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    table = levels(np.concatenate([sine, np.zeros(16_000, np.float32)]), [1000])
    assert table.num_rows == 20
    assert table["rms_db"].to_pylist()[:10] == pytest.approx([-3.01] * 10, abs=0.01)
    assert table["peak_db"].to_pylist()[:10] == pytest.approx([0.0] * 10, abs=0.01)
    assert table["rms_db"].to_pylist()[10:] == [-120.0] * 10
    assert table["peak_db"].to_pylist()[10:] == [-120.0] * 10


def test_windows_start_at_the_tracks_first_sample_and_the_last_is_kept() -> None:
    table = levels(np.tile(np.array([0.1, -0.1], np.float32), 2000), [700], start_sample=8123)
    assert table["start_seconds"].to_pylist() == pytest.approx([(8123 + k * 1600) / 16_000 for k in range(3)])
    assert table["rms_db"].to_pylist() == pytest.approx([-20.0] * 3, abs=1e-4)


def test_numbers_that_are_none_carry_no_level() -> None:
    table = levels(np.array([np.nan, np.inf, -0.5, 0.5] * 400, np.float32), [1600])
    assert table["peak_db"].to_pylist() == pytest.approx([-6.02], abs=0.01)


def test_a_constant_offset_is_no_sound() -> None:
    time = np.arange(8000) / 16_000
    sine = (0.1 * np.sin(2 * np.pi * 110 * time)).astype(np.float32)
    samples = np.concatenate([np.zeros(3200, np.float32), sine, np.zeros(3200 + 700, np.float32)])
    clean, moved = levels(samples, [1000]), levels(samples + np.float32(0.03), [1000])
    assert moved["rms_db"].to_pylist() == pytest.approx(clean["rms_db"].to_pylist(), abs=0.05)
    assert moved["peak_db"].to_pylist() == pytest.approx(clean["peak_db"].to_pylist(), abs=0.1)
    assert max(moved["rms_db"].to_pylist()[:2] + moved["rms_db"].to_pylist()[7:]) < -110
    assert clean["rms_db"].to_pylist()[2:7] == pytest.approx([-23.0] * 5, abs=0.05)


def test_the_channel_that_was_heard_is_noted() -> None:
    extractor = AudioLevels(NoOptions(), {}).open(shard())
    samples = np.zeros(4000, np.float32)
    for start, channel in ((0, ""), (4000, "FR"), (8000, "")):
        extractor.feed(Audio(start, samples, 16_000, channel), {})
    # The third window of 0.1 s ends in the second chunk, the sixth in the third one.
    noted = extractor.finish().rows["channel"].to_pylist()
    assert noted == [None, None, "FR", "FR", "FR", None, None, None]


def test_a_short_last_window_keeps_its_level() -> None:
    """Less its own mean, a fifth of a period would have next to none."""
    time = np.arange(1600 + 30) / 16_000
    table = levels((0.5 * np.cos(2 * np.pi * 100 * time)).astype(np.float32), [1630])
    assert table["peak_db"].to_pylist() == pytest.approx([-6.02] * 2, abs=0.01)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=5), st.integers(0, 20_000))
def test_rows_do_not_depend_on_chunks(sizes: list[int], num_samples: int) -> None:
    samples = np.random.default_rng(num_samples).normal(0, 0.1, num_samples).astype(np.float32)
    whole = levels(samples, [max(num_samples, 1)])
    assert levels(samples, sizes).equals(whole)
    assert whole.num_rows == -(-num_samples // 1600)


def test_memory_does_not_keep_what_was_measured() -> None:
    extractor = AudioLevels(NoOptions(), {}).open(shard())
    for chunk in audio_chunks(np.zeros(160_000, np.float32), repeat(777)):
        extractor.feed(chunk, {})
        assert extractor.num_waiting < 1600  # type: ignore[attr-defined]
        assert not np.shares_memory(extractor.buffer, chunk.samples)  # type: ignore[attr-defined]
