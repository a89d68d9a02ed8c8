"""Loudness of a whole track, and measures of its recording: true peak, clipping, noise floor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.ops.audio.audio_levels import decibels
from framemill.ops.audio.loudness_measures import (
    PEAK_TAPS,
    Weighting,
    channel_weights,
    integrated_lufs,
    loudness_range_lu,
    true_peak,
)
from framemill.ops.audio.vad import LIMIT
from framemill.ops.chunks import Chunk, Float32Array, Float64Array, NativeAudio, ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, Op, Partial, Reads

CLIPPED = 0.998  # of full scale: rounding and resampling move a flat top by about this much


class Loudness(Op):
    """One row a track, measured as it was recorded: at its own rate, with all its channels."""

    name = "loudness"
    version = 2
    reads = Reads.AUDIO
    schema = pa.schema(
        [
            column(
                "start_seconds", pa.float64(), "start of the track, in seconds since the presentation's start"
            ),
            column(
                "end_seconds", pa.float64(), "its end, exclusive, in seconds since the presentation's start"
            ),
            column(
                "integrated_lufs",
                pa.float32(),
                "gated loudness (ITU-R BS.1770-4) of all channels, > -70; null where all is silence or "
                "shorter than 0.4 s",
                nullable=True,
            ),
            column(
                "range_lu",
                pa.float32(),
                "loudness range (EBU Tech 3342) in LU, >= 0; null where all is silence or shorter than 3 s",
                nullable=True,
            ),
            column(
                "true_peak_db",
                pa.float32(),
                "largest absolute value of any channel at four points a sample, in dB of full scale, >= -120",
            ),
            column(
                "clipped_fraction",
                pa.float32(),
                "share of the samples of all channels at 0.998 of full scale or more, 0..1",
            ),
            column(
                "noise_floor_db",
                pa.float32(),
                "level that a tenth of the windows of 0.1 s stay below, as root mean square over all "
                "channels in dBFS, >= -120",
            ),
        ]
    )

    @classmethod
    def takes_under(cls, options: Any) -> tuple[type[Chunk], ...]:
        return (NativeAudio,)

    def open(self, shard: ShardInfo) -> Extractor:
        return _Meter()


class _Meter:
    """Keeps two numbers for each 0.1 s: mean squares of the plain and of the weighted sound."""

    def __init__(self) -> None:
        self.done = False
        self._first: NativeAudio | None = None
        self._num_samples = 0
        self._num_clipped = 0
        self._peak = 0.0
        self._waiting = np.zeros((0, 0), np.float32)  # the filters' memory, then samples not measured yet
        self._plain: list[Float64Array] = []
        self._weighted: list[Float64Array] = []

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, NativeAudio)
        if self._first is None:
            self._first = chunk
            self._weighting = Weighting(chunk.sample_rate)
            self._weights = channel_weights(chunk.channels)
            self._waiting = np.zeros((len(chunk.channels), self._weighting.taps), np.float32)
        # Damaged float tracks can hold NaN, infinity and meaningless numbers.
        samples = np.where(np.abs(chunk.samples) < LIMIT, chunk.samples, np.float32(0))
        self._num_samples += samples.shape[1]
        self._waiting = np.concatenate([self._waiting, samples], axis=1)
        while self._waiting.shape[1] >= self._weighting.taps + self._weighting.block:
            self._measure(self._weighting.block)

    def finish(self) -> Partial:
        if self._first is None:
            return Partial(Loudness.schema.empty_table())
        left = self._waiting.shape[1] - self._weighting.taps
        if left:
            self._measure(left)
        plain, weighted = np.concatenate(self._plain), np.concatenate(self._weighted)
        # The standards measure whole windows only.
        whole = self._num_samples // self._weighting.step
        start, rate = self._first.start_sample, self._first.sample_rate
        row = {
            "start_seconds": start / rate,
            "end_seconds": (start + self._num_samples) / rate,
            "integrated_lufs": _none_for_nan(integrated_lufs(weighted[:whole])),
            "range_lu": _none_for_nan(loudness_range_lu(weighted[:whole])),
            "true_peak_db": float(decibels(np.array([self._peak]))[0]),
            "clipped_fraction": self._num_clipped / (self._num_samples * len(self._waiting)),
            "noise_floor_db": float(decibels(np.sqrt(np.percentile(plain, [10])))[0]),
        }
        return Partial(pa.Table.from_pylist([row], schema=Loudness.schema))

    def _measure(self, size: int) -> None:
        taps = self._weighting.taps
        samples = self._waiting[:, taps : taps + size]
        self._plain.append(self._step_powers(samples).mean(axis=0))
        weighted = self._weighting.weigh(self._waiting[:, : taps + size])
        self._weighted.append((self._weights[:, None] * self._step_powers(weighted)).sum(axis=0))
        self._num_clipped += int(np.count_nonzero(np.abs(samples) >= CLIPPED))
        # The last samples of the block before are included, for the points between the blocks.
        for channel in self._waiting[:, max(0, taps - PEAK_TAPS) : taps + size]:
            self._peak = true_peak(channel, self._peak)
        self._waiting = self._waiting[:, size:].copy()

    def _step_powers(self, samples: Float32Array) -> Float64Array:
        """Mean square of each 0.1 s; the last may be shorter: float64 [channels, steps]."""
        squares = np.square(samples, dtype=np.float32)
        starts = np.arange(0, samples.shape[1], self._weighting.step)
        lengths = np.diff(np.append(starts, samples.shape[1]))
        return np.add.reduceat(squares, starts, axis=1, dtype=np.float64) / lengths


def _none_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
