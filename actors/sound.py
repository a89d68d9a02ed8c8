"""One sound track as float32 mono at 16 kHz, with its gaps and its start kept."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

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
        self._resampler = self._new_resampler()
        self._format: tuple[str, int, str] | None = None
        self._next_seconds: float | None = None
        self._start_sample = -1
        self._pending: list[Float32Array] = []
        self._num_pending = 0

    def feed(self, packet: av.Packet[Any]) -> Iterator[Audio]:
        """Chunks that are complete after this packet."""
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.num_errors += 1
            return
        for frame in frames:
            self._add(frame)
        if self._num_pending >= CHUNK_SAMPLES:
            yield self._take()

    def finish(self) -> Iterator[Audio]:
        """What is left after the last packet."""
        try:
            frames = self._stream.codec_context.decode(None)
        except av.error.FFmpegError:
            frames = []
        for frame in frames:
            self._add(frame)
        if self._format is not None:
            self._collect(self._resampler.resample(None))
        if self._num_pending:
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
        if self._format not in (None, described):
            # Rate or layout changed half-way: what the old resampler holds comes out first.
            self._collect(self._resampler.resample(None))
            self._resampler = self._new_resampler()
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
        self._collect(self._resampler.resample(None))
        self._resampler = self._new_resampler()
        self._push(np.zeros(round(seconds * SAMPLE_RATE), np.float32))

    def _collect(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            if frame.samples:
                self._push(frame.to_ndarray()[0])

    def _push(self, samples: Float32Array) -> None:
        self._pending.append(samples)
        self._num_pending += len(samples)

    def _take(self) -> Audio:
        samples = np.concatenate(self._pending)
        chunk = Audio(self._start_sample + self.num_samples, samples, SAMPLE_RATE)
        self.num_samples += len(samples)
        self._pending = []
        self._num_pending = 0
        return chunk

    @staticmethod
    def _new_resampler() -> av.AudioResampler:
        return av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
