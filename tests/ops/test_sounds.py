"""Sounds, audio embeddings, and what is music or speech."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.errors import ModelError, UsageError
from models.loading import Model
from models.registry import DEFAULTS
from ops.audio_embeddings import AudioEmbeddings
from ops.chunks import Audio
from ops.music_or_speech import MusicOrSpeech, MusicOrSpeechOptions
from ops.operation import Op
from ops.sounds import Sounds
from ops.yamnet import WINDOW
from tests.ops.sound_clips import RATE, read_sound, rows_of
from tests.ops.sound_stand_ins import YamnetStandIn
from tests.ops.stand_ins import OrtRunner, shard


def make(kind: type[Op], runner: Any, **options: Any) -> Op:
    return kind(kind.Options(**options), {"sounds": Model(DEFAULTS["sounds"], runner)})


def noise(seconds: float, level: float = 0.5) -> np.ndarray:
    signs = np.random.default_rng(4).choice([-1.0, 1.0], round(seconds * RATE))
    return (level * signs).astype(np.float32)


def test_windows_cover_the_track_and_the_last_ends_with_it() -> None:
    rows = rows_of(make(AudioEmbeddings, YamnetStandIn()), noise(3), start_sample=RATE)
    assert np.allclose(rows["start_seconds"], [1, 1.975, 2.95, 4 - 0.975])
    assert np.allclose(rows["end_seconds"], [1.975, 2.95, 3.925, 4])
    dense = rows_of(make(AudioEmbeddings, YamnetStandIn(), hop_seconds=0.5), noise(2))
    assert np.allclose(dense["start_seconds"], [0, 0.5, 1, 2 - 0.975])


def test_a_short_track_is_filled_up_with_silence() -> None:
    rows = rows_of(make(AudioEmbeddings, YamnetStandIn()), noise(0.01, 1.0))
    assert rows["end_seconds"].to_pylist() == [0.01]
    assert rows["vector"][0][0].as_py() == pytest.approx(160 / WINDOW)


def test_both_operations_ask_the_model_once() -> None:
    runner = YamnetStandIn()
    extractors = [make(kind, runner).open(shard(has_audio=True)) for kind in (Sounds, AudioEmbeddings)]
    sound = np.random.default_rng(6).uniform(-1, 1, 20 * RATE).astype(np.float32)
    for start in range(0, len(sound), 64_000):
        for extractor in extractors:
            extractor.feed(Audio(start, sound[start : start + 64_000], RATE), {})
    tables = [extractor.finish().rows for extractor in extractors]
    assert runner.num_calls == tables[1].num_rows == 21


def test_rows_are_the_best_classes_over_the_threshold() -> None:
    rows = rows_of(make(Sounds, YamnetStandIn()), noise(0.975, 0.3))
    assert rows["label"].to_pylist() == ["Music", "Speech"]
    assert np.allclose(rows["score"], [0.7, 0.3])
    assert rows_of(make(Sounds, YamnetStandIn(), top=1), noise(0.975, 0.3))["label"].to_pylist() == ["Music"]
    assert rows_of(make(Sounds, YamnetStandIn(), threshold=0.8), noise(0.975, 0.3)).num_rows == 0


def test_a_model_of_another_shape_is_refused() -> None:
    class Other(YamnetStandIn):
        def run_whole(self, inputs: Any) -> Any:
            return {"scores": np.zeros((1, 10), np.float32), "embedding": np.zeros((1, 4), np.float32)}

    class Foreign(YamnetStandIn):
        def run_whole(self, inputs: Any) -> Any:
            return {"logits": np.zeros((1, 10), np.float32)}

    with pytest.raises(ModelError, match=r"scores \[1, 10\] .* expected \[1, 521\]"):
        rows_of(make(Sounds, Other()), noise(1))
    with pytest.raises(ModelError, match=r"gives logits; .* must give `scores`"):
        rows_of(make(Sounds, Foreign()), noise(1))


@pytest.mark.parametrize(
    "options", [{"threshold": 1.5}, {"top": 0}, {"hop_seconds": 0.0}, {"hop_seconds": 2.0}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"sounds\.\w+ is .*; it must be"):
        Sounds.Options(**options)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("jfk.flac", "Speech"),
        ("music_hungarian_dance_5.ogg", "Music"),
        ("music_vibe_ace.ogg", "Music"),
        ("robin_whistling.ogg", "Bird"),
    ],
)
def test_real_sounds_are_named(media_dir: Path, models_dir: Path, name: str, label: str) -> None:
    op = make(Sounds, OrtRunner(models_dir / "yamnet.onnx"))
    rows = rows_of(op, read_sound(media_dir / "audio" / name)[: 15 * RATE])
    totals: dict[str, float] = defaultdict(float)
    for row in rows.to_pylist():
        totals[row["label"]] += row["score"]
    assert label in sorted(totals, key=lambda k: -totals[k])[:3]


def sounds_table(windows: list[tuple[float, float, dict[str, float]]]) -> pa.Table:
    rows = [
        {"start_seconds": start, "end_seconds": end, "label": label, "score": score}
        for start, end, scores in windows
        for label, score in scores.items()
    ]
    return pa.Table.from_pylist(rows, schema=Sounds.schema)


def kinds(windows: list[tuple[float, float, dict[str, float]]]) -> list[tuple[float, float, str]]:
    table = MusicOrSpeech(MusicOrSpeechOptions(), {}).combine({"sounds": sounds_table(windows)}, shard())
    return [(r["start_seconds"], r["end_seconds"], r["label"]) for r in table.to_pylist()]


def test_windows_of_one_kind_are_joined_and_gaps_kept() -> None:
    speech, music, both = {"Speech": 0.9}, {"Music": 0.8}, {"Speech": 0.5, "Music": 0.6}
    assert kinds([(0, 1, speech), (1, 2, {"Narration, monologue": 0.4}), (2, 3, music), (4, 5, music)]) == [
        (0, 2, "speech"),
        (2, 3, "music"),
        (4, 5, "music"),
    ]
    assert kinds([(0, 1, both), (1, 2, {"Bird": 0.9}), (2, 3, {"Speech": 0.2})]) == [
        (0, 1, "speech_and_music")
    ]
    assert kinds([(0, 1, speech), (0.5, 1.5, music)]) == [(0, 0.75, "speech"), (0.75, 1.5, "music")]
    assert kinds([]) == []
