"""Measures of pictures: sharpness, contrast, colour, entropy, one score, and a perceptual hash.

A value never depends on the pictures beside it. Pictures on a device are measured there, a batch at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from framemill.models.arrays import array_module, is_on_host, to_host
from framemill.ops.chunks import Float64Array, Int64Array, UInt8Array
from framemill.ops.pixels.device_measures import histograms, laplacian_sums

# Any array of uint8 pictures, [n, height, width] or [n, height, width, 3].
Pictures = Any

HASH_SIZE = 8
HASH_INPUT_SIZE = 32
TYPICAL_SHARPNESS = (
    100.0  # variance of the Laplacian at which detail counts half; 100 is the usual blur limit
)
FULL_CONTRAST = 0.25  # contrast of a picture whose values are nearly evenly spread (an even spread has 0.289)


@dataclass(frozen=True, slots=True)
class LumaMeasures:
    """Measures of the brightness plane of one frame.

    Attributes:
        sharpness: variance of the Laplacian, >= 0, in squared 8-bit steps.
        brightness: mean, 0..1.
        contrast: standard deviation, 0..0.5.
        entropy: of the 256-bin histogram, 0..8 bits.
    """

    sharpness: float
    brightness: float
    contrast: float
    entropy: float

    @property
    def score(self) -> float:
        """How much there is to see, 0..1: the geometric mean of detail, exposure, contrast and information.

        A zero in any of the four makes the score zero: a black, white or flat frame shows nothing.
        """
        detail = self.sharpness / (self.sharpness + TYPICAL_SHARPNESS)
        exposure = 4 * self.brightness * (1 - self.brightness)
        spread = min(self.contrast / FULL_CONTRAST, 1.0)
        information = self.entropy / 8
        return float((detail * exposure * spread * information) ** 0.25)


def measure_luma(luma: UInt8Array) -> LumaMeasures:
    """Measures of one brightness plane, uint8 [height, width].

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield
    microscopy", ICPR 2000); contrast is the RMS contrast of Peli ("Contrast in complex images", JOSA A 1990).
    """
    import cv2

    # The Laplacian of 8-bit values lies in -1020..1020: 16 bits hold it exactly.
    _, deviation = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S))
    # Counts come as float32, which holds whole numbers up to 16 million: more than a plane has pixels here.
    counts = cv2.calcHist([luma], [0], None, [256], [0, 256])
    return _luma_measures(float(deviation[0, 0]), counts.ravel().astype(np.int64))


def measure_lumas(lumas: Pictures) -> list[LumaMeasures]:
    """The same of each brightness plane, [n, height, width]."""
    if is_on_host(lumas):
        return [measure_luma(luma) for luma in lumas]
    counts = to_host(histograms(lumas))
    size = lumas.shape[1] * lumas.shape[2]
    mean, square = (to_host(laplacian_sums(lumas)) / size).T
    deviations = np.sqrt(np.maximum(square - mean**2, 0)).tolist()
    return [_luma_measures(*given) for given in zip(deviations, counts, strict=True)]


def _luma_measures(deviation: float, counts: Int64Array) -> LumaMeasures:
    """From the standard deviation of the Laplacian and the histogram."""
    histogram = counts.astype(np.float64)
    share = histogram / histogram.sum()
    levels = np.arange(256) / 255
    mean = float(share @ levels)
    variance = max(float(share @ levels**2) - mean**2, 0.0)
    seen = share[share > 0]
    return LumaMeasures(
        sharpness=deviation**2,
        brightness=min(mean, 1.0),
        contrast=variance**0.5,
        entropy=abs(float(-(seen * np.log2(seen)).sum())),
    )


def colourfulness(pictures: Pictures) -> list[float]:
    """Colourfulness of each picture, uint8 [n, height, width, 3]: 0 for grey, about 110 for the most vivid.

    Metric M3 of Hasler and Suesstrunk, "Measuring colourfulness in natural images", SPIE 2003.
    """
    if is_on_host(pictures):  # one by one, so that each stays in the CPU's caches
        found = [_colours(pictures[i : i + 1]) for i in range(len(pictures))]
    else:
        found = [to_host(_colours(pictures))]
    spreads, offsets = np.concatenate([np.zeros((0, 2, 2)), *found]).transpose(1, 2, 0)
    measured: list[float] = (np.hypot(*spreads) + 0.3 * np.hypot(*offsets)).tolist()
    return measured


def _colours(pictures: Pictures) -> Any:
    """float64 [n, 2, 2]: spread and mean, of red against green and yellow against blue."""
    xp = array_module(pictures)
    red, green, blue = (xp.astype(pictures[..., channel], xp.float64) for channel in range(3))
    opponents = (red - green, (red + green) / 2 - blue)
    parts = [xp.stack([how(one, axis=(1, 2)) for one in opponents], axis=1) for how in (xp.std, xp.mean)]
    return xp.stack(parts, axis=1)


@cache
def _cosines() -> Float64Array:
    """The 8 lowest rows of the unnormalised DCT-II of length 32, float64 [8, 32]."""
    frequency = np.arange(HASH_SIZE)[:, None]
    position = np.arange(HASH_INPUT_SIZE)[None, :]
    matrix: Float64Array = 2 * np.cos(np.pi * frequency * (2 * position + 1) / (2 * HASH_INPUT_SIZE))
    return matrix


def perceptual_hash(luma: UInt8Array) -> int:
    """64-bit perceptual hash of one frame, from its brightness at 32 x 32 (uint8).

    The convention is that of `imagehash.phash`: the 8 x 8 lowest frequencies of an unnormalised DCT-II,
    row by row, the first in the highest bit; a bit is set where the value is above their median.
    Pictures that look alike differ in few bits: up to about 10 of 64 is near.
    """
    return _hash(_cosines() @ luma.astype(np.float64) @ _cosines().T)


def perceptual_hashes(lumas: Pictures) -> list[int]:
    """The same of each frame, [n, 32, 32]."""
    if is_on_host(lumas):
        return [perceptual_hash(luma) for luma in lumas]
    xp = array_module(lumas)
    rows, columns = xp.asarray(_cosines()), xp.asarray(_cosines().T.copy())
    low = xp.matmul(xp.matmul(rows, xp.astype(lumas, xp.float64)), columns)
    return [_hash(frequencies) for frequencies in to_host(low)]


def _hash(low: Float64Array) -> int:
    """From the 8 x 8 lowest frequencies."""
    # Without this the frequencies that a flat picture lacks would be rounding noise, and so would its hash.
    low = np.round(low, 6)
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
