"""Sound for tests: rendered clicks, and real files read without the reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa

from framemill.ops.chunks import Audio, Chunk, Float32Array, Float64Array, NativeAudio
from framemill.ops.operation import Op
from tests.ops.stand_ins import shard

RATE = 16_000


def clicks(bpm: float, seconds: float, first: float = 0.3) -> tuple[Float32Array, Float64Array]:
    """Short decaying tones at a steady pace, and their times."""
    times = np.arange(first, seconds - 0.1, 60 / bpm)
    t = np.arange(int(0.05 * RATE)) / RATE
    click = (0.8 * np.sin(2 * np.pi * 1000 * t) * np.exp(-60 * t)).astype(np.float32)
    samples = np.zeros(int(seconds * RATE), np.float32)
    for start in np.round(times * RATE).astype(int):
        samples[start : start + len(click)] += click
    return samples, times


def read_sound(path: Path) -> Float32Array:
    """A whole file as mono at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(str(path)) as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def read_native(path: Path) -> NativeAudio:
    """A whole file with its channels at its own rate."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    resampler = av.AudioResampler(format="fltp")
    planes = np.concatenate(
        [out.to_ndarray() for frame in frames for out in resampler.resample(frame)], axis=1
    )
    return NativeAudio(0, planes, frames[0].rate, tuple(c.name for c in frames[0].layout.channels))


def rows_of(op: Op, samples: Float32Array, start_sample: int = 0, size: int = 64_000) -> pa.Table:
    """The operation's rows for this mono sound at 16 kHz, fed in chunks of `size`."""
    return rows_of_native(op, NativeAudio(start_sample, samples[None], RATE, ("FC",)), size)


def rows_of_native(op: Op, sound: NativeAudio, size: int = 64_000) -> pa.Table:
    """The operation's rows for this sound, in the kind of chunks that it takes."""
    num_samples, rate = sound.samples.shape[1], sound.sample_rate
    extractor = op.open(shard(seconds=num_samples / rate))
    for start in range(0, num_samples, size):
        piece = sound.samples[:, start : start + size]
        chunk: Chunk = NativeAudio(sound.start_sample + start, piece, rate, sound.channels)
        if Audio in op.takes():
            chunk = Audio(sound.start_sample + start, piece[0], rate)
        extractor.feed(chunk, {})
    return op.merge([extractor.finish()])


def without_models(kind: type[Op], **options: Any) -> Op:
    return kind(kind.Options(**options), {})
