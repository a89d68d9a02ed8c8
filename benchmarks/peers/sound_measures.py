"""Measures the sound of a file the plain way; decoding is not counted.

python -m benchmarks.peers.sound_measures KIND FILE
KIND is `levels` (a NumPy loop over windows of 0.1 s), `beats` (librosa's beat tracker, at its own rate) or
`loudness` (pyloudnorm, and SciPy's oversampling for the true peak). Prints {"seconds", "rows"}, CPU
seconds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
WINDOW_SECONDS = 0.1
RATES = {"levels": 16_000, "beats": 22_050, "loudness": None}


def decode(path: str, rate: int | None) -> tuple[Samples, int]:
    """Sound as float32 [channels, n]: mono at `rate`, or as it is."""
    with av.open(path) as container:
        layout = "mono" if rate else None
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
        own = container.streams.audio[0].rate
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1), rate or own


def levels(samples: Samples, rate: int) -> int:
    """A loop over windows, as one writes it first."""
    size, rows = round(WINDOW_SECONDS * rate), []
    for start in range(0, samples.shape[1], size):
        window = samples[0, start : start + size]
        rms, peak = np.sqrt(np.mean(window**2)), np.max(np.abs(window))
        rows.append((20 * np.log10(max(rms, 1e-6)), 20 * np.log10(max(peak, 1e-6))))
    return len(rows)


def beats(samples: Samples, rate: int) -> int:
    """librosa's beat tracker with its defaults."""
    import librosa

    return len(librosa.beat.beat_track(y=samples[0], sr=rate)[1])


def loudness(samples: Samples, rate: int) -> int:
    """Integrated loudness by pyloudnorm, and the peak of four points a sample."""
    import pyloudnorm
    from scipy.signal import resample_poly

    pyloudnorm.Meter(rate).integrated_loudness(samples.T)
    return len([np.abs(resample_poly(channel, 4, 1)).max() for channel in samples])


def main() -> None:
    kind, path = sys.argv[1:]
    samples, rate = decode(path, RATES[kind])
    work: Any = {"levels": levels, "beats": beats, "loudness": loudness}[kind]
    work(samples[:, : 6 * rate], rate)  # imports, and what numba compiles
    started = time.process_time()
    rows = work(samples, rate)
    json.dump({"seconds": time.process_time() - started, "rows": rows}, sys.stdout)


if __name__ == "__main__":
    main()
