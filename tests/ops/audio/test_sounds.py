"""Sounds, audio embeddings, and what is music or speech."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from onnx import helper

from framemill.errors import ModelError, UsageError
from framemill.models.registry import parse_entry
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.ops.audio.embeddings import AudioEmbeddings
from framemill.ops.audio.families import FAMILIES
from framemill.ops.audio.music_or_speech import MusicOrSpeech, MusicOrSpeechOptions
from framemill.ops.audio.sounds import Sounds
from framemill.ops.chunks import Audio, NativeAudio
from framemill.ops.operation import Op
from tests.models.graphs import save
from tests.ops.audio.sound_clips import RATE, read_sound, rows_of, rows_of_native
from tests.ops.audio.sound_stand_ins import YamnetStandIn
from tests.ops.stand_ins import OrtRunner, shard
from tests.small_models import SMALL


def make(kind: type[Op], runner: Any, **options: Any) -> Op:
    return kind(kind.Options(**options), {"sounds": Model(SMALL["sounds"], runner)})


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
    assert rows["vector"][0][0].as_py() == pytest.approx(160 / FAMILIES["yamnet"].window)


def test_both_operations_ask_the_model_once() -> None:
    runner = YamnetStandIn()
    extractors = [make(kind, runner).open(shard()) for kind in (Sounds, AudioEmbeddings)]
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


def test_outputs_of_other_conversions_are_told_apart_by_their_width() -> None:
    class Published(YamnetStandIn):
        """As tf2onnx converts the network of TensorFlow Hub: numbered outputs, the spectrogram the third."""

        def run_whole(self, inputs: Any) -> Any:
            told = super().run_whole(inputs)
            spectrogram = np.zeros((96, 64), np.float32)
            return {"output_2": spectrogram, "output_1": told["embedding"], "output_0": told["scores"]}

    for kind in (Sounds, AudioEmbeddings):
        ours = rows_of(make(kind, YamnetStandIn()), noise(2, 0.3))
        theirs = rows_of(make(kind, Published()), noise(2, 0.3))
        assert theirs.num_rows and theirs.equals(ours)


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
    "options", [{"threshold": 1.5}, {"top": 0}, {"hop_seconds": 0.01}, {"hop_seconds": 61.0}]
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


def test_a_hop_longer_than_the_models_window_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"hop_seconds is 2.0; it must be at most 0.975, the window of .*yamnet"
    ):
        make(Sounds, YamnetStandIn(), hop_seconds=2.0)
    assert make(Sounds, YamnetStandIn(), hop_seconds=0.975).sound_rate == 16_000


def tiny(family: str, path: Path) -> Path:
    """A network of a family's shape that says how loud a window is, or gives means over time of its input."""
    node = helper.make_node
    outputs: dict[str, list[Any]]
    if family == "panns_16k":
        nodes = [
            node("Abs", ["input_audio"], ["size"]),
            node("ReduceMax", ["size"], ["loud"], axes=[1]),
            node("Mul", ["loud", "classes"], ["clip_scores"]),
            node("Mul", ["loud", "numbers"], ["embedding"]),
        ]
        outputs = {"embedding": ["n", 2048], "clip_scores": ["n", 527]}
        weights = {"classes": np.ones((1, 527), np.float32), "numbers": np.ones((1, 2048), np.float32)}
        weights["classes"][0, 1:] = 0.1
        return save(path, nodes, {"input_audio": ["n", "samples"]}, outputs, weights)
    if family == "panns":
        nodes = [
            node("Abs", ["x"], ["size"]),
            node("ReduceMax", ["size"], ["loud"], axes=[1]),
            node("Sub", ["one", "loud"], ["quiet"]),
            node("Concat", ["loud", "quiet"], ["clipwise_output"], axis=1),
            node("ReduceMean", ["size"], ["embedding"], axes=[1]),
        ]
        outputs = {"clipwise_output": ["n", 2], "embedding": ["n", 1]}
        return save(path, nodes, {"x": ["n", 320_000]}, outputs, {"one": np.array(1, np.float32)})
    shape, axes, name = {
        "vggish": (["n", 1, 96, 64], [1, 2], "output_0"),
        "openl3": (["n", 1, 48_000], [1], "embedding"),
        "clap": (["n", 1, 1001, 64], [1, 2], "audio_embeds"),
    }[family]
    reduced = [axis for i, axis in enumerate(shape) if i not in axes]
    nodes = [node("ReduceMean", ["x"], [name], axes=axes, keepdims=0)]
    return save(path, nodes, {"x": shape}, {name: reduced})


def opened(family: str, folder: Path, **fields: Any) -> Model:
    path = tiny(family, folder / f"{family}.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    block = {
        "name": family,
        "role": "sounds",
        "family": family,
        "sha256": digest,
        "path": str(path),
        **fields,
    }
    entry = parse_entry({**block, "batching": "dynamic"})
    return open_model(entry, path, 1)[0]


def heard_by(kind: type[Op], model: Model, samples: np.ndarray, size: int = 100_000) -> pa.Table:
    op = kind(kind.Options(), {"sounds": model})
    return rows_of_native(op, NativeAudio(0, samples[None], op.sound_rate, ("FC",)), size)


def test_a_network_at_another_rate_gets_sound_at_that_rate_in_batches(tmp_path: Path) -> None:
    model = opened("panns", tmp_path, labels=["loud", "quiet"])
    samples = np.concatenate([np.full(320_000, 0.75), np.full(320_000, 0.125), np.full(32_000, 0.5)])
    rows = heard_by(Sounds, model, samples.astype(np.float32))
    assert rows["start_seconds"].to_pylist() == [0, 0, 10, 11, 11] and rows["end_seconds"][-1].as_py() == 21
    assert rows["label"].to_pylist() == ["loud", "quiet", "quiet", "loud", "quiet"]
    assert np.allclose(rows["score"], [0.75, 0.25, 0.875, 0.5, 0.5])
    assert heard_by(AudioEmbeddings, model, samples.astype(np.float32)).num_rows == 3


def test_the_network_for_16_khz_names_its_outputs_otherwise(tmp_path: Path) -> None:
    model = opened("panns_16k", tmp_path)
    samples = np.concatenate([np.full(160_000, 0.75), np.full(16_000, 0.5)]).astype(np.float32)
    rows = heard_by(Sounds, model, samples)
    assert rows["start_seconds"].to_pylist() == [0, 1] and rows["label"].to_pylist() == ["Speech"] * 2
    assert np.allclose(rows["score"], 0.75)
    vectors = heard_by(AudioEmbeddings, model, samples)["vector"].to_pylist()
    assert [len(vector) for vector in vectors] == [2048] * 2


def test_embeddings_come_from_each_family_of_networks(tmp_path: Path) -> None:
    """A tone lies in the same place of the mel scale for both networks that are shown a picture of it."""
    for family, rate, bands, place in (("vggish", 16_000, 64, 14), ("clap", 48_000, 64, 11)):
        t = np.arange(4 * rate) / rate
        tone = (0.5 * np.sin(2 * np.pi * 700 * t)).astype(np.float32)
        rows = heard_by(AudioEmbeddings, opened(family, tmp_path), tone)
        vectors = np.stack(rows["vector"].to_pylist())
        assert vectors.shape[1] == bands and np.ptp(vectors.argmax(axis=1)) == 0
        assert abs(int(vectors[0].argmax()) - place) <= 1, family
        # The shorter than a window is repeated for one of them, and so looks the same all over.
        assert rows.num_rows == {"vggish": 5, "clap": 1}[family]
    ramp = np.arange(3 * 48_000, dtype=np.float32) / 48_000
    rows = heard_by(AudioEmbeddings, opened("openl3", tmp_path), ramp)
    assert np.array_equal(np.concatenate(rows["vector"].to_pylist()), ramp)


def test_the_picture_for_clap_is_the_one_that_it_was_trained_on() -> None:
    """Frame by frame and band by band, as its paper's front end has it."""
    sound = np.random.default_rng(7).normal(0, 0.1, 480_000).astype(np.float32)
    picture = FAMILIES["clap"].prepare(sound[None])
    assert picture.shape == (1, 1, 1001, 64) and picture.dtype == np.float32
    even = np.linspace(50 * 3 / 200, 15 + np.log(14) * 27 / np.log(6.4), 66)
    corners = [m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27) for m in even]
    frame = sound[500 * 480 - 512 : 500 * 480 + 512] * np.hanning(1025)[:-1]
    power = np.abs(np.fft.rfft(frame)) ** 2
    for band in (0, 20, 63):
        low, middle, high = corners[band : band + 3]
        total = 0.0
        for k, value in enumerate(power):
            hertz = k * 48_000 / 1024
            weight = min((hertz - low) / (middle - low), (high - hertz) / (high - middle))
            total += max(weight, 0) * 2 / (high - low) * value
        assert picture[0, 0, 500, band] == pytest.approx(10 * np.log10(total), abs=1e-3)


def test_a_network_without_classes_serves_embeddings_alone(tmp_path: Path) -> None:
    model = opened("openl3", tmp_path)
    with pytest.raises(
        ModelError, match=r"tells no classes.* one of family yamnet, panns, panns_16k for sounds"
    ):
        Sounds(Sounds.Options(), {"sounds": model})
    with pytest.raises(ModelError, match="is of family 'whisper'; sound is heard by models of yamnet, panns"):
        make_entry = replace(SMALL["sounds"], family="whisper")
        AudioEmbeddings(AudioEmbeddings.Options(), {"sounds": Model(make_entry, YamnetStandIn())})


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


@pytest.mark.parametrize(
    ("name", "label"),
    [("jfk.flac", "speech"), ("music_vibe_ace.ogg", "music"), ("music_hungarian_dance_5.ogg", "music")],
)
def test_real_music_and_real_speech_are_told_apart(
    media_dir: Path, models_dir: Path, name: str, label: str
) -> None:
    samples = read_sound(media_dir / "audio" / name)[: 20 * RATE]
    sounds = rows_of(make(Sounds, OrtRunner(models_dir / "yamnet.onnx")), samples)
    table = MusicOrSpeech(MusicOrSpeechOptions(), {}).combine({"sounds": sounds}, shard())
    seconds: dict[str, float] = defaultdict(float)
    for row in table.to_pylist():
        seconds[row["label"]] += row["end_seconds"] - row["start_seconds"]
    assert seconds[label] >= 0.8 * len(samples) / RATE, dict(seconds)
