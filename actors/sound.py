"""One sound track, with its gaps and its start kept: mono at the rates asked for, or as it was recorded."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import numpy as np
import numpy.typing as npt

from framemill.actors.downmix import Downmix, without_offset
from framemill.actors.sound_tags import is_header, tag_bytes
from framemill.ops.chunks import Audio, Float32Array, NativeAudio

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

# Long enough that the calls behind a chunk do not count, short enough to stay in cache.
CHUNK_SECONDS = 4
# Sound of many channels comes in shorter chunks: this many numbers at most.
MAX_CHUNK_NUMBERS = 1 << 20
# Times in containers are rounded to as much as a millisecond, and some muxers jitter by a frame or two. Holes
# last, jitter does not: a frame is late by what the least late of so many after it, or so many seconds, is.
WITNESSES = 64
WITNESS_SECONDS = 2.0
# Once more than this is missing, all small holes together, it is filled with silence. Less than the frames of
# common codecs (Opus and AMR: 20 ms), so that one that is lost leaves a hole.
LATE_SECONDS = 0.015
# Where fewer frames than this are left to ask, at the end or where they are long, more must be missing: the
# fewer they are the more.
FEW_WITNESSES = 8
# A hole longer than this is a broken timestamp, not a pause.
MAX_GAP_SECONDS = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A frame that waits for those after it.

    Attributes:
        heard_seconds: length of the frames before it.
        late_seconds: how much later its timestamp is than that; infinite where it has none.
    """

    frame: av.AudioFrame
    heard_seconds: float
    late_seconds: float


class SoundTrack:
    """Turns packets of one stream into consecutive chunks of sound, decoding each once.

    Sound is never cut: where timestamps make it overlap itself, what follows comes later than they state.

    Attributes:
        num_errors: packets that could not be decoded.
        num_lost: those of them that came after the first sound; before it, a decoder may have to find its way
            into a track that was cut.

    Args:
        stream: the track.
        origin_seconds: container time at which the presentation starts.
        rates: hertz of each mono sound to make.
        native: whether to give the sound as it was recorded too.
        has_times: whether the container states times; those that FFmpeg makes up tell of no hole.
    """

    def __init__(
        self,
        stream: AudioStream,
        origin_seconds: float,
        rates: Sequence[int],
        native: bool = False,
        has_times: bool = True,
    ) -> None:
        self._has_times = has_times
        self.num_errors = 0
        self.num_lost = 0
        self._stream = stream
        self._origin_seconds = origin_seconds
        self._outputs: list[_Output] = [_Output(rate) for rate in rates]
        if native:
            self._outputs.append(_Output(0))
        self._format: tuple[str, int, str] | None = None
        self._first_seconds: float | None = None
        self._first_format = (0, 0)
        self._heard_seconds = 0.0
        self._filled_seconds = 0.0
        self._waiting: deque[_Waiting] = deque()

    @property
    def seconds(self) -> float:
        """Length of the sound delivered so far."""
        first = self._outputs[0]
        return first.num_samples / first.rate if first.rate else 0.0

    @property
    def end_seconds(self) -> float | None:
        """Where the sound delivered so far ends, from the presentation's start; None where there is none."""
        first = self._outputs[0]
        return first.end_seconds if first.num_samples else None

    @property
    def described(self) -> tuple[int, int]:
        """Sample rate in hertz and number of channels of the first sound decoded; zeros without."""
        return self._first_format

    def feed(self, packet: av.Packet[Any]) -> Iterator[Audio | NativeAudio]:
        """Chunks that are complete after this packet."""
        try:
            frames = cast(list[av.AudioFrame], packet.decode())
        except av.error.FFmpegError:
            found = self._decode_behind_tag(packet)
            if found is None:
                self.num_errors += 1
                self.num_lost += self._first_seconds is not None
                return
            frames = found
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
        while self._waiting:
            self._pass_on()
        for output in self._outputs:
            output.flush()
            while output.num_pending:
                yield output.take()

    def _decode_behind_tag(self, packet: av.Packet[Any]) -> list[av.AudioFrame] | None:
        """The sound behind the tag of a file that was joined here; None where there is no tag, or damage."""
        data = bytes(packet)
        length = tag_bytes(data)
        if not length:
            return None
        if length >= len(data) or is_header(data[length:]):
            return []
        try:
            return self._stream.codec_context.decode(av.Packet(data[length:]))
        except av.error.FFmpegError:
            return None

    def _add(self, frame: av.AudioFrame) -> None:
        if not frame.samples:
            return
        seconds = frame.time if self._has_times or self._first_seconds is None else None
        if self._first_seconds is None:
            self._first_seconds = seconds if seconds is not None else self._origin_seconds
            self._first_format = (frame.sample_rate, frame.layout.nb_channels)
            for output in self._outputs:
                output.start(frame, self._first_seconds - self._origin_seconds)
        late = math.inf if seconds is None else seconds - self._first_seconds - self._heard_seconds
        self._waiting.append(_Waiting(frame, self._heard_seconds, late))
        self._heard_seconds += frame.samples / frame.sample_rate
        while self._waiting and (
            len(self._waiting) > WITNESSES
            or self._heard_seconds - self._waiting[0].heard_seconds > WITNESS_SECONDS
        ):
            self._pass_on()

    def _pass_on(self) -> None:
        """Gives the frame that waited longest to the outputs, after the silence that is missing before it."""
        limit = LATE_SECONDS * max(1.0, FEW_WITNESSES / len(self._waiting))
        waiting = self._waiting.popleft()
        frame, late = waiting.frame, waiting.late_seconds - self._filled_seconds
        if late > limit:
            late = min([late, *(other.late_seconds - self._filled_seconds for other in self._waiting)])
        described = (frame.format.name, frame.sample_rate, frame.layout.name)
        if self._format != described:
            for output in self._outputs:
                output.flush()  # rate or layout changed half-way: what the old one holds comes out first
        self._format = described
        if limit < late < MAX_GAP_SECONDS:
            self._filled_seconds += late
            for output in self._outputs:
                output.fill(waiting.heard_seconds + self._filled_seconds)
        frame.pts = None  # the resampler must not stretch sound to follow jitter
        for output in self._outputs:
            output.add(frame)


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
        self._downmix = Downmix()

    @property
    def end_seconds(self) -> float:
        return (self._start_sample + self.num_samples) / self.rate

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
        self._collect(self._resampler.resample(self._downmix.prepare(frame)))

    def fill(self, seconds: float) -> None:
        """Adds silence until the sound is this long."""
        self.flush()
        # Counted from the start, so that what is rounded in each hole does not add up.
        missing = max(0, round(seconds * self.rate) - self.num_samples - self.num_pending)
        whole, rest = divmod(missing, self._chunk_samples)
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
        return Audio(start, without_offset(samples[0]), self.rate, self._downmix.take_note())


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
