"""Networks of random weights: CTranslate2 takes them, and what is timed on them is what is said."""

from __future__ import annotations

import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness import Setting
from benchmarks.made_whisper import END, LARGE_V3, Shape, write_whisper
from benchmarks.peers import whisper_batches
from benchmarks.suite import gpu_sound

ctranslate2: Any = pytest.importorskip("ctranslate2")
TINY = Shape(num_layers=2, num_heads=2, width=16, num_mels=80, num_tokens=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whisper")
    write_whisper(path, TINY)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips")
    for number in range(3):
        samples = np.random.default_rng(number).integers(-9_000, 9_000, 16_000 * (number + 1), np.int16)
        with wave.open(str(path / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(samples.tobytes())
    return path


def test_the_network_is_of_its_shape_and_runs(folder: Path) -> None:
    network = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32")
    assert network.n_mels == TINY.num_mels
    features = np.random.default_rng(1).normal(0, 1, (2, TINY.num_mels, 3_000)).astype(np.float32)
    encoded = network.encode(ctranslate2.StorageView.from_array(features), to_cpu=True)
    values = np.array(encoded)
    assert values.shape == (2, 1_500, TINY.width) and np.isfinite(values).all()
    assert not np.allclose(values[0], values[1])
    # Another seed gives another network.
    other = folder.parent / f"{folder.name}_other"
    other.mkdir()
    write_whisper(other, TINY, seed=1)
    assert (other / "model.bin").read_bytes() != (folder / "model.bin").read_bytes()


def num_weights(shape: Shape) -> int:
    """Numbers in a Whisper of this shape, whose output shares the embedding's."""
    width = shape.width
    norm, attention = 2 * width, 4 * (width * width + width)
    last = 8 * width * width + 5 * width
    layers = shape.num_layers * (2 * (attention + last + 2 * norm) + attention + norm)
    convolutions = 3 * width * (shape.num_mels + width) + 2 * width
    return layers + convolutions + (1_500 + 448 + shape.num_tokens) * width + 2 * norm


def test_it_has_as_many_weights_as_its_shape_asks(folder: Path) -> None:
    size = (folder / "model.bin").stat().st_size
    names = 120 * 50  # about so many variables, and so many bytes of each one's name and sizes
    assert 0 < size - 2 * num_weights(TINY) < names
    assert num_weights(LARGE_V3) == pytest.approx(1_543_490_560, rel=1e-3), "as published"


def test_speeds_are_told_for_each_batch(
    folder: Path, clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faster_whisper")
    arguments = [str(folder), str(clips), "cpu", "3", "5", "1", "2"]
    monkeypatch.setattr(sys, "argv", ["whisper_batches", *arguments])
    whisper_batches.main()
    speeds = json.loads(capsys.readouterr().out)
    assert list(speeds) == ["1", "2"] and all(speed > 0 for speed in speeds.values())


def test_the_sweep_compares_with_one_at_a_time(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faster_whisper")
    monkeypatch.setattr(gpu_sound, "short_clips", lambda setting: clips)
    setting = Setting(tmp_path, tmp_path, tmp_path / "cache", 1, 1)
    measured = gpu_sound.sweep(setting, TINY, "cpu", num_clips=3, num_tokens=4, batches=(1, 3))
    curve = measured.details["seconds_of_sound_a_second"]
    assert list(curve) == ["1", "3"]
    assert measured.values == pytest.approx([max(curve.values()) / curve["1"]])
    assert END in json.loads((tmp_path / "cache" / "whisper_2x16" / "vocabulary.json").read_text("utf-8"))
