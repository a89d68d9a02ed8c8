"""Where somebody speaks: the Silero voice activity detector, then segments with hysteresis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from models.errors import UsageError
from models.loading import Runner
from ops.chunks import Audio, Chunk, Float32Array, ShardInfo
from ops.columns import column
from ops.operation import Extractor, Op, Partial, Reads

SAMPLE_RATE = 16_000
WINDOW = 512  # samples the network judges at once: fixed by its training
CONTEXT = 64  # samples of the window before that it also sees
BLOCK = (
    512  # windows a call: 16 s; counted from the track's start, so that reads of any size give the same rows
)
STATE_SHAPE = (1, 1, 128)


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


@dataclass(frozen=True, slots=True)
class Segment:
    """Speech in samples from the track's start, half-open, and its mean probability."""

    start: int
    end: int
    probability: float


@dataclass(slots=True)
class Segmenter:
    """Turns the probabilities of consecutive windows into segments, one window at a time."""

    options: SpeechOptions
    segments: list[Segment] = field(default_factory=list)
    position: int = 0  # start of the next window, in samples
    start: int = -1  # of the open segment; -1 while there is none
    total: float = 0.0  # sum of the probabilities of the open segment
    pause: int = -1  # where the open segment may have ended; -1 while it goes on
    total_at_pause: float = 0.0

    def push(self, probability: float) -> None:
        """Takes the next window's probability."""
        if self.start < 0:
            if probability >= self.options.threshold:
                self.start = self.position
        elif probability >= self.options.threshold:
            self.pause = -1
        elif probability < self.options.end_threshold:
            if self.pause < 0:
                self.pause, self.total_at_pause = self.position, self.total
            if self.position - self.pause >= self.options.min_silence_seconds * SAMPLE_RATE:
                self._close(self.pause, self.total_at_pause)
        if self.start >= 0:
            self.total += probability
        self.position += WINDOW

    def finish(self, num_samples: int) -> list[Segment]:
        """Segments of a track of this length, padded."""
        if self.start >= 0:
            self._close(num_samples, self.total)
        padding = int(self.options.padding_seconds * SAMPLE_RATE)
        padded = []
        for index, segment in enumerate(self.segments):
            start, end = max(0, segment.start - padding), min(num_samples, segment.end + padding)
            if index > 0:
                start = max(start, segment.start - self._half_gap(index - 1))
            if index + 1 < len(self.segments):
                end = min(end, segment.end + self._half_gap(index))
            padded.append(Segment(start, end, segment.probability))
        return padded

    def _half_gap(self, index: int) -> int:
        return (self.segments[index + 1].start - self.segments[index].end) // 2

    def _close(self, end: int, total: float) -> None:
        if end - self.start > self.options.min_speech_seconds * SAMPLE_RATE:
            num_windows = -(-(end - self.start) // WINDOW)
            self.segments.append(Segment(self.start, end, total / num_windows))
        self.start = self.pause = -1
        self.total = 0.0


class _Segments:
    """Feeds the network blocks of windows, carrying its state from one to the next."""

    def __init__(self, options: SpeechOptions, runner: Runner) -> None:
        self.done = False
        self.runner = runner
        self.segmenter = Segmenter(options)
        self.start_sample = 0
        self.num_samples = 0
        self.waiting = np.zeros(CONTEXT, np.float32)  # the context, then what is not judged yet
        self.hidden = np.zeros(STATE_SHAPE, np.float32)
        self.cell = np.zeros(STATE_SHAPE, np.float32)

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Audio)
        if chunk.sample_rate != SAMPLE_RATE:
            raise ValueError(f"speech needs sound at {SAMPLE_RATE} Hz, got {chunk.sample_rate}")
        if not self.num_samples:
            self.start_sample = chunk.start_sample
        self.num_samples += len(chunk.samples)
        # Damaged float tracks can hold NaN; one would poison the network's state for the rest of the track.
        clean = np.where(np.isfinite(chunk.samples), chunk.samples, np.float32(0))
        self.waiting = np.concatenate([self.waiting, clean])
        while len(self.waiting) >= CONTEXT + BLOCK * WINDOW:
            self._judge(BLOCK)

    def finish(self) -> Partial:
        missing = -(len(self.waiting) - CONTEXT) % WINDOW
        self.waiting = np.pad(self.waiting, (0, missing))
        if len(self.waiting) > CONTEXT:
            self._judge((len(self.waiting) - CONTEXT) // WINDOW)
        segments = self.segmenter.finish(self.num_samples)
        rows = pa.table(
            {
                "start_seconds": [(self.start_sample + s.start) / SAMPLE_RATE for s in segments],
                "end_seconds": [(self.start_sample + s.end) / SAMPLE_RATE for s in segments],
                "probability": [s.probability for s in segments],
            },
            schema=Speech.schema,
        )
        return Partial(rows)

    def _judge(self, num_windows: int) -> None:
        windows = np.lib.stride_tricks.sliding_window_view(self.waiting, CONTEXT + WINDOW)[::WINDOW][
            :num_windows
        ]
        block: Float32Array = np.ascontiguousarray(windows, dtype=np.float32)
        outputs = self.runner.run_whole({"input": block, "h": self.hidden, "c": self.cell})
        self.hidden, self.cell = outputs["hn"], outputs["cn"]
        for probability in outputs["speech_probs"].reshape(-1).tolist():
            self.segmenter.push(probability)
        self.waiting = self.waiting[num_windows * WINDOW :]
