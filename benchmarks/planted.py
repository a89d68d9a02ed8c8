"""Clips with planted events: real shots into which a strange picture steps now and then, at known times."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.harness import Setting
from benchmarks.inputs import SHOTS, making, video

FPS = 25
RATE = 16_000
PATCHES = ("dog_eating_854132.mp4", "pose_squats.mp4", "bigbuckbunny.mp4", "bottle-detection.mp4")
BRIEF, LASTING = (0.2, 1.0), (0.6, 2.0)  # seconds that events last, at least and at most
APART_SECONDS = 1.5
HELD_WIDTH = 640
LOUD_SHARE = 0.4  # of the events come with a bang; as many bangs mean nothing

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Planted:
    """A clip and its events, as [start, end) in seconds."""

    path: Path
    events: tuple[tuple[float, float], ...]

    def recall(self, seconds: Sequence[float]) -> float:
        """Share of the events within which lies one of these times, 0 to 1."""
        at = np.sort(np.asarray(seconds, np.float64)) + 1e-6
        starts, ends = np.array(self.events).T
        return float(np.mean(np.searchsorted(at, ends) > np.searchsorted(at, starts)))


def planted_clip(
    setting: Setting,
    seed: int,
    seconds: float,
    size: tuple[int, int],
    num_events: int,
    lasting: tuple[float, float] = BRIEF,
) -> Planted:
    """A clip by x264's defaults with sound as AAC, made once and kept."""
    name = f"planted_{seed}_{round(seconds)}s_{size[1]}p_{num_events}_{lasting[1]:g}s"
    target = setting.cache / f"{name}.mp4"
    note = target.with_suffix(".json")
    if not target.exists():
        rng = np.random.default_rng(seed)
        events = _place(rng, seconds, num_events, lasting)
        # Held small, since whole clips of large pictures do not fit memory; enlarged one by one.
        held = size if size[0] <= HELD_WIDTH else (HELD_WIDTH, HELD_WIDTH * size[1] // size[0])
        footage = [_load(video(setting, shot), held) for shot in SHOTS]
        patches = [_load(video(setting, patch), (size[0] // 3, size[1] // 3)) for patch in PATCHES]
        with making(target) as path:
            _encode(
                path,
                size,
                _pictures(rng, size, footage, patches, events, seconds),
                _sound(setting, rng, events, seconds),
            )
            note.write_text(json.dumps(events), encoding="utf-8")
    return Planted(target, tuple((a, b) for a, b in json.loads(note.read_text(encoding="utf-8"))))


def _place(
    rng: np.random.Generator, seconds: float, num_events: int, lasting: tuple[float, float]
) -> list[tuple[float, float]]:
    """Events of random lengths, at random, none near another; whole frames."""
    lengths = rng.uniform(*lasting, num_events)
    free = seconds - lengths.sum() - APART_SECONDS * (num_events + 1)
    gaps = np.sort(rng.uniform(0, free, num_events))
    starts = gaps + APART_SECONDS * (1 + np.arange(num_events)) + np.append(0, np.cumsum(lengths)[:-1])
    frames = np.rint(np.stack([starts, starts + lengths], axis=1) * FPS) / FPS
    return [(float(a), float(b)) for a, b in frames]


def _load(path: Path, size: tuple[int, int]) -> Pixels:
    """The first frames of a clip, uint8 [n, height, width, 3]."""
    found = []
    with av.open(str(path)) as container:
        for frame, _ in zip(container.decode(video=0), range(250), strict=False):
            pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            found.append(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    return np.stack(found).astype(np.uint8)


def _pictures(
    rng: np.random.Generator,
    size: tuple[int, int],
    footage: Sequence[Pixels],
    patches: Sequence[Pixels],
    events: Sequence[tuple[float, float]],
    seconds: float,
) -> Iterator[Pixels]:
    num_frames = round(seconds * FPS)
    width, height = size
    shot = iter(cycle([int(k) for k in rng.permutation(len(footage))]))
    left, number, source = 0, 0, footage[0]
    coming = [(round(a * FPS), round(b * FPS)) for a, b in events]
    spots = [(int(rng.integers(0, height * 2 // 3)), int(rng.integers(0, width * 2 // 3))) for _ in events]
    which = rng.integers(0, len(patches), len(events)).tolist()
    drift = rng.integers(-2, 3, (len(events), 2)).tolist()
    for frame in range(num_frames):
        if not left:
            left, number, source = int(rng.integers(4 * FPS, 16 * FPS)), 0, footage[next(shot)]
        there_and_back = number % (2 * len(source) - 2)
        small = source[min(there_and_back, 2 * len(source) - 2 - there_and_back)]
        picture = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8).copy()
        left, number = left - 1, number + 1
        for (start, end), (y, x), k, (dy, dx) in zip(coming, spots, which, drift, strict=True):
            if start <= frame < end:
                patch = patches[k][(frame - start) % len(patches[k])]
                top = int(np.clip(y + dy * (frame - start), 0, height - patch.shape[0]))
                at = int(np.clip(x + dx * (frame - start), 0, width - patch.shape[1]))
                picture[top : top + patch.shape[0], at : at + patch.shape[1]] = patch
        yield picture


def _sound(
    setting: Setting, rng: np.random.Generator, events: Sequence[tuple[float, float]], seconds: float
) -> npt.NDArray[np.float32]:
    """Speech half of the time, noise, and bangs: with some of the events, and as many with none."""
    num_samples = round(seconds * RATE)
    sound = rng.normal(0, 0.003, num_samples)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(str(setting.media / "audio" / "jfk.flac")) as container:
        pieces = [p.to_ndarray()[0] for f in container.decode(audio=0) for p in resampler.resample(f)]
    speech = 0.5 * np.concatenate(pieces)
    for start in range(0, num_samples, 2 * len(speech)):
        part = sound[start : start + len(speech)]
        part += speech[: len(part)]
    loud = [start for start, _ in events if rng.random() < LOUD_SHARE]
    for start in [*loud, *rng.uniform(1, seconds - 1, len(loud))]:
        first = round(start * RATE)
        bang = rng.normal(0, 0.3, RATE // 2) * np.exp(-np.arange(RATE // 2) / (RATE / 8))
        part = sound[first : first + len(bang)]
        part += bang[: len(part)]
    return np.clip(sound, -1, 1).astype(np.float32)


def _encode(
    path: Path, size: tuple[int, int], pictures: Iterator[Pixels], sound: npt.NDArray[np.float32]
) -> None:
    with av.open(str(path), "w", format="mp4") as made:
        picture: Any = made.add_stream("libx264", rate=FPS)
        picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
        track: Any = made.add_stream("aac", rate=RATE, layout="mono")
        for number, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            made.mux(picture.encode(frame))
        made.mux(picture.encode(None))
        for start in range(0, len(sound), 1024):
            piece = av.AudioFrame.from_ndarray(
                sound[None, start : start + 1024], format="fltp", layout="mono"
            )
            piece.sample_rate, piece.pts, piece.time_base = RATE, start, Fraction(1, RATE)
            made.mux(track.encode(piece))
        made.mux(track.encode(None))
