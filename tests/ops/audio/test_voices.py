from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framemill.models.registry import resolve
from framemill.models.runner import Model
from framemill.ops.audio.filterbank import slaney_bands
from framemill.ops.audio.voices import VOICES, embed_voice
from framemill.ops.chunks import Float32Array
from tests.ops.audio.sound_clips import RATE, read_sound
from tests.ops.stand_ins import OrtRunner
from tests.small_models import SMALL


def tone(hertz: float, seconds: float, level: float = 0.3) -> Float32Array:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_stretches_come_as_resemblyzer_takes_them() -> None:
    """1.3 a second; the last is left out unless three quarters of it are sound."""
    prepare = VOICES["ge2e"].prepare
    assert prepare(tone(500, 1.0)).shape == (1, 101, 40), "short sound is not filled up with silence"
    features = prepare(tone(500, 5.0))
    assert features.dtype == np.float32 and features.shape[1:] == (160, 40)
    assert len(features) == 5 and len(prepare(tone(500, 5.1))) == 6
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


def _kaldi_levels(samples: Float32Array) -> Any:
    """Log-mel energies of 400 samples by Kaldi's definitions; its window is Hann's to the power of 0.85."""
    shape = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    frame = samples.astype(np.float64) - samples.mean()
    frame = (frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])) * shape
    power = np.abs(np.fft.rfft(frame, 512)) ** 2
    mels = 1127 * np.log1p(np.arange(257) * 16_000 / 512 / 700)
    corners = np.linspace(1127 * np.log1p(20 / 700), 1127 * np.log1p(8000 / 700), 82)
    rise = (mels[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - mels[:, None]) / (corners[2:] - corners[1:-1])
    return np.log(power[:256] @ np.clip(np.minimum(rise, fall), 0, None)[:256])


def test_3d_speaker_has_a_window_and_a_scale_of_its_own() -> None:
    class Heard:
        """The mean of each band."""

        max_batch = 1

        def run(self, inputs: Any) -> Any:
            (features,) = inputs.values()
            seen.append(features)
            return {"embedding": features.mean(axis=1) + features[:, 0]}

    seen: list[Float32Array] = []
    runner: Any = Heard()
    sound = tone(440, 1.0) + np.float32(0.05) * np.random.default_rng(1).normal(size=RATE).astype(np.float32)
    vector = embed_voice(Model(resolve("speaker_embeddings", "campplus_voxceleb"), runner), sound)
    assert vector.shape == (80,) and seen[0].shape == (1, 98, 80)
    np.testing.assert_allclose(seen[0][0].mean(axis=0), 0, atol=1e-4)
    # Each band is less its mean over time, which the difference of two frames does without.
    expected = _kaldi_levels(sound[:400]) - _kaldi_levels(sound[160:560])
    np.testing.assert_allclose(seen[0][0, 0] - seen[0][0, 1], expected, atol=2e-2)
    # At full scale, quiet sound is told apart from silence; at scale 1 it is not.
    quiet = np.float32(1e-6) * sound
    assert np.abs(VOICES["wespeaker"].prepare(quiet)).max() > 1
    assert np.abs(VOICES["3d_speaker"].prepare(quiet)).max() < 1e-3


def test_readers_are_told_apart_by_real_weights(media_dir: Path, models_dir: Path) -> None:
    runner: Any = OrtRunner(models_dir / "resemblyzer_ge2e.onnx")
    model = Model(replace(SMALL["speaker_embeddings"], family="ge2e"), runner)
    folder = media_dir / "audio" / "hifitts"
    names = ["hartmann_01_fawcett_0317", "hartmann_12_fawcett_0088", "roots_19_morris_0392"]
    vectors = [embed_voice(model, read_sound(folder / f"{name}.wav")) for name in names]
    assert [float(np.linalg.norm(v)) for v in vectors] == pytest.approx([1.0] * 3, abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.8 > vectors[0] @ vectors[2]
