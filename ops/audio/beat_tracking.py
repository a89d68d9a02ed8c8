"""Onsets, tempo and beats of mono sound.

The method is Ellis, "Beat tracking by dynamic programming" (Journal of New Music Research 36, 2007): spectral
flux on a mel scale, a tempo by autocorrelation under a log-normal prior, and the beat times that best join
strong onsets with a steady pace.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from framemill.ops.chunks import Float32Array, Float64Array, Int64Array

SAMPLE_RATE = 16_000
HOP = 256  # 16 ms; beats are placed between frames
FRAME = 512  # 32 ms
FRAMES_PER_SECOND = SAMPLE_RATE / HOP
# Frames in one transform: 8 s. Counted from the track's start, so that reads of any size give equal rows.
BLOCK = 500
NUM_BANDS = 40
FLOOR_POWER = 1e-10  # -100 dB: what is below is silence

# Onsets are placed to whole frames, and few periods are whole frames: smoothing lets them still coincide.
_SMOOTHING = np.array([0.06, 0.24, 0.4, 0.24, 0.06])
TEMPO_CENTRE_BPM = 120.0
TEMPO_SPREAD_OCTAVES = 0.9
MIN_BPM, MAX_BPM = 40.0, 240.0
MAX_HALVED_BPM = 215.0  # a pace is not doubled beyond this
_LONGEST_LAG = math.ceil(60 / MIN_BPM * FRAMES_PER_SECOND)
# Of the onsets' mean square of 1. Steady clicks repeat with 0.2, music with 0.04 to 0.14 (measured).
LEAST_REPETITION = 0.005
TIGHTNESS = 680.0  # weight of a steady pace against strong onsets


def band_levels(samples: Float32Array) -> Float32Array:
    """Spectrum of whole frames in bands that are evenly spaced in mel up to 8 kHz.

    The bands are rectangles: sums over ranges of the spectrum need no matrix product, whose threads would
    compete with those of the models (measured: ten times the time of the sums on two busy cores).

    Args:
        samples: float32 [FRAME + (n - 1) * HOP].

    Returns:
        float32 [n, bands], mean power in each band in dB, >= -100.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    # Real and imaginary parts lie side by side: summed squares of both are the power.
    parts = np.fft.rfft(frames * _window()).view(np.float32)[:, :FRAME]
    edges = _band_edges()
    power = np.add.reduceat(parts * parts, 2 * edges[:-1], axis=1) / np.diff(edges).astype(np.float32)
    levels: Float32Array = 10 * np.log10(np.maximum(power, np.float32(FLOOR_POWER)))
    return levels


def flux(levels: Float32Array) -> Float32Array:
    """Mean rise of all bands from one frame to the next, dB, >= 0: float32 [n - 1] of [n, bands]."""
    rises = np.diff(levels, axis=0)
    means: Float32Array = np.maximum(rises, 0, out=rises).mean(axis=1)
    return means


@cache
def _window() -> Float32Array:
    window: Float32Array = (np.hanning(FRAME) * (2 / FRAME)).astype(np.float32)
    return window


@cache
def _band_edges() -> Int64Array:
    """First bin of each band, and the end of the last; the constant component belongs to none."""
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, NUM_BANDS + 1) / 2595) - 1)
    bins = np.round(corners * FRAME / SAMPLE_RATE).astype(np.int64)
    return np.unique(np.clip(bins, 1, FRAME // 2))


def sharpen(envelope: Float32Array) -> Float64Array:
    """Onset strength of mean square 1: flux above its mean over a second. Zeros where nothing happens."""
    exact = envelope.astype(np.float64)
    width = round(FRAMES_PER_SECOND)
    sums = np.cumsum(np.pad(exact, (width // 2 + 1, width // 2)))
    counts = np.cumsum(np.pad(np.ones(len(exact)), (width // 2 + 1, width // 2)))
    span = 2 * (width // 2)
    local = (sums[span:] - sums[: len(sums) - span]) / np.maximum(counts[span:] - counts[:-span], 1)
    strength = np.maximum(exact - local[: len(exact)], 0)
    norm = math.sqrt(float(np.mean(strength**2))) if len(strength) else 0.0
    return strength / norm if norm > 1e-3 else np.zeros_like(strength)


def estimate_period(strength: Float64Array) -> float:
    """The beat's period in frames, or 0.0 where nothing repeats.

    The prior limits octave errors: of a tempo, its half and its double, the one nearest to 120 bpm is taken
    unless the autocorrelation clearly favours another. Half of the autocorrelation at twice a lag is added
    to that at the lag, as in the paper.
    """
    if len(strength) < 2 * FRAMES_PER_SECOND or not strength.any():
        return 0.0
    repeats = np.append(0.0, _autocorrelation(strength, 4 * _LONGEST_LAG))
    lags = np.arange(math.floor(60 / MAX_BPM * FRAMES_PER_SECOND), _LONGEST_LAG + 1)
    octaves = np.log2(lags / (60 / TEMPO_CENTRE_BPM * FRAMES_PER_SECOND))
    prior = np.exp(-0.5 * (octaves / TEMPO_SPREAD_OCTAVES) ** 2)
    doubled = np.maximum(np.maximum(repeats[2 * lags - 1], repeats[2 * lags]), repeats[2 * lags + 1])
    scores = prior * (repeats[lags] + 0.5 * doubled)
    best = int(lags[scores.argmax()])
    if repeats[lags].max() < LEAST_REPETITION:
        return 0.0
    half = round(best / 2)
    # Where half the period repeats as well, no accent marks every second beat: the tempo is twice as fast.
    while half >= 60 / MAX_HALVED_BPM * FRAMES_PER_SECOND and repeats[half] > 0.9 * repeats[best]:
        best, half = half, round(half / 2)
    period = _peak_near(repeats, best)
    for multiple in (2, 4):
        # Over several periods the period is known more finely than the frame rate resolves.
        near = round(multiple * period)
        if repeats[near] > 0.7 * repeats[best]:
            period = _peak_near(repeats, near) / multiple
    return period


def _autocorrelation(strength: Float64Array, num_lags: int) -> Float64Array:
    """Mean product with itself at lags 1..num_lags, as float64 [num_lags], at least 0."""
    centred = np.convolve(strength - strength.mean(), _SMOOTHING, "same")
    size = 1 << (len(centred) + num_lags - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    products: Float64Array = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[1 : num_lags + 1]
    return np.maximum(products / len(centred), 0)


def _peak_near(values: Float64Array, position: int) -> float:
    """The maximum within two of `position`, placed between the samples by a parabola."""
    left = max(1, position - 2)
    at = left + int(values[left : position + 3].argmax())
    if not 1 <= at < len(values) - 1:
        return float(position)
    before, middle, after = values[at - 1 : at + 2]
    curve = before - 2 * middle + after
    return at + float(np.clip(0.5 * (before - after) / curve, -0.5, 0.5)) if curve < 0 else float(at)


def track_beats(strength: Float64Array, period: float) -> Int64Array:
    """Frames of the beats, by the chain of frames that collects most strength at a steady pace.

    Each frame's best predecessor is half to two periods before it, so that the frames of half a period do not
    depend on each other and are computed at once.
    """
    num_frames = len(strength)
    step = max(1, int(period / 2))
    reach = max(step + 1, round(2 * period))
    distances = np.arange(reach, step - 1, -1)
    penalty = -TIGHTNESS * np.log(distances / period) ** 2
    # A beat is as wide as its onset is: smoothed as far as the period allows (a 32nd of it).
    width = max(1.0, period / 32)
    kernel = np.exp(-0.5 * (np.arange(-round(3 * width), round(3 * width) + 1) / width) ** 2)
    local = np.convolve(strength, kernel, "same")
    totals = np.zeros(reach + num_frames)
    origin = np.full(num_frames, -1, np.int64)
    for start in range(0, num_frames, step):
        size = min(step, num_frames - start)
        # Row i holds the frames from `reach` to `step` before frame start + i.
        before = np.lib.stride_tricks.sliding_window_view(
            totals[start : start + size + reach - step], len(distances)
        )[:size]
        scores = before + penalty
        choice = scores.argmax(axis=1)
        best = scores[np.arange(size), choice]
        frames = np.arange(start, start + size)
        came_from = frames - distances[choice]
        chained = (best > 0) & (came_from >= 0)
        origin[frames[chained]] = came_from[chained]
        totals[reach + frames] = local[frames] + np.where(chained, best, 0)
    if not num_frames or totals.max() <= 0:
        return np.zeros(0, np.int64)
    chain = [int(totals[reach:].argmax())]
    while origin[chain[-1]] >= 0:
        chain.append(int(origin[chain[-1]]))
    beats = np.array(chain[::-1], np.int64)
    # Before the first and after the last onset the chain continues through silence.
    loud = np.flatnonzero(local[beats] > 0.2 * np.median(local[beats]))
    return beats[loud[0] : loud[-1] + 1] if len(loud) else beats[:0]
