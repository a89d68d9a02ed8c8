"""Loudness after ITU-R BS.1770-4 and EBU Tech 3342, for mono sound at 16 kHz."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from ops.chunks import Float32Array, Float64Array

SAMPLE_RATE = 16_000
STEP = 1_600  # samples in 100 ms, by which the windows of both standards can move
SILENT_LUFS = -70.0  # the absolute gate
# The analogue filters behind the coefficients that BS.1770 states for 48 kHz, here made for 16 kHz: a
# shelf for the head, and a high pass. These values give back those coefficients.
_SHELF = (1681.974450955533, 3.999843853973347, 0.7071752369554196)  # Hz, dB, Q
_HIGH_PASS = (38.13547087602444, 0.5003270373238773)  # Hz, Q
TAPS = 4_096  # 0.26 s of answer; what the high pass still says after that is below -400 dB
_SIZE = 32_768  # samples in one transform
BLOCK = _SIZE - TAPS - (_SIZE - TAPS) % STEP

# Four points where there was one, by a sinc under a Kaiser window of 16 samples, as BS.1770 asks of a true
# peak at 48 kHz; the fourth phase is the samples themselves.
PEAK_TAPS = 16


def weigh(samples: Float32Array) -> Float64Array:
    """Sound as loud as the ear finds it (K-weighting).

    Args:
        samples: float32 [TAPS + n], n <= BLOCK; the first TAPS were weighed before, or are zero.

    Returns:
        float64 [n], the weighted samples of the last n.
    """
    spectrum = np.fft.rfft(samples.astype(np.float64), _SIZE) * _response()
    weighted: Float64Array = np.fft.irfft(spectrum, _SIZE)[TAPS : len(samples)]
    return weighted


@cache
def _response() -> npt.NDArray[np.complex128]:
    """The K-weighting's complex spectrum, of its first TAPS samples: complex128 [_SIZE // 2 + 1]."""
    frequency, gain_db, quality = _SHELF
    k = math.tan(math.pi * frequency / SAMPLE_RATE)
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    shelf_up = np.array(
        [high + band * k / quality + k * k, 2 * (k * k - high), high - band * k / quality + k * k]
    )
    shelf_down = np.array([1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k])
    frequency, quality = _HIGH_PASS
    k = math.tan(math.pi * frequency / SAMPLE_RATE)
    pass_down = np.array([1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k])
    # As in the standard, the high pass keeps its numerator 1, -2, 1 and only its denominator is scaled.
    up = np.convolve(shelf_up / shelf_down[0], [1.0, -2.0, 1.0])
    down = np.convolve(shelf_down / shelf_down[0], pass_down / pass_down[0])
    delays = np.exp(-2j * np.pi * np.arange(_SIZE // 2 + 1) / _SIZE)
    exact = np.polyval(up[::-1], delays) / np.polyval(down[::-1], delays)
    answer = np.fft.irfft(exact, _SIZE)[:TAPS]
    return np.fft.rfft(answer, _SIZE)


def loudness_of(power: Float64Array) -> Float64Array:
    """LUFS of mean squares of weighted mono sound; silence is -inf."""
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


def true_peak(samples: Float32Array) -> float:
    """Largest absolute value of the sound at its samples and at three points between each two.

    Points within PEAK_TAPS / 2 samples of the ends are left out: there the sound around them is not known.
    """
    if not len(samples):
        return 0.0
    peak = float(np.abs(samples).max())
    if len(samples) >= PEAK_TAPS:
        for taps in _peak_filters():
            peak = max(peak, float(np.abs(np.convolve(samples, taps, "valid")).max()))
    return peak


@cache
def _peak_filters() -> tuple[Float32Array, ...]:
    window = np.arange(PEAK_TAPS) - PEAK_TAPS // 2 + 0.0
    found = []
    for phase in (0.25, 0.5, 0.75):
        distance = window + phase
        inside = np.sqrt(np.maximum(0, 1 - (distance / (PEAK_TAPS / 2)) ** 2))
        taps = np.sinc(distance) * np.i0(5.0 * inside) / np.i0(5.0)
        found.append((taps / taps.sum()).astype(np.float32))
    return tuple(found)
