"""How loud a track is as a whole, with what tells of its recording: peaks, clipping, noise."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from ops.audio_levels import decibels
from ops.chunks import Audio, Chunk, Float64Array, ShardInfo
from ops.columns import column
from ops.loudness_measures import (
    BLOCK,
    PEAK_TAPS,
    SAMPLE_RATE,
    STEP,
    TAPS,
    integrated_lufs,
    loudness_range_lu,
    true_peak,
    weigh,
)
from ops.operation import Extractor, Op, Partial, Reads
from ops.voice import clean_samples

CLIPPED = 0.998  # of full scale: rounding and resampling move a flat top by about this much


class Loudness(Op):
    """One row a track.

    It is measured on mono sound at 16 kHz, which sets limits: what lies above 8 kHz is not heard,
    so that cymbals and hiss count less; the channels are averaged, so that two
    equal ones count as one (3.0 LU below the standard's stereo sum) and two opposite ones cancel; peaks and
    clipping of one channel alone are halved. Compare tracks with each other, not with a broadcast target.
    """

    name = "loudness"
    reads = Reads.AUDIO
    default = False
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
                "gated loudness (ITU-R BS.1770-4) of the mono sound at 16 kHz, > -70; null where all is "
                "silence or shorter than 0.4 s",
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
                "largest absolute value at four points a sample, in dB of full scale, >= -120; of the mono "
                "sound at 16 kHz, so that of the original can be higher",
            ),
            column(
                "clipped_fraction",
                pa.float32(),
                "share of the samples at 0.998 of full scale or more, 0..1",
            ),
            column(
                "noise_floor_db",
                pa.float32(),
                "level that a tenth of the windows of 0.1 s stay below, as root mean square in dBFS, >= -120",
            ),
        ]
    )

    def open(self, shard: ShardInfo) -> Extractor:
        return _Meter()


class _Meter:
    """Keeps two numbers for each 0.1 s: mean squares of the plain and of the weighted sound."""

    def __init__(self) -> None:
        self.done = False
        self._start_sample = 0
        self._num_samples = 0
        self._num_clipped = 0
        self._peak = 0.0
        self._waiting = np.zeros(TAPS, np.float32)  # what the filter remembers, then what waits
        self._plain: list[Float64Array] = []
        self._weighted: list[Float64Array] = []

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Audio)
        if not self._num_samples:
            self._start_sample = chunk.start_sample
        samples = clean_samples(chunk)
        self._num_samples += len(samples)
        self._waiting = np.concatenate([self._waiting, samples])
        while len(self._waiting) >= TAPS + BLOCK:
            self._measure(BLOCK)

    def finish(self) -> Partial:
        left = len(self._waiting) - TAPS
        if left:
            self._measure(left)
        if not self._num_samples:
            return Partial(Loudness.schema.empty_table())
        plain, weighted = np.concatenate(self._plain), np.concatenate(self._weighted)
        # The standards measure whole windows only.
        whole = self._num_samples // STEP
        row = {
            "start_seconds": self._start_sample / SAMPLE_RATE,
            "end_seconds": (self._start_sample + self._num_samples) / SAMPLE_RATE,
            "integrated_lufs": _known(integrated_lufs(weighted[:whole])),
            "range_lu": _known(loudness_range_lu(weighted[:whole])),
            "true_peak_db": float(decibels(np.array([self._peak]))[0]),
            "clipped_fraction": self._num_clipped / self._num_samples,
            "noise_floor_db": float(decibels(np.sqrt(np.percentile(plain, [10])))[0]),
        }
        return Partial(pa.Table.from_pylist([row], schema=Loudness.schema))

    def _measure(self, size: int) -> None:
        samples = self._waiting[TAPS : TAPS + size]
        self._plain.append(_step_powers(samples.astype(np.float64)))
        self._weighted.append(_step_powers(weigh(self._waiting[: TAPS + size])))
        self._num_clipped += int(np.count_nonzero(np.abs(samples) >= CLIPPED))
        # Samples of the block before are seen again, for the points between both.
        self._peak = max(self._peak, true_peak(self._waiting[TAPS - PEAK_TAPS : TAPS + size]))
        self._waiting = self._waiting[size:].copy()


def _step_powers(samples: Float64Array) -> Float64Array:
    """Mean square of each 0.1 s; the last may be shorter."""
    whole = len(samples) - len(samples) % STEP
    powers = np.mean(samples[:whole].reshape(-1, STEP) ** 2, axis=1)
    rest = samples[whole:]
    return np.append(powers, np.mean(rest**2)) if len(rest) else powers


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
