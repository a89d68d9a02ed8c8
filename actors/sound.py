"""One sound track, with its gaps and its start kept: mono at the rates asked for, or as it was recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import numpy as np
import numpy.typing as npt

from ops.chunks import Audio, Float32Array, NativeAudio

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

# Long enough that the calls behind a chunk do not count, short enough to stay in cache.
CHUNK_SECONDS = 4
# Sound of many channels comes in shorter chunks: this many numbers at most.
MAX_CHUNK_NUMBERS = 1 << 20
# Times in containers are rounded to as much as a millisecond, some muxers jitter by a frame or two.
# Only a hole larger than this is a hole; it is filled with silence so that times stay true.
GAP_SECONDS = 0.1
# A hole longer than this is a broken timestamp, not a pause.
MAX_GAP_SECONDS = 4 * 3600.0


class SoundTrack:
    """Turns packets of one stream into consecutive chunks of sound, decoding each once.

    Attributes:
        num_errors: packets that could not be decoded.
        num_lost: those of them that came after the first sound; before it, a decoder may have to find its way
            into a track that was cut.

    Args:
        stream: the track.
        origin_seconds: container time at which the presentation starts.
        rates: hertz of each mono sound to make.
        native: whether to give the sound as it was recorded too.
    """

    def __init__(
        self, stream: AudioStream, origin_seconds: float, rates: Sequence[int], native: bool = False
    ) -> None:
        self.num_errors = 0
        self.num_lost = 0
        self._stream = stream
        self._origin_seconds = origin_seconds
        self._outputs: list[_Output] = [_Output(rate) for rate in rates]
        if native:
            self._outputs.append(_Output(0))
        self._format: tuple[str, int, str] | None = None
        self._next_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """Length of the sound delivered so far."""
        first = self._outputs[0]
        return first.num_samples / first.rate if first.rate else 0.0

    def feed(self, packet: av.Packet[Any]) -> Iterator[Audio | NativeAudio]:
        """Chunks that are complete after this packet."""
        try:
            frames = cast(list[av.AudioFrame], packet.decode())
        except av.error.FFmpegError:
            self.num_errors += 1
            self.num_lost += self._next_seconds is not None
            return
        for frame in frames:
            self._add(frame)
        for output in self._outputs:
            while output.is_ready:
                yield output.take()

    def finish(self) -> Iterator[Audio | NativeAudio]:
        """What is left after the last packet."""
        try:
            frames = self._stream.codec_context.decode(None)
        except av.error.FFmpegError:
            frames = []
        for frame in frames:
            self._add(frame)
        for output in self._outputs:
            output.flush()
            while output.num_pending:
                yield output.take()

    def _add(self, frame: av.AudioFrame) -> None:
        if not frame.samples:
            return
        seconds = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if self._next_seconds is None:
            self._next_seconds = seconds if seconds is not None else self._origin_seconds
            for output in self._outputs:
                output.start(frame, self._next_seconds - self._origin_seconds)
        described = (frame.format.name, frame.sample_rate, frame.layout.name)
        if self._format != described:
            for output in self._outputs:
                output.flush()  # rate or layout changed half-way: what the old one holds comes out first
        self._format = described
        if seconds is not None:
            gap = seconds - self._next_seconds
            if GAP_SECONDS < gap < MAX_GAP_SECONDS:
                for output in self._outputs:
                    output.fill(gap)
                self._next_seconds = seconds
        frame.pts = None  # the resampler must not stretch sound to follow jitter
        for output in self._outputs:
            output.add(frame)
        self._next_seconds += float(Fraction(frame.samples, frame.sample_rate))


class _Output:
    """One kind of sound made of a track.

    Attributes:
        rate: hertz; given as 0 it becomes that of the first frame, and all channels are kept. Where such a
            track changes its rate or channels half-way, what follows is mixed and the same in each channel.
        num_samples: given so far. num_pending: made and not yet given.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.num_samples = 0
        self.num_pending = 0
        self._channels: tuple[str, ...] = ()
        self._layout = ""  # of the frames that are taken as they are
        self._start_sample = 0
        self._chunk_samples = 0
        self._pending: deque[Float32Array] = deque()
        self._resampler: av.AudioResampler | None = None

    @property
    def is_ready(self) -> bool:
        return 0 < self._chunk_samples <= self.num_pending

    def start(self, frame: av.AudioFrame, seconds: float) -> None:
        """Takes note of the track's first frame, which comes `seconds` after the presentation's start."""
        if not self.rate:
            self.rate, self._layout = frame.sample_rate, frame.layout.name
            self._channels = tuple(channel.name for channel in frame.layout.channels)
        self._start_sample = max(0, round(seconds * self.rate))
        self._chunk_samples = min(CHUNK_SECONDS * self.rate, MAX_CHUNK_NUMBERS // max(1, len(self._channels)))

    def add(self, frame: av.AudioFrame) -> None:
        if frame.layout.name == self._layout and frame.sample_rate == self.rate:
            self._push(_full_scale(frame))
            return
        if self._resampler is None:
            # Without a limit, a mix to float is as loud as the sum of its channels; with it, that of full
            # channels is full, as libswresample has it for whole numbers.
            self._resampler = av.AudioResampler(
                format="fltp", layout="mono", rate=self.rate, options={"rematrix_maxval": "1"}
            )
        self._collect(self._resampler.resample(frame))

    def fill(self, seconds: float) -> None:
        self.flush()
        whole, rest = divmod(round(seconds * self.rate), self._chunk_samples)
        silence = np.zeros((max(1, len(self._channels)), self._chunk_samples), np.float32)
        for _ in range(whole):
            self._push(silence)  # the same one: hours of it take no memory
        self._push(silence[:, :rest])

    def flush(self) -> None:
        if self._resampler is not None:
            self._collect(self._resampler.resample(None))
            self._resampler = None

    def _collect(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            if frame.samples:
                samples = cast(Float32Array, frame.to_ndarray())
                self._push(np.repeat(samples, len(self._channels), axis=0) if self._channels else samples)

    def _push(self, samples: Float32Array) -> None:
        self._pending.append(samples)
        self.num_pending += samples.shape[1]

    def take(self) -> Audio | NativeAudio:
        """About one chunk of what is pending."""
        parts: list[Float32Array] = []
        length = 0
        while self._pending and length < self._chunk_samples:
            parts.append(self._pending.popleft())
            length += parts[-1].shape[1]
        samples = np.concatenate(parts, axis=1)
        start = self._start_sample + self.num_samples
        self.num_samples += length
        self.num_pending -= length
        if self._channels:
            return NativeAudio(start, samples, self.rate, self._channels)
        return Audio(start, samples[0], self.rate)


def _full_scale(frame: av.AudioFrame) -> Float32Array:
    """The samples of a frame as float32 [channels, n], where full scale is 1."""
    samples = cast(npt.NDArray[Any], frame.to_ndarray())
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "f":
        return np.ascontiguousarray(samples, np.float32)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    # Wide numbers are divided before they lose their last bits.
    exact: npt.NDArray[Any] = samples.astype(np.float32 if samples.dtype.itemsize <= 2 else np.float64)
    if samples.dtype.kind == "u":
        exact -= half
    return np.ascontiguousarray(exact / half, np.float32)
