"""Renders a short clip whose content is known: cuts, a fade, moving shapes, burnt-in text, a beat.

python -m benchmarks.sample_clip OUT.mp4 [--seconds 12] [--width 1280 --height 720]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

FPS = 25
SAMPLE_RATE = 48_000
TEMPO_BPM = 120
TEXTS = ("FRAMEMILL", "SECOND SHOT", "THIRD SHOT", "AFTER THE FADE", "LAST SHOT")
# One hue a shot, as R G B of the gradient's two ends; neighbours differ in brightness and in colour.
SHADES = (
    ((20, 40, 120), (60, 120, 220)),
    ((200, 170, 40), (250, 230, 150)),
    ((30, 90, 50), (90, 160, 100)),
    ((220, 120, 130), (255, 200, 190)),
    ((50, 20, 70), (120, 60, 150)),
)


@dataclass(frozen=True, slots=True)
class SampleTruth:
    """What a rendered clip shows and sounds like; frame ranges are half-open.

    Attributes:
        fps, width, height, num_frames: of the picture.
        cuts: frame indices at which a new shot begins abruptly.
        fade: range of frames in which the picture dims to black and returns as another shot.
        texts: (start_frame, end_frame, text) burnt in.
        tempo_bpm: of the clicks. beat_seconds: when each begins.
    """

    fps: int
    width: int
    height: int
    num_frames: int
    cuts: tuple[int, ...]
    fade: tuple[int, int]
    texts: tuple[tuple[int, int, str], ...]
    tempo_bpm: int
    beat_seconds: tuple[float, ...]


def plan_sample(seconds: float = 12.0, width: int = 1280, height: int = 720) -> SampleTruth:
    """What `render_sample` will show: five shots joined by a cut, a cut, a fade through black and a cut."""
    if seconds < 3 or width < 64 or height < 64:
        raise ValueError(f"a clip of {seconds} s, {width} x {height}: at least 3 s and 64 x 64 are needed")
    num_frames = round(seconds * FPS)
    first, second, last = (round(num_frames * share) for share in (1 / 6, 3 / 8, 3 / 4))
    fade_start, fade_end = round(num_frames * 0.54), round(num_frames * 0.62)
    middle = (fade_start + fade_end) // 2
    edges = (0, first, second, middle, last, num_frames)
    return SampleTruth(
        fps=FPS,
        width=width,
        height=height,
        num_frames=num_frames,
        cuts=(first, second, last),
        fade=(fade_start, fade_end),
        texts=tuple((edges[k], edges[k + 1], text) for k, text in enumerate(TEXTS)),
        tempo_bpm=TEMPO_BPM,
        beat_seconds=tuple(k * 60 / TEMPO_BPM for k in range(int(seconds * TEMPO_BPM / 60))),
    )


def render_sample(
    path: Path | str, seconds: float = 12.0, width: int = 1280, height: int = 720
) -> SampleTruth:
    """Writes the clip as H.264 and AAC; the same arguments give the same bytes on one build of FFmpeg.

    Args:
        path: file to write; its ending picks the container.
        seconds: length, at least 3. width, height: even, at least 64.
    """
    truth = plan_sample(seconds, width, height)
    sound = render_sound(truth)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        # The number of threads is fixed because x264 decides differently with another.
        options = {"preset": "veryfast", "crf": "20", "threads": "2", "flags": "+bitexact"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo", options={"flags": "+bitexact"})
        per_frame = SAMPLE_RATE // FPS
        for index, picture in enumerate(render_pictures(truth)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
            piece = np.ascontiguousarray(sound[:, index * per_frame : (index + 1) * per_frame])
            samples = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            samples.sample_rate = SAMPLE_RATE
            samples.pts, samples.time_base = index * per_frame, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(samples))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return truth


def render_pictures(truth: SampleTruth) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames in order, uint8 [height, width, 3] RGB."""
    for shot, (start, end, text) in enumerate(truth.texts):
        background = _background(shot, truth.width, truth.height)
        for index in range(start, end):
            picture = background.copy()
            _draw_shapes(picture, shot, (index - start) / max(end - start, 1))
            _draw_text(picture, text)
            yield (picture * _brightness(index, truth.fade)).astype(np.uint8)


def render_sound(truth: SampleTruth) -> npt.NDArray[np.float32]:
    """Stereo, float32 [2, samples]: a quiet chord that changes every two seconds and a click on each beat."""
    time = np.arange(truth.num_frames * SAMPLE_RATE // truth.fps) / SAMPLE_RATE
    root = np.array([220.0, 261.6, 196.0, 246.9])[(time // 2).astype(int) % 4]
    phase = 2 * np.pi * np.cumsum(root) / SAMPLE_RATE
    sound = 0.05 * (np.sin(phase) + np.sin(1.5 * phase))
    since_beat = time % (60 / truth.tempo_bpm)
    sound += 0.7 * np.sin(2 * np.pi * 1000 * since_beat) * np.exp(-since_beat / 0.015)
    return np.stack([sound, sound]).astype(np.float32)


def _background(shot: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    start, end = (np.array(colour, np.float64) for colour in SHADES[shot])
    slope = np.linspace(0, 1, width)[None, :, None] * (0.6 + 0.4 * np.linspace(0, 1, height)[:, None, None])
    return (start + (end - start) * slope).astype(np.uint8)


def _draw_shapes(picture: npt.NDArray[np.uint8], shot: int, progress: float) -> None:
    height, width = picture.shape[:2]
    radius = height // 10
    x = radius + round((width - 2 * radius) * progress)
    cv2.circle(picture, (x, height // 3), radius, (255, 255, 255), -1, cv2.LINE_AA)
    side = height // 8
    y = round((height - side) * (1 - progress))
    left = (shot + 1) * width // 7
    cv2.rectangle(picture, (left, y), (left + side, y + side), (230, 60, 40), -1)


def _draw_text(picture: npt.NDArray[np.uint8], text: str) -> None:
    height, width = picture.shape[:2]
    font, scale, thickness = cv2.FONT_HERSHEY_SIMPLEX, height / 360, max(1, height // 180)
    (text_width, text_height), _ = cv2.getTextSize(text, font, scale, thickness)
    left, bottom = (width - text_width) // 2, round(height * 0.88)
    margin = text_height // 2
    top_left = (left - margin, bottom - text_height - margin)
    cv2.rectangle(picture, top_left, (left + text_width + margin, bottom + margin), (10, 10, 10), -1)
    cv2.putText(picture, text, (left, bottom), font, scale, (250, 250, 250), thickness, cv2.LINE_AA)


def _brightness(index: int, fade: tuple[int, int]) -> float:
    start, end = fade
    if not start <= index < end:
        return 1.0
    middle = (start + end) // 2
    return (middle - index) / (middle - start) if index < middle else (index - middle) / (end - middle)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sample_clip", description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    chosen = parser.parse_args()
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    render_sample(chosen.output, chosen.seconds, chosen.width, chosen.height)


if __name__ == "__main__":
    main()
