"""Loudness after ITU-R BS.1770-4 and EBU Tech 3342, and true peaks, at any rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import Float32Array, Float64Array

SILENT_LUFS = -70.0  # the absolute gate
# The analogue filters behind the coefficients that BS.1770 states for 48 kHz, here made for any rate: a
# shelf for the head, and a high pass. These values give back those coefficients.
_SHELF = (1681.974450955533, 3.999843853973347, 0.7071752369554196)  # Hz, dB, Q
_HIGH_PASS = (38.13547087602444, 0.5003270373238773)  # Hz, Q
MEMORY_SECONDS = 0.1  # of the filters: their response to earlier sound is below -150 dB

# Four points where there was one, by a sinc under a Kaiser window of 16 samples, as BS.1770 asks of a true
# peak at 48 kHz; the fourth phase is the samples themselves.
PEAK_TAPS = 16
_STRIDE = 8  # samples that are tested together for whether a peak can lie there


class Weighting:
    """The K-weighting filters, which approximate the sensitivity of the ear, at one sample rate.

    Attributes:
        step: samples in 100 ms, by which the windows of both standards move.
        taps: samples of the filters' memory. block: gain samples weighed at once, whole steps.
    """

    def __init__(self, sample_rate: int) -> None:
        self.step = max(1, round(sample_rate / 10))
        self.taps = math.ceil(MEMORY_SECONDS * sample_rate)
        # Of a transform eight times as long as the memory only an eighth is spent on earlier samples.
        self._size = 1 << (8 * self.taps).bit_length()
        self.block = (self._size - self.taps) // self.step * self.step
        self._spectrum = _spectrum(sample_rate, self.taps, self._size)

    def weigh(self, samples: Float32Array) -> Float32Array:
        """The last n samples, weighted.

        Args:
            samples: float32 [channels, taps + n], n <= block; the first were weighed before, or are zero.

        Returns:
            float32 [channels, n].
        """
        spectrum = np.fft.rfft(samples, self._size)
        spectrum *= self._spectrum
        weighted = np.fft.irfft(spectrum, self._size)[:, self.taps : samples.shape[1]]
        return weighted.astype(np.float32, copy=False)


def _spectrum(sample_rate: int, taps: int, size: int) -> npt.NDArray[np.complex64]:
    """The K-weighting's complex spectrum, of its first `taps` samples: complex64 [size // 2 + 1]."""
    frequency, gain_db, quality = _SHELF
    k = math.tan(math.pi * min(frequency / sample_rate, 0.49))
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    shelf_up = np.array(
        [high + band * k / quality + k * k, 2 * (k * k - high), high - band * k / quality + k * k]
    )
    shelf_down = np.array([1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k])
    frequency, quality = _HIGH_PASS
    k = math.tan(math.pi * min(frequency / sample_rate, 0.49))
    pass_down = np.array([1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k])
    # As in the standard, the high pass keeps its numerator 1, -2, 1 and only its denominator is scaled.
    up = np.convolve(shelf_up / shelf_down[0], [1.0, -2.0, 1.0])
    down = np.convolve(shelf_down / shelf_down[0], pass_down / pass_down[0])
    delays = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    exact = np.polyval(up[::-1], delays) / np.polyval(down[::-1], delays)
    response = np.fft.irfft(exact, size)[:taps]
    return np.fft.rfft(response, size).astype(np.complex64)


def channel_weights(channels: Sequence[str]) -> Float64Array:
    """How much each channel counts (BS.1770-4, tables 3 and 4): float64 [channels].

    Channels 60 to 120 degrees from the front count 1.41, the low frequency ones nothing, all others 1. In
    layouts without side channels the back ones are the surrounds of 110 degrees.
    """
    surrounds = {"SL", "SR"} if {"SL", "SR"} & set(channels) else {"BL", "BR"}
    weights = [0.0 if name.startswith("LFE") else 1.41 if name in surrounds else 1.0 for name in channels]
    return np.array(weights)


def loudness_of(power: Float64Array) -> Float64Array:
    """LUFS of mean squares of weighted sound, summed over channels; silence is -inf."""
    with np.errstate(divide="ignore"):
        lufs: Float64Array = -0.691 + 10 * np.log10(power)
    return lufs


def integrated_lufs(step_powers: Float64Array) -> float:
    """Gated loudness of a whole track from the mean squares of its steps of 100 ms; nan if all is silent.

    Windows of 400 ms, 75% overlapping, gated at -70 LUFS and then at 10 LU below the mean of the others.
    """
    powers = _windows(step_powers, 4)
    powers = powers[loudness_of(powers) > SILENT_LUFS]
    if not len(powers):
        return math.nan
    gate = float(loudness_of(powers.mean(keepdims=True))[0]) - 10
    powers = powers[loudness_of(powers) > gate]
    return float(loudness_of(powers.mean(keepdims=True))[0])


def loudness_range_lu(step_powers: Float64Array) -> float:
    """How far quiet and loud passages lie apart (EBU Tech 3342), in LU; nan where all is silent or < 3 s.

    The 10th to the 95th percentile of windows of 3 s, gated at -70 LUFS and 20 LU below their mean.
    """
    powers = _windows(step_powers, 30)
    powers = powers[loudness_of(powers) > SILENT_LUFS]
    if not len(powers):
        return math.nan
    gate = float(loudness_of(powers.mean(keepdims=True))[0]) - 20
    levels = loudness_of(powers)
    low, high = np.percentile(levels[levels > gate], [10, 95])
    return float(high - low)


def _windows(step_powers: Float64Array, num_steps: int) -> Float64Array:
    if len(step_powers) < num_steps:
        return np.zeros(0)
    sums = np.cumsum(np.append(0.0, step_powers))
    # Differences of sums miss silence by a rounding.
    means: Float64Array = np.maximum(sums[num_steps:] - sums[:-num_steps], 0) / num_steps
    return means


def true_peak(samples: Float32Array, known: float = 0.0) -> float:
    """Largest absolute value of the sound at its samples and at three points between each two.

    Points within PEAK_TAPS / 2 samples of the ends are left out: there the sound around them is not known.

    Args:
        samples: float32 [n].
        known: a peak that is known already: lower ones are ignored.
    """
    if not len(samples):
        return known
    sizes = np.abs(samples)
    peak = max(known, float(sizes.max()))
    if len(samples) < PEAK_TAPS:
        return peak
    # An interpolated value is at gain the largest sample around it times the filter's gain: where that does
    # not exceed the peak, nothing needs to be interpolated.
    filters, gain = _peak_filters()
    num_windows = len(samples) - PEAK_TAPS + 1
    runs = np.maximum.reduceat(sizes, np.arange(0, len(sizes), _STRIDE))
    reach = _STRIDE + PEAK_TAPS - 1
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(runs, (0, -(-reach // _STRIDE) - 1)), -(-reach // _STRIDE)
    ).max(axis=1)
    places = np.flatnonzero(around * gain > peak)[:, None] * _STRIDE + np.arange(_STRIDE)
    starts = places[places < num_windows]
    windows = np.lib.stride_tricks.sliding_window_view(samples, PEAK_TAPS)
    for first in range(0, len(starts), 1 << 14):
        chosen = windows[starts[first : first + (1 << 14)]]
        for taps in filters:
            # einsum stays on this thread; a matrix product would start others that compete with the models.
            peak = max(peak, float(np.abs(np.einsum("ij,j->i", chosen, taps)).max()))
    return peak


@cache
def _peak_filters() -> tuple[tuple[Float32Array, ...], float]:
    """The interpolation filters, and their largest gain."""
    window = np.arange(PEAK_TAPS) - PEAK_TAPS // 2 + 0.0
    found = []
    for phase in (0.25, 0.5, 0.75):
        distance = window + phase
        inside = np.sqrt(np.maximum(0, 1 - (distance / (PEAK_TAPS / 2)) ** 2))
        taps = np.sinc(distance) * np.i0(5.0 * inside) / np.i0(5.0)
        # Reversed: the order above is that of a convolution.
        found.append((taps / taps.sum()).astype(np.float32)[::-1].copy())
    return tuple(found), max(float(np.abs(taps).sum()) for taps in found)
