"""What is said: passages of speech of many files go through one Whisper model together.

Subtitles that a file already holds become rows of their own origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from framemill.errors import UsageError
from framemill.models.spoken import LANGUAGES, TASKS
from framemill.ops.audio.subtitles import SubtitleRows
from framemill.ops.audio.transcriber import EACH, Listener
from framemill.ops.chunks import Audio, Chunk, ShardInfo, Subtitles
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, Op, Partial, Reads

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
            listener = Listener(self.options, self.loaded["vad"].runner, self.loaded["transcript"].runner)
        return _Texts(listener, shard.duration_seconds)


class _Texts:
    """Rows of both origins of one source."""

    def __init__(self, listener: Listener | None, duration_seconds: float) -> None:
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
