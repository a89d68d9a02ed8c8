"""How loud the sound is, ten times a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from framemill.ops.chunks import Audio, Chunk, Float32Array, Float64Array, ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, Op, Partial, Reads

WINDOWS_PER_SECOND = 10
MAX_SAMPLE = 1e15  # squares of more would not fit float32; no sound is 300 dB over full scale
FLOOR_DB = -120.0


def decibels(amplitude: Float64Array) -> Float64Array:
    """dBFS of amplitudes where 1.0 is full scale; silence is -120."""
    return 20 * np.log10(np.maximum(amplitude, 10 ** (FLOOR_DB / 20)))


class AudioLevels(Op):
    """One row per tenth of a second, counted from the track's first sample; the last may be shorter.

    A constant offset is no sound: each window is measured less its mean, which is a high pass of about 10 Hz
    that remembers nothing, so that silence after a sound is silence at once. A last window that is shorter
    is measured less the mean of the one before.
    """

    name = "audio_levels"
    version = 2
    reads = Reads.AUDIO
    schema = pa.schema(
        [
            column(
                "start_seconds",
                pa.float64(),
                "start of the window of 0.1 s, in seconds since the start of the presentation",
            ),
            column(
                "rms_db",
                pa.float32(),
                "root mean square of the mono sound without a constant offset, in dBFS, >= -120 (a "
                "full-scale sine has -3.0)",
            ),
            column(
                "peak_db",
                pa.float32(),
                "largest absolute sample of the mono sound without a constant offset, in dBFS, >= -120 (full "
                "scale is 0)",
            ),
            column(
                "channel",
                pa.string(),
                "the channel that was heard, such as FL, where the mix of all would have been silent; null "
                "for the mix",
                nullable=True,
            ),
        ]
    )

    def open(self, shard: ShardInfo) -> Extractor:
        return _Levels()


@dataclass(slots=True)
class _Levels:
    start_sample: int = -1
    sample_rate: int = 0
    window: int = 0
    # Samples that are measured at once, and how many of them are left for the next chunk. Memory allocated
    # for each chunk would cost as much time as the computation.
    buffer: Float32Array = field(default_factory=lambda: np.empty(0, np.float32))
    num_waiting: int = 0
    offset: float = 0.0  # mean of the last window
    energy: list[Float32Array] = field(default_factory=list)
    peak: list[Float32Array] = field(default_factory=list)
    channels: list[str | None] = field(default_factory=list)
    channel: str | None = None  # of the last chunk
    done: bool = False

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Audio)
        if self.start_sample < 0:
            self.start_sample, self.sample_rate = chunk.start_sample, chunk.sample_rate
            self.window = chunk.sample_rate // WINDOWS_PER_SECOND
        count = self.num_waiting + len(chunk.samples)
        if count > len(self.buffer):
            waiting = self.buffer[: self.num_waiting]
            self.buffer = np.empty(count + count // 4, np.float32)  # chunks differ a little in length
            self.buffer[: self.num_waiting] = waiting
        self.buffer[self.num_waiting : count] = chunk.samples
        whole = count - count % self.window
        self.channel = chunk.channel or None
        self._measure(self.buffer[:whole].reshape(-1, self.window))
        self.num_waiting = count - whole
        self.buffer[: self.num_waiting] = self.buffer[whole:count]

    def finish(self) -> Partial:
        if self.num_waiting:
            self._measure(self.buffer[None, : self.num_waiting], is_last=True)
        energy = np.concatenate([*self.energy, np.empty(0)])
        lengths = np.full(len(energy), max(self.window, 1))
        if self.num_waiting:
            lengths[-1] = self.num_waiting
        starts = self.start_sample + self.window * np.arange(len(energy), dtype=np.int64)
        rows = pa.table(
            {
                "start_seconds": starts / max(self.sample_rate, 1),
                "rms_db": decibels(np.sqrt(energy / lengths)),
                "peak_db": decibels(np.concatenate([*self.peak, np.empty(0)])),
                "channel": self.channels,
            },
            schema=AudioLevels.schema,
        )
        return Partial(rows)

    def _measure(self, windows: Float32Array, is_last: bool = False) -> None:
        """Appends peak and energy of windows, float32 [windows, samples], each less its mean."""
        if not len(windows):
            return
        # Damaged float tracks can hold NaN and infinity; they carry no level.
        if not (windows.max() < MAX_SAMPLE and windows.min() > -MAX_SAMPLE):
            windows = np.where(np.abs(windows) < MAX_SAMPLE, windows, np.float32(0))
        # A dot product for each window: sum and einsum add in an order that depends on where the array lies.
        share = np.full(windows.shape[1], 1 / windows.shape[1], np.float32)
        means = np.vecdot(windows, share)[:, None]
        if is_last and self.energy:
            means[:] = self.offset
        self.offset = means[-1, 0]
        windows = windows - means
        self.peak.append(np.maximum(windows.max(axis=1), -windows.min(axis=1)))
        self.energy.append(np.vecdot(windows, windows))
        self.channels += [self.channel] * len(windows)
