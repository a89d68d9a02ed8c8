from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.errors import UsageError
from framemill.ops.audio.speech import Speech, SpeechOptions
from framemill.ops.audio.vad import CONTEXT, WINDOW, Segmenter, SegmentRules
from framemill.ops.chunks import Audio, Float32Array
from tests.ops.stand_ins import OrtRunner, audio_chunks, shard, vad_path

FASTER_WHISPER = SpeechOptions(min_silence_seconds=2.0, min_speech_seconds=0.0, padding_seconds=0.4)


class LoudnessRunner:
    """Stands in for the network: a window's probability is its peak; its state counts the windows."""

    max_batch = 1

    def __init__(self) -> None:
        self.num_calls = 0

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("a recurrent model must not be batched")

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        self.num_calls += 1
        windows = inputs["input"]
        assert windows.dtype == np.float32 and windows.shape[1:] == (CONTEXT + WINDOW,)
        state = inputs["h"] + np.float32(len(windows))
        return {"speech_probs": np.abs(windows[:, CONTEXT:]).max(axis=1), "hn": state, "cn": state}


def speech(runner: Any, options: SpeechOptions, chunks: list[Audio]) -> pa.Table:
    extractor = Speech(options, {"vad": SimpleNamespace(runner=runner)}).open(shard())  # type: ignore[dict-item]
    for chunk in chunks:
        extractor.feed(chunk, {})
    return extractor.finish().rows


def loudness(pattern: list[tuple[float, float]]) -> Float32Array:
    """Sound of (seconds, peak) pieces."""
    return np.concatenate([np.full(round(s * 16_000), p, np.float32) for s, p in pattern])


def read_sound(path: Path) -> Float32Array:
    import av

    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray().ravel() for frame in frames])


def expected(samples: Float32Array, options: SpeechOptions) -> list[tuple[int, int]]:
    vad = pytest.importorskip("faster_whisper.vad")
    settings = vad.VadOptions(
        threshold=options.threshold,
        neg_threshold=options.end_threshold,
        min_speech_duration_ms=options.min_speech_seconds * 1000,
        min_silence_duration_ms=options.min_silence_seconds * 1000,
        speech_pad_ms=options.padding_seconds * 1000,
    )
    return [(s["start"], s["end"]) for s in vad.get_speech_timestamps(samples.copy(), settings)]


@pytest.fixture(scope="module")
def detector() -> OrtRunner:
    pytest.importorskip("faster_whisper")
    return OrtRunner(vad_path())


@pytest.mark.parametrize("options", [SpeechOptions(), FASTER_WHISPER], ids=["silero", "faster-whisper"])
@pytest.mark.parametrize("pattern", ["jfk.flac", "librivox_*.wav", "whisper_words/*.[fow]*", "music_*.ogg"])
def test_segments_are_those_of_faster_whisper(
    media_dir: Path, detector: OrtRunner, pattern: str, options: SpeechOptions
) -> None:
    path = sorted((media_dir / "audio").glob(pattern))[0]
    samples = read_sound(path)[: 60 * 16_000]
    table = speech(detector, options, audio_chunks(samples, repeat(4096)))
    found = np.array([table["start_seconds"], table["end_seconds"]]).T * 16_000
    wanted = np.array(expected(samples, options)).reshape(-1, 2)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max(initial=0) <= 1
    assert all(0.3 < p <= 1 for p in table["probability"].to_pylist())


def test_speech_is_found_in_speech_and_not_in_silence(media_dir: Path, detector: OrtRunner) -> None:
    samples = read_sound(media_dir / "audio" / "jfk.flac")
    table = speech(detector, SpeechOptions(), audio_chunks(samples, repeat(9999)))
    length = sum(e - s for s, e in zip(*table.select([0, 1]).to_pydict().values(), strict=True))
    assert 5 < length < 11
    silence = np.zeros(5 * 16_000, np.float32)
    assert speech(detector, SpeechOptions(), audio_chunks(silence, repeat(9999))).num_rows == 0


def test_speech_is_found_where_people_speak(media_dir: Path, detector: OrtRunner) -> None:
    """Intersection over union with who speaks when, in steps of 10 ms."""
    samples = read_sound(media_dir / "audio" / "pyannote_sample.wav")
    table = speech(detector, SpeechOptions(), audio_chunks(samples, repeat(9999)))
    found, true = (np.zeros(len(samples) // 160 + 1, bool) for _ in range(2))
    for row in table.to_pylist():
        found[round(row["start_seconds"] * 100) : round(row["end_seconds"] * 100)] = True
    for line in (media_dir / "audio" / "pyannote_sample.rttm").read_text("utf-8").splitlines():
        start, length = map(float, line.split()[3:5])
        true[round(start * 100) : round((start + length) * 100)] = True
    assert (found & true).sum() / (found | true).sum() >= 0.95


def test_rows_do_not_depend_on_chunks(media_dir: Path, detector: OrtRunner) -> None:
    samples = read_sound(media_dir / "audio" / "jfk.flac")
    whole = speech(detector, SpeechOptions(), audio_chunks(samples, repeat(len(samples))))
    for sizes in ([1, 511, 513], [100_000, 7]):
        assert speech(detector, SpeechOptions(), audio_chunks(samples, cycle(sizes))).equals(whole)


def test_times_count_from_the_presentations_start() -> None:
    samples = loudness([(1.024, 0), (2.048, 0.9), (1.024, 0)])
    options = SpeechOptions(padding_seconds=0)
    table = speech(LoudnessRunner(), options, audio_chunks(samples, repeat(1000), start_sample=8000))
    assert table.to_pylist() == [
        {"start_seconds": 1.524, "end_seconds": 3.572, "probability": pytest.approx(0.9)}
    ]


def test_state_is_carried_and_calls_are_few() -> None:
    runner = LoudnessRunner()
    speech(runner, SpeechOptions(), audio_chunks(np.zeros(60 * 16_000, np.float32), repeat(1024)))
    assert runner.num_calls == 15  # one for each 4 s


@pytest.mark.parametrize(
    ("pattern", "segments"),
    [
        ([(0.032, 0.9)], 0),  # shorter than the shortest speech
        ([(0.96, 0.9), (0.064, 0), (0.96, 0.9), (0.96, 0)], 1),  # a pause too short to end it
        ([(0.96, 0.9), (0.32, 0), (0.96, 0.9), (0.96, 0)], 2),
        ([(0.96, 0.9), (0.96, 0.4), (0.96, 0.9)], 1),  # between the thresholds it goes on
        ([(0.96, 0.4)], 0),  # between the thresholds it does not begin
    ],
)
def test_hysteresis(pattern: list[tuple[float, float]], segments: int) -> None:
    chunks = audio_chunks(loudness(pattern), repeat(512))
    assert speech(LoudnessRunner(), SpeechOptions(padding_seconds=0), chunks).num_rows == segments


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), max_size=200), st.sampled_from([0.0, 0.03, 0.4, 3.0]))
def test_segments_are_ordered_disjoint_and_inside(probabilities: list[float], padding: float) -> None:
    segmenter = Segmenter(
        SegmentRules(
            threshold=0.5,
            end_threshold=0.35,
            min_silence_seconds=0.1,
            min_speech_seconds=0.0,
            padding_seconds=padding,
        )
    )
    for probability in probabilities:
        segmenter.push(probability)
    length = WINDOW * len(probabilities)
    edges = [edge for s in segmenter.finish(length) for edge in (s.start, s.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= length for edge in edges)


def test_numbers_that_are_none_do_not_poison_the_track(detector: OrtRunner) -> None:
    samples = np.zeros(16_000, np.float32)
    samples[100] = np.nan
    assert speech(detector, SpeechOptions(), audio_chunks(samples, repeat(512))).num_rows == 0


@pytest.mark.parametrize(
    "wrong", [{"threshold": 0.2}, {"threshold": 1.0}, {"end_threshold": 0.0}, {"padding_seconds": -1.0}]
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must"):
        SpeechOptions(**wrong)
