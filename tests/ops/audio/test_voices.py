from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framemill.models.runner import Model
from framemill.ops.audio.filterbank import slaney_bands
from framemill.ops.audio.voices import VOICES, embed_voice
from framemill.ops.chunks import Float32Array
from tests.ops.audio.sound_clips import RATE, read_sound
from tests.ops.stand_ins import OrtRunner
from tests.small_models import SMALL


def tone(hertz: float, seconds: float, level: float = 0.3) -> Float32Array:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_stretches_overlap_by_about_half_and_end_with_the_sound() -> None:
    prepare = VOICES["ge2e"].prepare
    assert prepare(tone(500, 1.0)).shape == (1, 98, 40)
    features = prepare(tone(500, 5.0))
    assert features.dtype == np.float32 and features.shape[1:] == (160, 40)
    assert len(features) == 6
    end = prepare(tone(500, 1.615))  # 160 frames
    assert end.shape == (1, 160, 40)
    sound = np.concatenate([tone(300, 3.4), tone(3000, 1.6)])
    assert prepare(sound)[-1].argmax(axis=1)[40] > prepare(sound)[0].argmax(axis=1)[40]


def test_quiet_sound_is_raised_and_loud_sound_is_left() -> None:
    prepare = VOICES["ge2e"].prepare
    assert np.allclose(prepare(tone(500, 1.0, 0.001)), prepare(tone(500, 1.0, 0.01)), rtol=1e-3)
    loud, louder = prepare(tone(500, 1.0, 0.1)), prepare(tone(500, 1.0, 0.2))
    assert np.allclose(louder, 4 * loud, rtol=1e-3)
    assert not prepare(np.zeros(RATE, np.float32)).any()


def test_bands_of_slaneys_scale_have_equal_areas_and_are_linear_below_a_kilohertz() -> None:
    bands = slaney_bands(40, 4096, RATE, 0.0, 8000.0)
    assert bands.shape == (2049, 40)
    assert np.allclose(bands.sum(axis=0) * RATE / 4096, 1, atol=0.02)
    centres = bands.argmax(axis=0) * RATE / 4096
    low = np.diff(centres[centres < 950])
    assert np.allclose(low, low.mean(), atol=RATE / 4096)
    high = np.diff(np.log(centres[centres > 1100]))
    assert np.allclose(high, high.mean(), atol=0.01)


def test_readers_are_told_apart_by_real_weights(media_dir: Path, models_dir: Path) -> None:
    runner: Any = OrtRunner(models_dir / "resemblyzer_ge2e.onnx")
    model = Model(replace(SMALL["speaker_embeddings"], family="ge2e"), runner)
    folder = media_dir / "audio" / "hifitts"
    names = ["hartmann_01_fawcett_0317", "hartmann_12_fawcett_0088", "roots_19_morris_0392"]
    vectors = [embed_voice(model, read_sound(folder / f"{name}.wav")) for name in names]
    assert [float(np.linalg.norm(v)) for v in vectors] == pytest.approx([1.0] * 3, abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.8 > vectors[0] @ vectors[2]
