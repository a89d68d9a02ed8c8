"""Transcripts of speech by Whisper; passages of many files share batches of one model.

Subtitles that a file already holds become rows of their own origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from framemill.ops.audio.subtitles import SubtitleRows
from framemill.ops.audio.transcriber import Transcriber
from framemill.ops.audio.transcript_options import TranscriptOptions
from framemill.ops.chunks import Audio, Chunk, ShardInfo, Subtitles
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, Op, Partial, Reads

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
    version = 2
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
                "unheard_seconds",
                pa.float32(),
                "seconds of detected speech between this row and the next in which the model found no words, "
                "though it was asked again; stretches below 0.5 s do not count; null for subtitles",
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
                "index in the container of the sound or subtitle stream that the text is from, as in "
                "`media.streams`",
                nullable=True,
            ),
        ]
    )

    @classmethod
    def roles(cls, options: Any) -> tuple[str, ...]:
        return () if options.origin == "subtitles" else cls.models

    @classmethod
    def takes_under(cls, options: Any) -> tuple[type[Chunk], ...]:
        kinds = {"all": (Audio, Subtitles), "speech": (Audio,), "subtitles": (Subtitles,)}
        return kinds[options.origin]

    def open(self, shard: ShardInfo) -> Extractor:
        transcriber = None
        if Audio in self.takes():
            transcriber = Transcriber(
                self.options, self.loaded["vad"].runner, self.loaded["transcript"].runner
            )
        return _Texts(transcriber, shard)


class _Texts:
    """Rows of both origins of one source."""

    def __init__(self, transcriber: Transcriber | None, source: ShardInfo) -> None:
        self.done = False
        self._transcriber = transcriber
        self._subtitles = SubtitleRows()
        self._source = source

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        if isinstance(chunk, Subtitles):
            self._subtitles.add(chunk)
        else:
            assert isinstance(chunk, Audio) and self._transcriber is not None
            self._transcriber.feed(chunk)

    def finish(self) -> Partial:
        heard = self._transcriber.finish() if self._transcriber is not None else []
        rows = [{**row, "stream_index": self._source.audio_stream} for row in heard]
        rows += self._subtitles.finish(self._source.duration_seconds)
        return Partial(pa.Table.from_pylist(rows, schema=Transcript.schema))
