"""Log-mel features as Kaldi makes them, which speaker models are trained on."""

from __future__ import annotations

import math
from functools import cache
from typing import Literal

import numpy as np

from framemill.ops.chunks import Float32Array, Float64Array

SAMPLE_RATE = 16_000
FRAME, HOP, SIZE = 400, 160, 512  # 25 ms every 10 ms
NUM_BANDS = 80
LOWEST_HZ = 20.0
_PRE_EMPHASIS = 0.97


def centred_filterbank(
    samples: Float32Array, *, scale: float = 32768, window: Literal["hamming", "povey"] = "hamming"
) -> Float32Array:
    """Features of whole frames, less each band's mean over time.

    Kaldi's defaults without dither: each frame less its mean, pre-emphasis 0.97, power spectrum.

    Args:
        samples: float32 [FRAME + (n - 1) * HOP], nominally -1..1.
        scale: of the sound: as 16-bit numbers, as the models of WeSpeaker expect it, or 1, as those of
            3D-Speaker do. It shows where sound is so quiet that energies reach the least that is told.
        window: WeSpeaker's, or Kaldi's own.

    Returns:
        float32 [n, NUM_BANDS], natural logarithms.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP] * np.float32(scale)
    frames = frames - frames.mean(axis=1, keepdims=True)
    # Kaldi takes the first sample as its own predecessor.
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = np.fft.rfft((frames - np.float32(_PRE_EMPHASIS) * before) * _window(window), SIZE)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    levels = np.log(np.maximum(power[:, : SIZE // 2] @ _bands(), np.finfo(np.float32).eps))
    centred: Float32Array = levels - levels.mean(axis=0)
    return centred


@cache
def _window(name: str) -> Float32Array:
    shape = np.hamming(FRAME) if name == "hamming" else np.hanning(FRAME) ** 0.85
    return shape.astype(np.float32)


@cache
def _bands() -> Float32Array:
    """Triangles evenly spaced in mel: float32 [SIZE // 2, NUM_BANDS]."""

    def mel(hertz: float) -> float:
        return 1127 * math.log1p(hertz / 700)

    corners = np.linspace(mel(LOWEST_HZ), mel(SAMPLE_RATE / 2), NUM_BANDS + 2)
    return triangles(1127 * np.log1p(np.arange(SIZE // 2) * SAMPLE_RATE / SIZE / 700), corners)


def triangles(bins: Float64Array, corners: Float64Array) -> Float32Array:
    """Weights of bins in bands between neighbouring corners, on one scale: float32 [bins, bands]."""
    rising = (bins[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins[:, None]) / (corners[2:] - corners[1:-1])
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)


def slaney_bands(num_bands: int, size: int, sample_rate: int, low_hz: float, high_hz: float) -> Float32Array:
    """Triangles of equal area, linear in hertz, with corners on Slaney's mel scale: float32 [bins, bands].

    The scale is linear up to 1 kHz and logarithmic above (Slaney, "Auditory toolbox", 1998). The bins are
    those of a real Fourier transform of `size` samples.
    """
    hertz_per_mel, step = 200 / 3, math.log(6.4) / 27

    def mel(hertz: float) -> float:
        return hertz / hertz_per_mel if hertz < 1_000 else 15 + math.log(hertz / 1_000) / step

    mels = np.linspace(mel(low_hz), mel(high_hz), num_bands + 2)
    corners = np.where(mels < 15, mels * hertz_per_mel, 1_000 * np.exp(step * (mels - 15)))
    bands = triangles(np.arange(size // 2 + 1) * sample_rate / size, corners)
    bands *= (2 / (corners[2:] - corners[:-2])).astype(np.float32)
    return bands
