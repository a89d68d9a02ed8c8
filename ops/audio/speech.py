"""Segments of speech: the Silero voice activity detector, then segmentation with hysteresis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa

from framemill.errors import UsageError
from framemill.models.runner import Runner
from framemill.ops.audio.vad import (
    SAMPLE_RATE,
    Segment,
    Segmenter,
    SegmentRules,
    SpeechDetector,
    clean_samples,
)
from framemill.ops.chunks import Audio, Chunk, ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, Op, Partial, Reads


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechOptions:
    """Options of `speech`; the values are the defaults that Silero documents for its own segmentation.

    Attributes:
        threshold: probability from which a window starts speech, 0..1.
        end_threshold: probability below which speech may end, at most `threshold`.
        min_silence_seconds: a pause at least this long ends a segment.
        min_speech_seconds: segments of at most this length are dropped.
        padding_seconds: added on both sides of a segment; neighbours share what lies between them.
    """

    threshold: float = 0.5
    end_threshold: float = 0.35
    min_silence_seconds: float = 0.1
    min_speech_seconds: float = 0.25
    padding_seconds: float = 0.03

    def __post_init__(self) -> None:
        if not 0 < self.end_threshold <= self.threshold < 1:
            raise UsageError(
                f"speech.end_threshold is {self.end_threshold} and speech.threshold is {self.threshold}; "
                "they must satisfy 0 < end_threshold <= threshold < 1"
            )
        for name in ("min_silence_seconds", "min_speech_seconds", "padding_seconds"):
            if not 0 <= getattr(self, name) <= 3600:
                raise UsageError(f"speech.{name} is {getattr(self, name)}; it must be 0 to 3600")


class Speech(Op):
    """One row a segment of speech."""

    name = "speech"
    version = 2
    reads = Reads.AUDIO
    models = ("vad",)
    Options = SpeechOptions
    schema = pa.schema(
        [
            column(
                "start_seconds",
                pa.float64(),
                "start of the segment, in seconds since the presentation's start",
            ),
            column(
                "end_seconds", pa.float64(), "its end, exclusive, in seconds since the presentation's start"
            ),
            column(
                "probability",
                pa.float32(),
                "mean probability of speech over the segment without its padding, 0 to 1",
            ),
        ]
    )

    def open(self, shard: ShardInfo) -> Extractor:
        return _Segments(self.options, self.loaded["vad"].runner)


class _Segments:
    def __init__(self, options: SpeechOptions, runner: Runner) -> None:
        self.done = False
        self._detector = SpeechDetector(runner)
        self._segmenter = Segmenter(SegmentRules(**asdict(options)))
        self._segments: list[Segment] = []
        self._start_sample = 0
        self._num_samples = 0

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Audio)
        if not self._num_samples:
            self._start_sample = chunk.start_sample
        self._num_samples += len(chunk.samples)
        for probability in self._detector.feed(clean_samples(chunk)):
            self._segmenter.push(probability)
        self._segments += self._segmenter.take()

    def finish(self) -> Partial:
        for probability in self._detector.finish():
            self._segmenter.push(probability)
        segments = self._segments + self._segmenter.finish(self._num_samples)
        rows = pa.table(
            {
                "start_seconds": [(self._start_sample + s.start) / SAMPLE_RATE for s in segments],
                "end_seconds": [(self._start_sample + s.end) / SAMPLE_RATE for s in segments],
                "probability": [s.probability for s in segments],
            },
            schema=Speech.schema,
        )
        return Partial(rows)
