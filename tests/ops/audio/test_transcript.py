from __future__ import annotations

import math
from dataclasses import replace
from itertools import cycle, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model
from framemill.models.transcription import MAX_SAMPLES, Decoding, Span, Transcription, Word
from framemill.ops.audio.transcriber import GROUP, NO_REPEAT_TOKENS
from framemill.ops.audio.transcript import Transcript, TranscriptOptions
from framemill.ops.chunks import Audio, Cue, Float32Array, Subtitles
from tests.ops.audio.speech_stand_ins import WhisperStandIn
from tests.ops.audio.test_speech import loudness
from tests.ops.stand_ins import audio_chunks, shard
from tests.ops.test_contract import LoudnessRunner
from tests.small_models import SMALL

SECOND = 16_000


def transcribe(
    samples: Float32Array,
    whisper: Any,
    vad: Any = None,
    start_sample: int = 0,
    size: int = 64_000,
    **options: Any,
) -> pa.Table:
    models = {
        "vad": Model(SMALL["vad"], vad or LoudnessRunner()),
        "transcript": Model(SMALL["transcript"], whisper),
    }
    extractor = Transcript(TranscriptOptions(**options), models).open(shard())
    for chunk in audio_chunks(samples, repeat(size), start_sample):
        extractor.feed(chunk, {})
    return extractor.finish().rows


def talk(num_stretches: int, seconds: float = 20.0) -> Float32Array:
    """Stretches of loud sound of which no two fit into one passage."""
    return loudness([(seconds, 0.9), (2.0, 0.0)] * num_stretches)


def words_of(table: pa.Table) -> list[dict[str, Any]]:
    return [word for row in table.to_pylist() for word in row["words"] or ()]


def test_times_count_from_the_presentations_start() -> None:
    samples = loudness([(4.0, 0), (1.0, 0.9), (4.0, 0), (1.0, 0.9), (4.0, 0)])
    table = transcribe(samples, WhisperStandIn(), start_sample=8000)
    (row,) = table.to_pylist()
    # The word spans both stretches, so its middle decides for one; start_sample is half a second.
    assert 9.4 < row["start_seconds"] < row["end_seconds"] < 10.7
    assert (row["text"], row["origin"], row["language"], row["segment_index"]) == ("long", "speech", "en", 0)


def test_the_first_passage_tells_the_language_and_the_others_come_in_groups() -> None:
    whisper = WhisperStandIn()
    table = transcribe(talk(GROUP + 3), whisper)
    assert [len(call) for call in whisper.calls] == [1, GROUP, 2]
    assert [d.language for call in whisper.calls for d in call] == ["", *["en"] * (GROUP + 2)]
    assert table["segment_index"].to_pylist() == list(range(GROUP + 3))


@pytest.mark.parametrize(("language", "asked"), [("de", "de"), ("each", "")])
def test_a_language_can_be_given_or_detected_every_time(language: str, asked: str) -> None:
    whisper = WhisperStandIn()
    transcribe(talk(3), whisper, language=language)
    assert [[d.language for d in call] for call in whisper.calls] == [[asked] * 3]


def test_options_reach_the_model() -> None:
    whisper = WhisperStandIn()
    table = transcribe(
        talk(1),
        whisper,
        task="translate",
        beam_size=2,
        hotwords="a",
        initial_prompt="b",
        word_timestamps=False,
    )
    assert whisper.calls[0][0] == Decoding(
        task="translate", beam_size=2, hotwords="a", initial_prompt="b", word_times=False
    )
    assert table["words"].to_pylist() == [None]
    assert (table["start_seconds"][0].as_py(), table["end_seconds"][0].as_py()) == (
        0,
        pytest.approx(20.05, abs=0.04),
    )


def heard(text: str, **values: Any) -> Transcription:
    defaults = {"language": "en", "avg_logprob": -0.2, "no_speech_prob": 0.0, "compression_ratio": 1.0}
    return Transcription(spans=(Span(0.0, 30.0, text, ()),), **{**defaults, **values})


@pytest.mark.parametrize(
    ("no_speech_prob", "avg_logprob", "kept"),
    [(0.7, -1.5, False), (0.7, -0.5, True), (0.5, -1.5, True)],
)
def test_silence_gives_no_rows_unless_its_text_is_likely(
    no_speech_prob: float, avg_logprob: float, kept: bool
) -> None:
    answer = heard("thanks for watching", no_speech_prob=no_speech_prob, avg_logprob=avg_logprob)
    assert transcribe(talk(1), WhisperStandIn(lambda *_: answer)).num_rows == kept


def test_silence_does_not_tell_the_language() -> None:
    answers = iter([heard("x", language="ja", no_speech_prob=0.9, avg_logprob=-2.0), *[heard("hello")] * 2])
    whisper = WhisperStandIn(lambda *_: next(answers))
    table = transcribe(talk(3), whisper)
    assert [d.language for call in whisper.calls for d in call] == ["", "", "en"]
    assert table["language"].to_pylist() == ["en", "en"]


def test_a_loop_is_decoded_once_more_without_repetitions() -> None:
    def answer(_: int, decoding: Decoding) -> Transcription:
        if decoding.no_repeat_tokens:
            return heard("no more")
        return heard("no no no no no no", compression_ratio=5.0)

    whisper = WhisperStandIn(answer)
    table = transcribe(talk(2), whisper, language="en")
    assert [[d.no_repeat_tokens for d in call] for call in whisper.calls] == [[0] * 2, [NO_REPEAT_TOKENS] * 2]
    assert table["text"].to_pylist() == ["no more"] * 2


def test_when_both_tries_loop_the_likelier_stays() -> None:
    def answer(_: int, decoding: Decoding) -> Transcription:
        again = bool(decoding.no_repeat_tokens)
        return heard("b" if again else "a", compression_ratio=5.0, avg_logprob=-0.9 if again else -0.5)

    assert transcribe(talk(1), WhisperStandIn(answer))["text"].to_pylist() == ["a"]


def test_words_lie_in_the_stretch_of_their_middle() -> None:
    def answer(_: int, decoding: Decoding) -> Transcription:
        words = (Word(0.5, 1.0, "one", 0.9), Word(1.9, 2.4, "two", 0.9), Word(99.0, 99.0, "late", 0.1))
        return Transcription((Span(0.0, 99.0, "one two late", words),), "en", -0.2, 0.0, 1.0)

    samples = loudness([(2.048, 0), (1.024, 0.9), (4.096, 0), (1.024, 0.9), (4.096, 0)])
    words = words_of(transcribe(samples, WhisperStandIn(answer)))
    # The first stretch with its padding is 1.824 s long and starts at 1.648 s, the second at 6.768 s.
    assert [round(w["start_seconds"], 3) for w in words] == [2.148, 7.118, 8.274]
    assert [round(w["end_seconds"], 3) for w in words] == [2.648, 7.312, 8.274]


def test_subtitles_are_rows_of_their_own_beside_speech() -> None:
    cues = (Cue(0.5, 1.5, "written\ntwice"), Cue(3.0, math.inf, "to the end"))
    options = TranscriptOptions(origin="subtitles")
    assert Transcript.roles(options) == () and Transcript.roles(TranscriptOptions()) == Transcript.models
    alone = Transcript(options, {})
    assert alone.takes() == (Subtitles,)
    extractor = alone.open(shard(seconds=20))
    extractor.feed(Subtitles(4, "eng", cues), {})
    rows = extractor.finish().rows
    assert rows.schema.equals(Transcript.schema, check_metadata=True)
    assert rows.select(["segment_index", "start_seconds", "end_seconds", "text", "language"]).to_pylist() == [
        {
            "language": "eng",
            "segment_index": 0,
            "start_seconds": 0.5,
            "end_seconds": 1.5,
            "text": "written\ntwice",
        },
        {
            "language": "eng",
            "segment_index": 1,
            "start_seconds": 3.0,
            "end_seconds": 20.0,
            "text": "to the end",
        },
    ]
    for name in ("avg_logprob", "no_speech_prob", "words"):
        assert rows[name].null_count == 2
    models = {
        "vad": Model(SMALL["vad"], LoudnessRunner()),
        "transcript": Model(SMALL["transcript"], WhisperStandIn()),
    }
    both = Transcript(TranscriptOptions(), models).open(replace(shard(seconds=20), audio_stream=2))
    both.feed(Subtitles(4, "eng", cues[:1]), {})
    for chunk in audio_chunks(talk(1, 5.0), repeat(64_000)):
        both.feed(chunk, {})
    table = both.finish().rows
    assert table["origin"].to_pylist() == ["speech", "subtitles"]
    assert table["stream_index"].to_pylist() == [2, 4]
    assert Transcript(TranscriptOptions(origin="speech"), models).takes() == (Audio,)


def test_sound_is_not_kept() -> None:
    extractor = Transcript(
        TranscriptOptions(),
        {
            "vad": Model(SMALL["vad"], LoudnessRunner()),
            "transcript": Model(SMALL["transcript"], WhisperStandIn()),
        },
    ).open(shard())
    most = 0
    for chunk in audio_chunks(np.tile(talk(1), 60), repeat(64_000)):
        extractor.feed(chunk, {})
        kept = extractor._transcriber._maker._kept  # type: ignore[attr-defined]
        waiting = sum(len(p.samples) for p in extractor._transcriber._waiting)  # type: ignore[attr-defined]
        most = max(most, len(kept) + waiting)
    assert most <= (GROUP + 3) * MAX_SAMPLES


@pytest.mark.parametrize(
    "wrong",
    [
        {"language": "klingon"},
        {"task": "sing"},
        {"beam_size": 0},
        {"no_speech_threshold": 1.5},
        {"log_prob_threshold": 1.0},
        {"compression_ratio_threshold": 0.0},
        {"origin": "video"},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"transcript.{next(iter(wrong))}"):
        TranscriptOptions(**wrong)


def test_a_model_that_gives_no_text_is_refused() -> None:
    class Silent(WhisperStandIn):
        def run(self, inputs: Any) -> Any:
            return {"logits": np.zeros(1)}

    with pytest.raises(ModelError, match="family whisper"):
        transcribe(talk(1), Silent())


# From here on with a real network whose words are right.


def num_wrong(said: list[str], found: list[str]) -> int:
    """Words to insert, delete or replace."""
    row = list(range(len(found) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[:], i
        for j, other in enumerate(found, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return row[-1]


def test_words_and_times_are_right(clips: dict[str, Any], whisper: Any, vad: Any) -> None:
    wrong = said = 0
    offsets: list[float] = []
    for clip in clips.values():
        words = words_of(transcribe(clip["samples"], whisper, vad))
        truth = [w for u in clip["utterances"] for w in u["words"]]
        wrong += num_wrong([w["word"] for w in truth], [w["text"] for w in words])
        said += len(truth)
        if [w["word"] for w in truth] == [w["text"] for w in words]:
            offsets += [abs(w["start_seconds"] - t["start"]) for w, t in zip(words, truth, strict=True)]
    assert wrong / said <= 0.10
    assert np.median(offsets) < 0.05 and max(offsets) < 0.3


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Any:
    """faster-whisper's own batched decoding of a whole file."""
    faster_whisper = pytest.importorskip("faster_whisper")
    model = faster_whisper.WhisperModel(
        str(models_dir / "whisper_words"), device="cpu", compute_type="int8", cpu_threads=1
    )
    batched = faster_whisper.BatchedInferencePipeline(model)

    def run(samples: Float32Array, language: str) -> list[Any]:
        found, _ = batched.transcribe(
            samples, language=language, word_timestamps=True, without_timestamps=False
        )
        return list(found)

    return run


@pytest.mark.parametrize("name", ["en_02.flac", "de_00.flac", "long_1.flac"])
def test_rows_are_those_of_the_batched_pipeline(
    clips: dict[str, Any], whisper: Any, vad: Any, pipeline: Any, name: str
) -> None:
    clip = clips[name]
    wanted = pipeline(clip["samples"], clip["language"])
    table = transcribe(clip["samples"], whisper, vad, language=clip["language"])
    assert table["text"].to_pylist() == [segment.text.strip() for segment in wanted]
    for row, segment in zip(table.to_pylist(), wanted, strict=True):
        assert row["avg_logprob"] == pytest.approx(segment.avg_logprob, abs=1e-4)
        assert row["no_speech_prob"] == pytest.approx(segment.no_speech_prob, abs=1e-4)
        assert [w["text"] for w in row["words"]] == [other.word.strip() for other in segment.words]
        assert [w["probability"] for w in row["words"]] == pytest.approx(
            [other.probability for other in segment.words], abs=1e-4
        )
        # Ours stay on the voice; theirs can lie in the padding of 0.4 s on both sides of a pause.
        for word, other in zip(row["words"], segment.words, strict=True):
            assert -0.02 <= word["start_seconds"] - other.start <= 0.8
            assert abs(word["end_seconds"] - other.end) <= 0.8
    words = words_of(table)
    others = [word for segment in wanted for word in segment.words]
    same = [abs(w["start_seconds"] - o.start) <= 0.02 for w, o in zip(words, others, strict=True)]
    assert np.mean(same) >= 0.6


def test_rows_do_not_depend_on_chunks(clips: dict[str, Any], whisper: Any, vad: Any) -> None:
    samples = clips["en_10.flac"]["samples"]
    models = {"vad": Model(SMALL["vad"], vad), "transcript": Model(SMALL["transcript"], whisper)}
    extractor = Transcript(TranscriptOptions(), models).open(shard())
    for chunk in audio_chunks(samples, cycle([1, 511, 7000])):
        extractor.feed(chunk, {})
    assert extractor.finish().rows.equals(transcribe(samples, whisper, vad))


def test_two_languages_in_one_file(clips: dict[str, Any], whisper: Any, vad: Any) -> None:
    """Either is too long to share a passage with the other."""
    pause = np.zeros(SECOND, np.float32)
    german = np.concatenate(
        [part for k in (0, 1, 2, 3) * 3 for part in (clips[f"de_0{k}.flac"]["samples"], pause)]
    )
    samples = np.concatenate([german, clips["long_0.flac"]["samples"]])
    once = transcribe(samples, whisper, vad)
    assert set(once["language"].to_pylist()) == {"de"}, "the first passage tells it"
    each = transcribe(samples, whisper, vad, language="each").to_pylist()
    assert {row["language"] for row in each} == {"de", "en"}
    for language, said in (("de", "de_01.flac"), ("en", "long_0.flac")):
        words = {word for row in each if row["language"] == language for word in row["text"].split()}
        assert len(words & set(clips[said]["text"].split())) >= 0.5 * len(set(clips[said]["text"].split()))


def eight_khz(samples: Float32Array) -> Float32Array:
    """What a telephone leaves: half the samples, those between drawn straight."""
    half = np.convolve(samples, np.array([0.25, 0.5, 0.25]), "same")[::2]
    return np.interp(np.arange(2 * len(half)) / 2, np.arange(len(half)), half).astype(np.float32)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(eight_khz, id="8 kHz"),
        pytest.param(lambda s: np.clip(s * 8, -0.9, 0.9), id="clipped"),
        pytest.param(lambda s: s * np.float32(0.01), id="very quiet"),
        pytest.param(lambda s: np.where(np.arange(len(s)) % 30_001 == 0, np.nan, s), id="damaged"),
    ],
)
def test_bad_sound_is_heard_as_well_as_it_can_be(
    clips: dict[str, Any], whisper: Any, vad: Any, pipeline: Any, change: Any
) -> None:
    wrong = said = 0
    for name in ("en_02.flac", "en_07.flac", "en_10.flac"):
        samples = change(clips[name]["samples"]).astype(np.float32)
        words = [w["text"] for w in words_of(transcribe(samples, whisper, vad, language="en"))]
        same = pipeline(np.nan_to_num(samples), "en")
        assert words == [word.word.strip() for segment in same for word in segment.words]
        wrong += num_wrong(clips[name]["text"].split(), words)
        said += len(clips[name]["text"].split())
    assert said == 24 and wrong <= said / 2


def test_no_speech_gives_no_rows(whisper: Any, vad: Any) -> None:
    noise = np.random.default_rng(1).normal(0, 1e-3, 5 * SECOND).astype(np.float32)
    for samples in (np.zeros(40 * SECOND, np.float32), noise, np.zeros(160, np.float32)):
        assert transcribe(samples, whisper, vad).num_rows == 0
