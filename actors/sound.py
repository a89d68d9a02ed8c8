"""One sound track as float32 mono at 16 kHz, with its gaps and its start kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import numpy as np

from ops.chunks import Audio, Float32Array

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

SAMPLE_RATE = 16000
# Four seconds: long enough that the calls behind a chunk do not count, short enough to stay in cache.
CHUNK_SAMPLES = 4 * SAMPLE_RATE
# Times in containers are rounded to as much as a millisecond, some muxers jitter by a frame or two.
# Only a hole larger than this is a hole; it is filled with silence so that times stay true.
GAP_SECONDS = 0.1
# A hole longer than this is a broken timestamp, not a pause.
MAX_GAP_SECONDS = 4 * 3600.0


class SoundTrack:
    """Turns packets of one stream into consecutive chunks of mono sound.

    Attributes:
        num_errors: packets that could not be decoded.
        num_samples: samples made so far, at 16 kHz.
    """

    def __init__(self, stream: AudioStream, origin_seconds: float) -> None:
        self.num_errors = 0
        self.num_samples = 0
        self._stream = stream
        self._origin_seconds = origin_seconds
        self._resampler = _new_resampler()
        self._format: tuple[str, int, str] | None = None
        self._next_seconds: float | None = None
        self._start_sample = -1
        self._pending: deque[Float32Array] = deque()
        self._num_pending = 0

    def feed(self, packet: av.Packet[Any]) -> Iterator[Audio]:
        """Chunks that are complete after this packet."""
        try:
            frames = cast(list[av.AudioFrame], packet.decode())
        except av.error.FFmpegError:
            self.num_errors += 1
            return
        for frame in frames:
            self._add(frame)
        while self._num_pending >= CHUNK_SAMPLES:
            yield self._take()

    def finish(self) -> Iterator[Audio]:
        """What is left after the last packet."""
        try:
            frames = self._stream.codec_context.decode(None)
        except av.error.FFmpegError:
            frames = []
        for frame in frames:
            self._add(frame)
        self._flush()
        while self._num_pending:
            yield self._take()

    def _add(self, frame: av.AudioFrame) -> None:
        if not frame.samples:
            return
        seconds = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if self._start_sample < 0:
            first = seconds if seconds is not None else self._origin_seconds
            self._start_sample = max(0, round((first - self._origin_seconds) * SAMPLE_RATE))
            self._next_seconds = first
        described = (frame.format.name, frame.sample_rate, frame.layout.name)
        if self._format != described:
            self._flush()  # rate or layout changed half-way: what the old one holds comes out first
        self._format = described
        if seconds is not None and self._next_seconds is not None:
            gap = seconds - self._next_seconds
            if GAP_SECONDS < gap < MAX_GAP_SECONDS:
                self._fill(gap)
                self._next_seconds = seconds
        frame.pts = None  # the resampler must not stretch sound to follow jitter
        self._collect(self._resampler.resample(frame))
        assert self._next_seconds is not None
        self._next_seconds += float(Fraction(frame.samples, frame.sample_rate))

    def _fill(self, seconds: float) -> None:
        self._flush()
        whole, rest = divmod(round(seconds * SAMPLE_RATE), CHUNK_SAMPLES)
        silence = np.zeros(CHUNK_SAMPLES, np.float32)
        for _ in range(whole):
            self._push(silence)  # the same one: hours of it take no memory
        self._push(silence[:rest])

    def _flush(self) -> None:
        self._collect(self._resampler.resample(None))
        self._resampler = _new_resampler()

    def _collect(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            if frame.samples:
                self._push(frame.to_ndarray()[0])

    def _push(self, samples: Float32Array) -> None:
        self._pending.append(samples)
        self._num_pending += len(samples)

    def _take(self) -> Audio:
        """About one chunk of what is pending."""
        parts: list[Float32Array] = []
        length = 0
        while self._pending and length < CHUNK_SAMPLES:
            parts.append(self._pending.popleft())
            length += len(parts[-1])
        chunk = Audio(self._start_sample + self.num_samples, np.concatenate(parts), SAMPLE_RATE)
        self.num_samples += length
        self._num_pending -= length
        return chunk


def _new_resampler() -> av.AudioResampler:
    # Without a limit, a mix to float is as loud as the sum of its channels; with it, that of full channels
    # is full, as libswresample has it for whole numbers.
    options = {"rematrix_maxval": "1"}
    return av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE, options=options)
