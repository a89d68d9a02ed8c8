"""Speech and words beside faster-whisper: its own detector of speech, and its batched pipeline."""

from __future__ import annotations

import difflib
import json
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.accuracy.media import model_of, operation, present, samples_of
from benchmarks.accuracy.table import Comparison
from benchmarks.harness import Setting, SkippedError
from framemill.models.registry import resolve
from framemill.models.whisper import open_whisper
from framemill.ops.audio.speech import Speech
from framemill.ops.audio.transcript import Transcript
from tests.ops.audio.sound_clips import RATE, rows_of

SPOKEN = (
    "jfk.flac",
    "librivox_0870.wav",
    "librivox_0880.wav",
    "librispeech_84-121550-0000.flac",
    "pyannote_sample.wav",
    "music_vibe_ace.ogg",
)
WORDS = "whisper_words"
# In each language some clips of a phrase, and some of half a minute.
CLIPS = ("en_02.flac", "en_10.flac", "de_00.flac", "de_02.flac", "long_1.flac", "long_3.flac")


def measure(setting: Setting) -> list[Comparison]:
    if find_spec("faster_whisper") is None:
        raise SkippedError("faster-whisper is not installed")
    return [_spans(setting), _words(setting)]


def _spans(setting: Setting) -> Comparison:
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    op = operation(Speech, setting, {})
    o = op.options
    settings = VadOptions(
        threshold=o.threshold,
        neg_threshold=o.end_threshold,
        min_speech_duration_ms=round(o.min_speech_seconds * 1000),
        min_silence_duration_ms=round(o.min_silence_seconds * 1000),
        speech_pad_ms=round(o.padding_seconds * 1000),
    )
    num_spans = num_equal = 0
    for path in present(setting.media / "audio", *SPOKEN):
        samples = samples_of(path)
        rows = rows_of(op, samples)
        ours = np.array([rows["start_seconds"], rows["end_seconds"]]).T * RATE
        theirs = [(span["start"], span["end"]) for span in get_speech_timestamps(samples.copy(), settings)]
        # Their ends are cut down to whole samples where padding is shared.
        num_equal += sum(bool(np.abs(ours - span).max(axis=1).min(initial=np.inf) <= 1) for span in theirs)
        num_spans += max(len(theirs), len(ours))
    return Comparison(
        family="vad",
        reference=f"faster-whisper {version('faster-whisper')} get_speech_timestamps",
        compared=f"`speech`, {len(SPOKEN)} recordings",
        num_rows=num_spans,
        figure=f"{num_equal} of {num_spans} spans equal to the sample",
        goal="all spans equal",
        met=num_equal == num_spans,
    )


def _words(setting: Setting) -> Comparison:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    (weights,) = present(setting.models, WORDS)
    described = present(setting.media / "audio" / WORDS, "transcripts.json")[0].read_text("utf-8")
    languages = {clip["file"]: clip["language"] for clip in json.loads(described)["clips"]}
    recogniser = open_whisper(resolve("transcript", str(weights)), weights, setting.cores, "cpu")[0]
    models = {"vad": model_of("vad", "", setting), "transcript": recogniser}
    pipeline: Any = BatchedInferencePipeline(
        WhisperModel(str(weights), device="cpu", compute_type="int8", cpu_threads=setting.cores)
    )
    num_words = num_equal = 0
    for path in present(setting.media / "audio" / WORDS, *CLIPS):
        samples, language = samples_of(path), languages[path.name]
        op = Transcript(Transcript.Options(origin="speech", language=language), models)
        ours = [word["text"] for row in rows_of(op, samples).to_pylist() for word in row["words"]]
        segments, _ = pipeline.transcribe(
            samples, language=language, word_timestamps=True, without_timestamps=False
        )
        theirs = [word.word.strip() for segment in segments for word in segment.words]
        num_equal += equal_words(ours, theirs)
        num_words += max(len(ours), len(theirs))
    return Comparison(
        family="whisper",
        reference=f"faster-whisper {version('faster-whisper')} BatchedInferencePipeline, times of words",
        compared=f"`transcript` by {WORDS}, {len(CLIPS)} clips in two languages",
        num_rows=num_words,
        figure=f"{num_equal} of {num_words} words equal",
        goal="all words equal",
        met=num_equal == num_words,
    )


def equal_words(ours: list[str], theirs: list[str]) -> int:
    """How many words both have in the same order."""
    blocks = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks)
