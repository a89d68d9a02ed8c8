"""What is said: passages of speech of many files go through one Whisper model together.

Subtitles that a file already holds become rows of their own origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from models.errors import ModelError, UsageError
from models.loading import Runner
from models.spoken import LANGUAGES, MAX_SAMPLES, MAX_SECONDS, TASKS, Decoding, Heard, Span
from ops.chunks import Audio, Chunk, ShardInfo, Subtitles
from ops.columns import column
from ops.operation import Extractor, Op, Partial, Reads
from ops.passages import Passage, PassageMaker
from ops.subtitle_rows import SubtitleRows
from ops.voice import Segmenter, VoiceDetector, VoiceRules, clean_samples

# Where faster-whisper's batched pipeline cuts, which hands Whisper speech with little silence in it.
RULES = VoiceRules(
    threshold=0.5,
    end_threshold=0.35,
    min_silence_seconds=0.16,
    min_speech_seconds=0.0,
    padding_seconds=0.4,
    max_speech_seconds=MAX_SECONDS,
)
# Passages of one file that go to the model in one call: four minutes of speech at most wait in memory.
GROUP = 8
# A passage that repeats itself is decoded once more, without runs of so many tokens that come twice.
NO_REPEAT_TOKENS = 3
EACH = "each"
ORIGINS = ("all", "speech", "subtitles")


@dataclass(frozen=True, kw_only=True, slots=True)
class TranscriptOptions:
    """Options of `transcript`.

    The three thresholds are faster-whisper's guards against invented text, with its defaults. Its fallback,
    sampling at rising temperature, gives other rows in each run; a passage that repeats itself is here
    decoded once more without repetitions instead, and text of low probability stays.

    Attributes:
        origin: `all`; or `speech` or `subtitles` alone, of which the latter needs no model.
        language: code such as `en` or `de`; empty to detect it once per file, in its first passage; `each`
            to detect it in every passage.
        task: `transcribe`, or `translate` into English.
        beam_size: hypotheses followed at a time, 1 to 20.
        initial_prompt, hotwords: text put before each passage, to teach names and style.
        word_timestamps: whether words get times of their own.
        compression_ratio_threshold: bytes of text per compressed byte above which it repeats itself.
        log_prob_threshold: mean logarithm of the tokens' probabilities; text above it is never silence.
        no_speech_threshold: probability of silence above which a passage without likely text is dropped.
    """

    origin: str = "all"
    language: str = ""
    task: str = "transcribe"
    beam_size: int = 5
    initial_prompt: str = ""
    hotwords: str = ""
    word_timestamps: bool = True
    compression_ratio_threshold: float = 2.4
    log_prob_threshold: float = -1.0
    no_speech_threshold: float = 0.6

    def __post_init__(self) -> None:
        if self.origin not in ORIGINS:
            raise UsageError(f"transcript.origin is {self.origin!r}; it must be one of {', '.join(ORIGINS)}")
        if self.language not in LANGUAGES | {"", EACH}:
            raise UsageError(
                f"transcript.language is {self.language!r}; it must be {EACH!r}, empty, or one of "
                + ", ".join(sorted(LANGUAGES))
            )
        if self.task not in TASKS:
            raise UsageError(f"transcript.task is {self.task!r}; it must be one of {', '.join(TASKS)}")
        if not 1 <= self.beam_size <= 20:
            raise UsageError(f"transcript.beam_size is {self.beam_size}; it must be 1 to 20")
        if not self.compression_ratio_threshold > 0:
            raise UsageError(
                f"transcript.compression_ratio_threshold is {self.compression_ratio_threshold}; "
                "it must be > 0"
            )
        if not self.log_prob_threshold <= 0:
            raise UsageError(f"transcript.log_prob_threshold is {self.log_prob_threshold}; it must be <= 0")
        if not 0 <= self.no_speech_threshold <= 1:
            raise UsageError(
                f"transcript.no_speech_threshold is {self.no_speech_threshold}; it must be 0 to 1"
            )


_WORD = pa.struct(
    [
        column("start_seconds", pa.float64(), "start of the word, in seconds since the presentation's start"),
        column("end_seconds", pa.float64(), "its end, exclusive, in seconds since the presentation's start"),
        column("text", pa.string(), "the word with its punctuation, without spaces around it"),
        column("probability", pa.float32(), "mean probability of its tokens, 0 to 1"),
    ]
)


class Transcript(Op):
    """One row a stretch of text, as the model cuts it or as a subtitle shows it.

    Subtitles that are pictures of text are not read; `media` lists their streams.
    """

    name = "transcript"
    reads = Reads.AUDIO
    models = ("vad", "transcript")
    default = False
    Options = TranscriptOptions
    schema = pa.schema(
        [
            column(
                "segment_index",
                pa.int32(),
                "0-based position among the source's segments of this origin and stream",
            ),
            column("start_seconds", pa.float64(), "start, in seconds since the presentation's start"),
            column(
                "end_seconds", pa.float64(), "its end, exclusive, in seconds since the presentation's start"
            ),
            column(
                "text",
                pa.string(),
                "what is said, without spaces around it; subtitles without styling, lines parted by newlines",
            ),
            column(
                "language",
                pa.string(),
                "code of the language that is spoken, such as en or de; of subtitles as the file tags them, "
                "usually of three letters such as eng, und where it does not",
            ),
            column("origin", pa.string(), "where the text is from: speech or subtitles"),
            column(
                "avg_logprob",
                pa.float32(),
                "mean natural logarithm of the tokens' probabilities over the passage of up to 30 s, <= 0; "
                "null for subtitles",
                nullable=True,
            ),
            column(
                "no_speech_prob",
                pa.float32(),
                "probability that nobody speaks in the passage, 0 to 1; null for subtitles",
                nullable=True,
            ),
            column(
                "words",
                pa.list_(_WORD),
                "the words in time order; null for subtitles and without word_timestamps",
                nullable=True,
            ),
            column(
                "stream_index",
                pa.int32(),
                "of the subtitle stream in the container; null for speech",
                nullable=True,
            ),
        ]
    )

    @classmethod
    def roles(cls, options: Any) -> tuple[str, ...]:
        return () if options.origin == "subtitles" else cls.models

    def takes(self) -> tuple[type[Chunk], ...]:
        kinds = {"all": (Audio, Subtitles), "speech": (Audio,), "subtitles": (Subtitles,)}
        return kinds[self.options.origin]

    def open(self, shard: ShardInfo) -> Extractor:
        listener = None
        if Audio in self.takes():
            listener = _Listener(self.options, self.loaded["vad"].runner, self.loaded["transcript"].runner)
        return _Texts(listener, shard.duration_seconds)


class _Texts:
    """Rows of both origins of one source."""

    def __init__(self, listener: _Listener | None, duration_seconds: float) -> None:
        self.done = False
        self._listener = listener
        self._subtitles = SubtitleRows()
        self._duration_seconds = duration_seconds

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        if isinstance(chunk, Subtitles):
            self._subtitles.add(chunk)
        else:
            assert isinstance(chunk, Audio) and self._listener is not None
            self._listener.feed(chunk)

    def finish(self) -> Partial:
        rows = self._listener.finish() if self._listener is not None else []
        rows += self._subtitles.finish(self._duration_seconds)
        return Partial(pa.Table.from_pylist(rows, schema=Transcript.schema))


class _Listener:
    """Finds the speech of one track and has it turned into text."""

    def __init__(self, options: TranscriptOptions, voice: Runner, whisper: Runner) -> None:
        self._options = options
        self._whisper = whisper
        self._detector = VoiceDetector(voice)
        self._segmenter = Segmenter(RULES)
        self._maker: PassageMaker | None = None
        self._num_samples = 0
        self._waiting: list[Passage] = []
        self._language = options.language
        self._rows: list[dict[str, Any]] = []

    def feed(self, chunk: Audio) -> None:
        samples = clean_samples(chunk)
        if self._maker is None:
            self._maker = PassageMaker(chunk.start_sample, MAX_SAMPLES)
        self._maker.hear(samples)
        self._num_samples += len(samples)
        for probability in self._detector.feed(samples):
            self._segmenter.push(probability)
        for segment in self._segmenter.take():
            self._put(self._maker.add(segment))
        self._maker.forget(self._segmenter.oldest)
        # Without a language the first passage goes alone, since the others take theirs from it.
        while len(self._waiting) >= (GROUP if self._language else 1):
            self._listen()

    def finish(self) -> list[dict[str, Any]]:
        for probability in self._detector.finish():
            self._segmenter.push(probability)
        if self._maker is not None:
            for segment in self._segmenter.finish(self._num_samples):
                self._put(self._maker.add(segment))
            self._put(self._maker.finish())
        while self._waiting:
            self._listen()
        for index, row in enumerate(self._rows):
            row["segment_index"] = index
        return self._rows

    def _put(self, passage: Passage | None) -> None:
        if passage is not None:
            self._waiting.append(passage)

    def _listen(self) -> None:
        """Sends the next passages to the model and makes rows of what they say."""
        passages = self._waiting[: GROUP if self._language else 1]
        del self._waiting[: len(passages)]
        heard = self._hear(passages)
        options = self._options
        loops = [
            i
            for i, h in enumerate(heard)
            if h.compression_ratio > options.compression_ratio_threshold and not self._is_silence(h)
        ]
        if loops:
            again = self._hear([passages[i] for i in loops], NO_REPEAT_TOKENS)
            for i, second in zip(loops, again, strict=True):
                heard[i] = self._better(heard[i], second)
        for passage, h in zip(passages, heard, strict=True):
            if self._is_silence(h):
                continue
            # What a passage of silence seems to be spoken in says nothing of the file.
            self._language = self._language or h.language
            self._rows += [_row(span, h, passage) for span in h.spans if span.text]

    def _hear(self, passages: list[Passage], no_repeat_tokens: int = 0) -> list[Heard]:
        samples = np.zeros((len(passages), MAX_SAMPLES), np.float32)
        decodings = np.empty(len(passages), object)
        options = self._options
        for row, passage in enumerate(passages):
            samples[row, : len(passage.samples)] = passage.samples
            decodings[row] = Decoding(
                language="" if self._language == EACH else self._language,
                task=options.task,
                beam_size=options.beam_size,
                initial_prompt=options.initial_prompt,
                hotwords=options.hotwords,
                word_times=options.word_timestamps,
                no_repeat_tokens=no_repeat_tokens,
            )
        lengths = np.array([len(passage.samples) for passage in passages], np.int64)
        outputs = self._whisper.run({"samples": samples, "num_samples": lengths, "decoding": decodings})
        if "heard" not in outputs:
            raise ModelError(
                f"the model gives {', '.join(outputs)} where text is expected; use family whisper"
            )
        heard: list[Heard] = outputs["heard"].tolist()
        return heard

    def _is_silence(self, heard: Heard) -> bool:
        options = self._options
        likely = heard.avg_logprob > options.log_prob_threshold
        return heard.no_speech_prob > options.no_speech_threshold and not likely

    def _better(self, first: Heard, second: Heard) -> Heard:
        if second.compression_ratio <= self._options.compression_ratio_threshold:
            return second
        return max(first, second, key=lambda heard: heard.avg_logprob)


def _row(span: Span, heard: Heard, passage: Passage) -> dict[str, Any]:
    words: list[dict[str, Any]] | None = None
    if span.words is not None:
        words = []
        for word in span.words:
            # Both ends belong to the segment that the word's middle lies in.
            segment = passage.segment_at((word.start_seconds + word.end_seconds) / 2)
            words.append(
                {
                    "start_seconds": passage.source_seconds(word.start_seconds, segment),
                    "end_seconds": passage.source_seconds(word.end_seconds, segment),
                    "text": word.text,
                    "probability": word.probability,
                }
            )
    if words:
        start, end = words[0]["start_seconds"], words[-1]["end_seconds"]
    else:
        start = passage.source_seconds(span.start_seconds, passage.segment_at(span.start_seconds))
        end = passage.source_seconds(span.end_seconds, passage.segment_at(span.end_seconds, is_end=True))
    return {
        "start_seconds": start,
        "end_seconds": max(start, end),
        "text": span.text,
        "language": heard.language,
        "origin": "speech",
        "avg_logprob": heard.avg_logprob,
        "no_speech_prob": heard.no_speech_prob,
        "words": words,
    }
