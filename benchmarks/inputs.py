"""Inputs made from real clips, once, into a cache folder: cut, looped and copied without re-encoding.

Only `film` encodes: shots of real clips joined by hard cuts at known frames, with x264's defaults.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.harness import Setting, SkippedError, remove

FILM_FPS = 25
FILM_SECONDS = 66
# Clips without cuts of their own; neighbours in this order look different.
SHOTS = (
    "car-detection.mp4", "dog_eating_854132.mp4", "bottle-detection.mp4", "pose_squats.mp4",
    "one-by-one-person-detection.mp4", "internal_180_rotated.mp4",
)  # fmt: skip
CUT_SOURCES = (
    "bottle-detection.mp4", "car-detection.mp4", "one-by-one-person-detection.mp4", "testvideo.mp4",
    "dog_eating_854132.mp4", "bigbuckbunny.mp4", "video_big_buck_bunny.mp4", "counter.mp4",
)  # fmt: skip
# Of 360 to 720 lines.
USUAL_SOURCES = (
    "bottle-detection.mp4", "car-detection.mp4", "testvideo.mp4", "one-by-one-person-detection.mp4",
    "dog_eating_854132.mp4", "bigbuckbunny.mp4", "video_big_buck_bunny.mp4",
)  # fmt: skip
OBJECT_SOURCES = (
    "car-detection.mp4", "one-by-one-person-detection.mp4", "bottle-detection.mp4", "dog_eating_854132.mp4",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Film:
    """A rendered film and the frames at which its shots begin (the first left out)."""

    path: Path
    cuts: tuple[int, ...]


def video(setting: Setting, name: str) -> Path:
    """A real clip; SkippedError where the media folder is absent."""
    path = setting.media / "video" / name
    if not path.is_file():
        raise SkippedError(f"needs {path.name} in the folder given by --media")
    return path


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """A path to write to, renamed to `target` when all went well: an interrupted run leaves no half input.

    Each process has a path of its own: of two that make the same at once, one's is kept.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"unfinished-{os.getpid()}-{target.name}")
    try:
        yield unfinished
        if not target.is_dir():
            unfinished.replace(target)
    finally:
        remove(unfinished)


def copy_packets(
    sources: list[Path], target: Path, start_seconds: float = 0, seconds: float = 1e9, title: str = ""
) -> None:
    """Joins the sources by stream copy, all of the same codecs, and keeps a range that starts at a key frame.

    The title makes the bytes, and so the content id, differ between copies of one clip.
    """
    with av.open(str(target), "w", format=target.suffix[1:]) as made:
        made.metadata["title"] = title
        streams: dict[int, Any] = {}
        ends: dict[int, Fraction] = {}
        for source in sources:
            with av.open(str(source)) as given:
                if not streams:
                    streams = {s.index: made.add_stream_from_template(s) for s in given.streams}
                offset = max(ends.values(), default=Fraction(0))
                if start_seconds:
                    given.seek(int(start_seconds * av.time_base))
                first: Fraction | None = None
                for packet in given.demux():
                    if packet.dts is None or packet.stream.index not in streams:
                        continue
                    base = packet.time_base
                    first = packet.dts * base if first is None else first
                    time = packet.dts * base - first
                    if time >= seconds:
                        break
                    ends[packet.stream.index] = offset + time + (packet.duration or 0) * base
                    shift = round((offset - first) / base)
                    packet.dts += shift
                    packet.pts = packet.pts + shift if packet.pts is not None else packet.dts
                    packet.stream = streams[packet.stream.index]
                    made.mux(packet)


def film(setting: Setting, width: int, height: int) -> Film:
    """A minute of shots of 1.5 to 4.5 s from real clips as H.264 by x264's defaults, with speech as AAC."""
    target = setting.cache / f"film_{height}p.mp4"
    note = target.with_suffix(".json")
    if not target.exists():
        with making(target) as path:
            note.write_text(json.dumps(_render_film(setting, path, width, height)), encoding="utf-8")
    return Film(target, tuple(json.loads(note.read_text(encoding="utf-8"))))


def _render_film(setting: Setting, path: Path, width: int, height: int) -> list[int]:
    num_frames = FILM_SECONDS * FILM_FPS
    lengths = [round(FILM_FPS * (1.5 + 3 * (k * 7 % 11) / 11)) for k in range(num_frames)]
    cuts, index = [], 0
    with av.open(str(path), "w", format="mp4") as made:
        picture = made.add_stream("libx264", rate=FILM_FPS)
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        sound = made.add_stream("aac", rate=48_000, layout="stereo")
        for shot in range(num_frames):
            if index >= num_frames:
                break
            if shot:
                cuts.append(index)
            for pixels in _shot(video(setting, SHOTS[shot % len(SHOTS)]), shot // len(SHOTS), lengths[shot]):
                scaled = np.asarray(
                    cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8
                )
                frame = av.VideoFrame.from_ndarray(scaled, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FILM_FPS)
                made.mux(picture.encode(frame))
                index += 1
                if index >= num_frames:
                    break
        made.mux(picture.encode(None))
        for samples in _speech(setting, FILM_SECONDS):
            made.mux(sound.encode(samples))
        made.mux(sound.encode(None))
    return cuts


def _shot(path: Path, occurrence: int, length: int) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    """`length` consecutive frames as RGB; each further occurrence starts later; short clips run backwards."""
    with av.open(str(path)) as container:
        frames = [
            np.asarray(f.to_ndarray(format="rgb24"), np.uint8)
            for f, _ in zip(container.decode(video=0), range(330), strict=False)
        ]
    start = occurrence * 40 % max(1, len(frames) - length)
    there_and_back = frames[start:] + frames[-2:0:-1]
    for position in range(length):
        yield there_and_back[position % len(there_and_back)]


def _speech(setting: Setting, seconds: int) -> Iterator[av.AudioFrame]:
    path = setting.media / "audio" / "jfk.flac"
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48_000, frame_size=1024)
    num_samples = 0
    while num_samples < seconds * 48_000:
        with av.open(str(path)) as container:
            for frame in container.decode(audio=0):
                frame.pts = None
                for resampled in resampler.resample(frame):
                    resampled.pts, resampled.time_base = num_samples, Fraction(1, 48_000)
                    num_samples += resampled.samples
                    yield resampled
                    if num_samples >= seconds * 48_000:
                        return


def looped(setting: Setting, source: Path, seconds: float) -> Path:
    """The source again and again until it lasts at least this long."""
    target = setting.cache / f"{source.stem}_{round(seconds)}s.mp4"
    if not target.exists():
        with av.open(str(source)) as container:
            assert container.duration is not None
            times = int(-(-seconds // (container.duration / av.time_base)))
        with making(target) as path:
            copy_packets([source] * times, path)
    return target


def object_corpus(setting: Setting) -> Path:
    """A folder of real street and room clips, four minutes each."""
    folder = setting.cache / "objects"
    if not folder.exists():
        with making(folder) as unfinished:
            unfinished.mkdir()
            for name in OBJECT_SOURCES:
                looped(setting, video(setting, name), 240).rename(unfinished / name)
    return folder


def cut_clips(setting: Setting, count: int, seconds: float = 10) -> Path:
    """A folder of clips cut from the real ones at key frames."""
    folder = setting.cache / f"cut_{count}"
    if not folder.exists():
        with making(folder) as unfinished:
            unfinished.mkdir()
            for k in range(count):
                source = video(setting, CUT_SOURCES[k % len(CUT_SOURCES)])
                start = _start(source, 5.0 * (k // len(CUT_SOURCES)))
                copy_packets([source], unfinished / f"{k:03d}.mp4", start, seconds, title=str(k))
    return folder


def usual_clips(setting: Setting, count: int = 40) -> Path:
    """A folder of real clips of 5 to 140 seconds, short ones looped: half of them are shorter than 27."""
    folder = setting.cache / f"usual_{count}"
    if not folder.exists():
        with making(folder) as unfinished:
            unfinished.mkdir()
            for k in range(count):
                source = video(setting, USUAL_SOURCES[k % len(USUAL_SOURCES)])
                # Lengths and sources run through each other, so that each source has short and long clips.
                seconds = 5 * 28 ** ((k * 9 % count) / (count - 1))
                times = max(1, int(seconds / _length(source)))
                copy_packets([source] * times, unfinished / f"{k:03d}.mp4", 0, seconds, title=str(k))
    return folder


def film_clips(setting: Setting, count: int, seconds: float) -> Path:
    """A folder of clips of 720p cut from the film, each with bytes of its own."""
    folder = setting.cache / f"clips_{count}_{round(seconds)}s"
    if not folder.exists():
        source = film(setting, 1280, 720).path
        with making(folder) as unfinished:
            _cut_film(source, [unfinished / f"{k:03d}.mp4" for k in range(count)], seconds)
    return folder


def small_clips(setting: Setting, count: int) -> Path:
    """A folder of clips of two seconds of 360p: a hundred, again and again, each with bytes of its own."""
    folder = setting.cache / f"small_{count}"
    if not folder.exists():
        source = film(setting, 640, 360).path
        with making(folder) as unfinished:
            _cut_film(source, [unfinished / f"{k:05d}.mp4" for k in range(min(count, 100))], 2.0)
            for k in range(100, count):
                # A box that nobody reads, behind all others (ISO/IEC 14496-12, 8.1.2).
                note = str(k).encode()
                free = (8 + len(note)).to_bytes(4, "big") + b"free" + note
                first = (unfinished / f"{k % 100:05d}.mp4").read_bytes()
                (unfinished / f"{k:05d}.mp4").write_bytes(first + free)
    return folder


def _start(source: Path, wished: float) -> float:
    return wished % max(_length(source) - 5, 1)


def _length(source: Path) -> float:
    with av.open(str(source)) as container:
        return (container.duration or 0) / av.time_base


def _cut_film(source: Path, targets: Sequence[Path], seconds: float) -> None:
    """Clips of so many seconds, one behind the other, from the film's beginning again where it ends."""
    targets[0].parent.mkdir()
    for k, target in enumerate(targets):
        copy_packets([source], target, k * seconds % (FILM_SECONDS - seconds), seconds, title=str(k))
