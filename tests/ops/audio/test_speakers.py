"""Speakers: the segmentation with real weights, clustering, features, and the error rate on a real talk."""

from __future__ import annotations

import itertools
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model
from framemill.ops.audio import speakers
from framemill.ops.audio.filterbank import centred_filterbank
from framemill.ops.audio.speakers import Speakers, SpeakersOptions, group_speakers
from framemill.ops.chunks import Float32Array
from tests.ops.audio.sound_clips import RATE, read_sound, rows_of
from tests.ops.audio.sound_stand_ins import SegmentationStandIn, SpeakerStandIn
from tests.ops.stand_ins import OrtRunner
from tests.small_models import SMALL

Turn = tuple[float, float, str]


def make(
    threshold: float = 0.85, segmentation: Any = None, embeddings: Any = None, family: str = "wespeaker"
) -> Speakers:
    runners = {
        "speaker_segmentation": segmentation or SegmentationStandIn(),
        "speaker_embeddings": embeddings or SpeakerStandIn(),
    }
    models = {role: Model(SMALL[role], runner) for role, runner in runners.items()}
    embedder = models["speaker_embeddings"]
    models["speaker_embeddings"] = replace(embedder, entry=replace(embedder.entry, family=family))
    return Speakers(SpeakersOptions(threshold=threshold), models)


def turns_of(rows: pa.Table) -> list[Turn]:
    return [(r["start_seconds"], r["end_seconds"], r["speaker"]) for r in rows.to_pylist()]


def read_rttm(path: Path) -> list[Turn]:
    fields = [line.split() for line in path.read_text("utf-8").splitlines()]
    return [(float(f[3]), float(f[3]) + float(f[4]), f[7]) for f in fields]


def error_rate(true: list[Turn], found: list[Turn], start: float, end: float) -> float:
    """Diarization error rate: missed, false and confused speech over true speech, no collar, overlaps in."""
    times = np.arange(start, end, 0.01) + 0.005

    def active(turns: list[Turn]) -> np.ndarray:
        names = sorted({name for _, _, name in turns})
        grid = np.zeros((len(names), len(times)), np.bool_)
        for left, right, name in turns:
            grid[names.index(name)] |= (times >= left) & (times < right)
        return grid

    a, b = active(true), active(found)
    size = max(len(a), len(b))
    shared = np.zeros((size, size))
    shared[: len(a), : len(b)] = (a[:, None] & b[None]).sum(axis=2)
    right = max(sum(shared[i, j] for i, j in enumerate(order)) for order in permutations(range(size)))
    return float((np.maximum(a.sum(axis=0), b.sum(axis=0)).sum() - right) / a.sum())


def voice(hertz: float, seconds: float) -> Float32Array:
    """A tone that changes between two pitches five times a second."""
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = np.where(np.floor(5 * t) % 2, 2.0, 1.0) * hertz
    return (0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE)).astype(np.float32)


def test_the_error_rate_counts_what_it_should() -> None:
    true = [(0.0, 4.0, "a"), (4.0, 8.0, "b")]
    assert error_rate(true, [(0.0, 4.0, "y"), (4.0, 8.0, "x")], 0, 10) == 0
    assert error_rate(true, [(0.0, 8.0, "x")], 0, 10) == pytest.approx(0.5)
    assert error_rate(true, [(0.0, 4.0, "x"), (4.0, 10.0, "y")], 0, 10) == pytest.approx(0.25)
    assert error_rate(true, [(0.0, 4.0, "x")], 0, 10) == pytest.approx(0.5)


@pytest.mark.parametrize("seconds", [3.0, 9.0])
def test_voices_keep_their_names_over_windows(seconds: float) -> None:
    """24 to 72 s of two voices in turn with pauses: up to 14 windows, where either may be first."""
    pause = np.zeros(RATE // 2, np.float32)
    pieces, true, at = [], [], 0.0
    for number in range(8):
        name = "ab"[number % 2]
        pieces += [voice({"a": 900, "b": 150}[name], seconds), pause]
        true.append((at, at + seconds, name))
        at += seconds + 0.5
    found = turns_of(rows_of(make(), np.concatenate(pieces)))
    assert {name for _, _, name in found} == {"speaker_0", "speaker_1"}
    assert found[0][2] == "speaker_0"
    assert error_rate(true, found, 0, at) < 0.05


def test_silence_and_very_short_sound_give_no_rows() -> None:
    assert rows_of(make(), np.zeros(25 * RATE, np.float32)).num_rows == 0
    assert rows_of(make(), voice(900, 0.01)).num_rows == 0


def test_turns_end_with_the_track_and_count_from_the_presentation() -> None:
    found = turns_of(rows_of(make(), voice(900, 12.3), start_sample=RATE))
    assert [turn[2] for turn in found] == ["speaker_0"]
    assert found[0][0] == pytest.approx(1.0, abs=0.03)
    assert found[0][1] == pytest.approx(13.3, abs=0.03)


def test_two_people_are_told_apart_on_a_real_talk(media_dir: Path, models_dir: Path) -> None:
    """Real segmentation; the stand-in of the speaker model knows voices by their spectrum alone."""
    samples = read_sound(media_dir / "audio" / "pyannote_sample.wav")
    true = read_rttm(media_dir / "audio" / "pyannote_sample.rttm")
    op = make(segmentation=OrtRunner(models_dir / "pyannote_segmentation_3_0_int8.onnx"))
    found = turns_of(rows_of(op, samples))
    assert {name for _, _, name in found} == {"speaker_0", "speaker_1"}
    assert error_rate(true, found, 0, 30) < 0.16
    # Within one window the speaker model has no say.
    middle = turns_of(rows_of(op, samples[10 * RATE : 20 * RATE]))
    assert error_rate([(a - 10, b - 10, name) for a, b, name in true], middle, 0, 10) < 0.15


@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.8])
def test_real_weights_tell_two_people_apart(media_dir: Path, models_dir: Path, threshold: float) -> None:
    """At 0.8 the voice of one of them is two to the encoder, and no speech is lost by it."""
    samples = read_sound(media_dir / "audio" / "pyannote_sample.wav")
    true = read_rttm(media_dir / "audio" / "pyannote_sample.rttm")
    op = make(
        threshold,
        OrtRunner(models_dir / "pyannote_segmentation_3_0_int8.onnx"),
        OrtRunner(models_dir / "resemblyzer_ge2e.onnx"),
        family="ge2e",
    )
    turns = turns_of(rows_of(op, samples))
    assert error_rate(true, turns, 0, 30) <= 0.12
    assert min(end - start for start, end, _ in turns) >= 0.1, "shorter ones are no speech"


def test_a_voice_that_each_window_takes_for_another_is_given_to_somebody() -> None:
    class Fickle(SpeakerStandIn):
        def run(self, inputs: Any) -> Any:
            self.num_calls = getattr(self, "num_calls", 0) + 1
            return {"embs": np.eye(32, dtype=np.float32)[[self.num_calls]]}

    found = turns_of(rows_of(make(embeddings=Fickle()), voice(900, 31.0)))
    assert len({name for *_, name in found}) > 2
    assert (found[0][0], found[-1][1]) == (0.0, pytest.approx(31.0, abs=0.03))
    for before, after in itertools.pairwise(found):
        assert before[1] == pytest.approx(after[0]), "one speaks at a time, without a hole"


def test_two_who_speak_at_once_are_both_heard() -> None:
    class Together(SegmentationStandIn):
        def run_whole(self, inputs: Any) -> Any:
            likely = np.full((1, speakers.NUM_FRAMES, 7), 0.01, np.float32)
            likely[0, :, 1] = 0.94  # the first alone; then both; then the second alone
            likely[0, 200:260] = [0.01, 0.01, 0.01, 0.01, 0.94, 0.01, 0.01]
            likely[0, 260:] = [0.01, 0.01, 0.94, 0.01, 0.01, 0.01, 0.01]
            return {"y": np.log(likely)}

    sound = np.concatenate([voice(900, 4.0), voice(150, 6.0)])
    first, second = turns_of(rows_of(make(segmentation=Together()), sound))
    assert first[:2] == pytest.approx((0.0, (360 + 260 * 270) / RATE))
    assert second[:2] == pytest.approx(((360 + 200 * 270) / RATE, 10.0), abs=0.04)


def test_models_of_other_shapes_are_refused() -> None:
    class Other:
        max_batch = 1

        def run(self, inputs: Any) -> Any:
            return {"embedding": np.zeros((1, 4), np.float32)}

        def run_whole(self, inputs: Any) -> Any:
            return {"y": np.zeros((1, 293, 7), np.float32)}

    with pytest.raises(ModelError, match=r"\[1, 293, 7\] as output `y`; expected \[1, 589, 7\]"):
        rows_of(make(segmentation=Other()), voice(900, 3))
    with pytest.raises(
        ModelError, match=r"output `embs` .*; expected \[1, d\]: choose one of family wespeaker or ge2e"
    ):
        rows_of(make(embeddings=Other()), voice(900, 3))
    with pytest.raises(ModelError, match=r"is of family 'yamnet'; voices are told apart by models of wesp"):
        rows_of(make(family="yamnet"), voice(900, 3))
    with pytest.raises(UsageError, match=r"threshold is 2; it must be -1 to 1"):
        SpeakersOptions(threshold=2)


def scattered(counts: list[int], spread: float = 0.1) -> tuple[Float32Array, np.ndarray]:
    generator = np.random.default_rng(9)
    who = generator.permutation(np.repeat(np.arange(len(counts)), counts))
    vectors = np.eye(16)[who] + generator.normal(0, spread, (len(who), 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), who


def test_voices_are_grouped_as_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, who = scattered([40, 25, 5])
    window = np.arange(len(who))
    found = group_speakers(vectors, window, 0.5)
    assert found[0] == 0 and len(np.unique(found)) == 3
    assert all(len(np.unique(who[found == number])) == 1 for number in range(3))
    monkeypatch.setattr(speakers, "MAX_VECTORS", 20)
    assert np.array_equal(group_speakers(vectors, window, 0.5), found)


def test_voices_of_one_window_stay_apart() -> None:
    vectors, _ = scattered([2], spread=0.01)
    assert np.array_equal(group_speakers(vectors, np.array([0, 1]), 0.5), [0, 0])
    assert np.array_equal(group_speakers(vectors, np.array([0, 0]), 0.5), [0, 1])


def test_grouping_equals_joining_one_pair_at_a_time() -> None:
    vectors, _ = scattered([6, 6, 6], spread=0.4)
    groups = [[i] for i in range(len(vectors))]
    similar = vectors @ vectors.T
    while len(groups) > 1:
        alike = {
            (i, j): similar[np.ix_(groups[i], groups[j])].mean()
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        }
        (i, j), best = max(alike.items(), key=lambda item: item[1])
        if best < 0.3:
            break
        groups[i] += groups.pop(j)
    expected = sorted(sorted(group) for group in groups)
    found = group_speakers(vectors, np.arange(len(vectors)), 0.3)
    assert sorted(np.flatnonzero(found == n).tolist() for n in range(found.max() + 1)) == expected


def test_features_peak_where_the_tone_is_and_ignore_loudness() -> None:
    t = np.arange(RATE) / RATE
    sound = np.where(t < 0.5, np.sin(2 * np.pi * 1000 * t), 0.01 * np.sin(2 * np.pi * 3000 * t))
    features = centred_filterbank(sound.astype(np.float32))
    assert features.shape == (98, 80)
    assert np.allclose(features.mean(axis=0), 0, atol=1e-3)
    mel = 1127 * np.log1p(np.array([20, 1000, 8000]) / 700)
    band = round(float((mel[1] - mel[0]) / (mel[2] - mel[0]) * 81 - 1))
    assert abs(int((features[20] - features[80]).argmax()) - band) <= 1
    assert np.allclose(features, centred_filterbank((sound * 0.5).astype(np.float32)), atol=0.02)


def test_features_are_kaldis() -> None:
    kaldi = pytest.importorskip("kaldi_native_fbank")
    sound = np.random.default_rng(1).normal(0, 0.1, RATE).astype(np.float32)
    options = kaldi.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.window_type = "hamming"
    options.mel_opts.num_bins = 80
    bank = kaldi.OnlineFbank(options)
    bank.accept_waveform(RATE, (sound * 32768).tolist())
    expected = np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])
    assert np.allclose(centred_filterbank(sound), expected - expected.mean(axis=0), atol=1e-2)
