"""Voice activity detection: probabilities from the Silero network, and segments with hysteresis."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from framemill.models.runner import Runner
from framemill.ops.chunks import Audio, Float32Array

SAMPLE_RATE = 16_000
WINDOW = 512  # samples of one input of the network: fixed by its training
CONTEXT = 64  # samples of the window before that it also sees
# Windows a call: 4 s; counted from the track's start, so that reads of any size give the same rows.
BLOCK = 128
STATE_SHAPE = (1, 1, 128)
# Where no window of 16 s reaches this, nobody spoke, and the network forgets it: minutes of silence leave it
# in a state in which it overhears the first words.
FORGET_BELOW = 0.1
FORGET_BLOCKS = 4
# A pause at least this long is where a segment that grows too long is cut; Silero's own value.
CUT_PAUSE_SAMPLES = 0.098 * SAMPLE_RATE
# Samples beyond this are damaged: full scale is 1, and their squares would dominate every sum.
LIMIT = 1e6


def clean_samples(chunk: Audio, sample_rate: int = SAMPLE_RATE) -> Float32Array:
    """The samples of a chunk, damaged ones silenced.

    Float tracks can hold NaN, infinity and meaningless numbers; one of them would spoil all later output of a
    recurrent network or a filter.

    Raises:
        ValueError: the sound is not at this rate.
    """
    if chunk.sample_rate != sample_rate:
        raise ValueError(f"sound at {sample_rate} Hz is needed, got {chunk.sample_rate}")
    return np.where(np.abs(chunk.samples) < LIMIT, chunk.samples, np.float32(0))


class SpeechDetector:
    """Runs the network on blocks of windows; its state is kept from one block to the next."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._waiting = np.zeros(CONTEXT, np.float32)  # the context, then samples not processed yet
        self._hidden = np.zeros(STATE_SHAPE, np.float32)
        self._cell = np.zeros(STATE_SHAPE, np.float32)
        self._silent_blocks = 0

    def feed(self, samples: Float32Array) -> list[float]:
        """Probabilities of speech, 0..1, of the windows that are complete now."""
        self._waiting = np.concatenate([self._waiting, samples])
        found: list[float] = []
        while len(self._waiting) >= CONTEXT + BLOCK * WINDOW:
            found += self._run(BLOCK)
        return found

    def finish(self) -> list[float]:
        """Probabilities of the windows that are left, the last one filled up with silence."""
        missing = -(len(self._waiting) - CONTEXT) % WINDOW
        self._waiting = np.pad(self._waiting, (0, missing))
        return self._run((len(self._waiting) - CONTEXT) // WINDOW) if len(self._waiting) > CONTEXT else []

    def _run(self, num_windows: int) -> list[float]:
        windows = np.lib.stride_tricks.sliding_window_view(self._waiting, CONTEXT + WINDOW)[::WINDOW]
        block: Float32Array = np.ascontiguousarray(windows[:num_windows], dtype=np.float32)
        outputs = self._runner.run_whole({"input": block, "h": self._hidden, "c": self._cell})
        self._hidden, self._cell = outputs["hn"], outputs["cn"]
        self._waiting = self._waiting[num_windows * WINDOW :]
        probabilities: list[float] = outputs["speech_probs"].reshape(-1).tolist()
        self._silent_blocks = self._silent_blocks + 1 if max(probabilities) < FORGET_BELOW else 0
        if self._silent_blocks >= FORGET_BLOCKS:
            self._hidden, self._cell = np.zeros_like(self._hidden), np.zeros_like(self._cell)
        return probabilities


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentRules:
    """When consecutive probabilities make a segment.

    Attributes:
        threshold: probability from which a window starts speech, 0..1.
        end_threshold: probability below which speech may end, at most `threshold`.
        min_silence_seconds: a pause at least this long ends a segment.
        min_speech_seconds: segments of at most this length are dropped.
        padding_seconds: added on both sides of a segment; neighbours share what lies between them.
        max_speech_seconds: longer segments, padding included, are cut: at the last pause, else anywhere.
    """

    threshold: float
    end_threshold: float
    min_silence_seconds: float
    min_speech_seconds: float
    padding_seconds: float
    max_speech_seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Segment:
    """Speech in samples from the track's start, half-open.

    Attributes:
        start, end: with padding. speech_start, speech_end: without.
        probability: mean probability of speech without the padding, 0..1.
    """

    start: int
    end: int
    probability: float
    speech_start: int
    speech_end: int


# A place between two windows: samples from the track's start, and the sum of all probabilities before it.
_Mark = tuple[int, float]


@dataclass(slots=True)
class Segmenter:
    """Turns the probabilities of consecutive windows into segments, one window at a time.

    Gives the segments of Silero's own segmentation, as faster-whisper has it, without knowing the whole.
    """

    rules: SegmentRules
    _here: _Mark = (0, 0.0)
    _start: _Mark | None = None  # of the open segment
    _pause: _Mark | None = None  # where the open segment may have ended
    _cut: _Mark | None = None  # the last pause that is long enough for a cut
    _resumed: _Mark | None = None  # where speech went on after it
    _closed: list[Segment] = field(default_factory=list)  # without padding at their ends
    _last_end: int = -1  # of the segment before the first in `_closed`, without padding

    def push(self, probability: float) -> None:
        """Takes the next window's probability."""
        here, rules = self._here, self.rules
        speaks = probability >= rules.threshold
        if speaks and self._pause is not None:
            self._pause = None
            if self._cut is not None and self._resumed is None:
                self._resumed = here
        if speaks and self._start is None:
            self._start = here
        elif self._start is not None:
            if here[0] - self._start[0] > self._max_samples:
                self._shorten()
            if self._start is not None and probability < rules.end_threshold:
                self._pause = self._pause or here
                silent = here[0] - self._pause[0]
                if silent > CUT_PAUSE_SAMPLES:
                    self._cut, self._resumed = self._pause, None
                if silent >= rules.min_silence_seconds * SAMPLE_RATE:
                    self._close(self._pause)
        self._here = (here[0] + WINDOW, here[1] + probability)

    def take(self) -> list[Segment]:
        """Segments, padded, that nothing to come can change; each is given once."""
        reach = 2 * self._padding
        settled = []
        while self._closed:
            free = self._start[0] if self._start is not None else self._here[0]
            if len(self._closed) == 1 and free < self._closed[0].end + reach:
                break
            settled.append(self._pad_first(math.inf))
        return settled

    def finish(self, num_samples: int) -> list[Segment]:
        """The segments left of a track of this length, padded."""
        if self._start is not None:
            self._close((num_samples, self._here[1]))
        return [self._pad_first(num_samples) for _ in range(len(self._closed))]

    @property
    def oldest(self) -> int:
        """First sample that a segment still to be given can hold."""
        if self._closed:
            first = self._closed[0].start
        else:
            first = self._start[0] if self._start is not None else self._here[0]
        return max(0, first - self._padding)

    @property
    def _padding(self) -> int:
        return int(self.rules.padding_seconds * SAMPLE_RATE)

    @property
    def _max_samples(self) -> float:
        return self.rules.max_speech_seconds * SAMPLE_RATE - WINDOW - 2 * self._padding

    def _pad_first(self, num_samples: float) -> Segment:
        segment = self._closed.pop(0)
        start, end = max(0, segment.start - self._padding), min(num_samples, segment.end + self._padding)
        if self._last_end >= 0:
            start = max(start, segment.start - (segment.start - self._last_end) // 2)
        if self._closed:
            end = min(end, segment.end + (self._closed[0].start - segment.end) // 2)
        self._last_end = segment.end
        return replace(segment, start=start, end=int(end))

    def _shorten(self) -> None:
        """Cuts the open segment at its last pause, or here where it had none."""
        cut, resumed = self._cut, self._resumed
        if cut is None:
            self._close(self._here)
        else:
            self._close(cut)
            self._start = resumed

    def _close(self, end: _Mark) -> None:
        assert self._start is not None
        start = self._start
        if end[0] - start[0] > self.rules.min_speech_seconds * SAMPLE_RATE:
            num_windows = -(-(end[0] - start[0]) // WINDOW)
            probability = (end[1] - start[1]) / num_windows
            self._closed.append(Segment(start[0], end[0], probability, start[0], end[0]))
        self._start = self._pause = self._cut = self._resumed = None
