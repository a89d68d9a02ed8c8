"""The sound of a clip as AAC, from the first picture to the end of the last."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np

from framemill.ops.chunks import Float32Array, NativeAudio

if TYPE_CHECKING:
    from av.container import OutputContainer

FRAME = 1024  # samples in one frame of AAC
BIT_RATE = 96_000  # a channel
# At these a frame is so short that rounding a clip's length to whole frames moves its end by 16 ms at most.
_KEPT_RATES = (32_000, 44_100, 48_000)
_RATE = 48_000


class EncodedSound:
    """The sound track of a clip; stretches of which the source has no sound are silent.

    Its end is rounded to whole frames: decoders give those whole, whatever the container says.

    Args:
        out: the clip.
        start_seconds, end_seconds: of the clip, on the timeline of the source.
        rate, num_channels: of the source's sound.
    """

    def __init__(
        self, out: OutputContainer, start_seconds: float, end_seconds: float, rate: int, num_channels: int
    ) -> None:
        self._out = out
        self._rate = rate if rate in _KEPT_RATES else _RATE
        self._layout = "mono" if num_channels == 1 else "stereo"
        track = cast(Any, out.add_stream("aac", rate=self._rate, layout=self._layout))
        track.bit_rate = BIT_RATE * (1 if num_channels == 1 else 2)
        self._track = track
        self._total = max(1, round((end_seconds - start_seconds) * self._rate / FRAME)) * FRAME
        self._written = 0
        self._held: Float32Array = np.zeros((1 if num_channels == 1 else 2, 0), np.float32)
        self._start_seconds = start_seconds
        self._next: int | None = None  # the sample of the source that comes next
        self._resampler: Any = None

    def add(self, chunk: NativeAudio) -> None:
        """Takes what lies in the clip of consecutive sound."""
        start = round(self._start_seconds * chunk.sample_rate)
        if self._next is None:
            self._next = start
        begin = max(self._next, chunk.start_sample)
        samples = chunk.samples[:, max(0, begin - chunk.start_sample) :]
        if not samples.shape[1] or self._written >= self._total:
            return
        if begin > self._next:
            silence = np.zeros((chunk.samples.shape[0], begin - self._next), np.float32)
            samples = np.concatenate([silence, samples], axis=1)
        # What follows the clip is of no use, and hours may follow.
        room = round((self._total + FRAME) * chunk.sample_rate / self._rate) - (self._next - start)
        samples = samples[:, : max(0, room)]
        if not samples.shape[1]:
            return
        self._next += samples.shape[1]
        self._push(samples, chunk)

    def finish(self) -> None:
        """Fills up with silence what the source has no sound for."""
        if self._resampler is not None:
            self._collect(self._resampler.resample(None))
        missing = self._total - self._written - self._held.shape[1]
        if missing > 0:
            silence = np.zeros((self._held.shape[0], missing), np.float32)
            self._held = np.concatenate([self._held, silence], axis=1)
        self._write()
        self._out.mux(self._track.encode(None))

    def _push(self, samples: Float32Array, chunk: NativeAudio) -> None:
        if self._resampler is None:
            self._resampler = av.AudioResampler(
                format="fltp", layout=self._layout, rate=self._rate, options={"rematrix_maxval": "1"}
            )
        layout = "+".join(chunk.channels)
        if "NONE" in chunk.channels:  # without places, the first two are taken for left and right
            samples = samples[:2]
            layout = "mono" if len(samples) == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = chunk.sample_rate, Fraction(1, chunk.sample_rate)
        self._collect(self._resampler.resample(frame))
        self._write()

    def _collect(self, frames: list[av.AudioFrame]) -> None:
        parts = [cast(Float32Array, frame.to_ndarray()) for frame in frames if frame.samples]
        self._held = np.concatenate([self._held, *parts], axis=1)

    def _write(self) -> None:
        for samples in self._whole_frames():
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
            frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
            frame.pts = self._written
            self._written += FRAME
            self._out.mux(self._track.encode(frame))

    def _whole_frames(self) -> Iterator[Float32Array]:
        count = min(self._held.shape[1], self._total - self._written) // FRAME
        for number in range(count):
            samples = self._held[:, number * FRAME : (number + 1) * FRAME]
            # Damaged sound holds what no encoder takes.
            yield np.ascontiguousarray(np.clip(np.nan_to_num(samples, posinf=0.0, neginf=0.0), -1, 1))
        self._held = self._held[:, count * FRAME :]
