"""Rendered films: length, shape, what is shown when, and the sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from framemill.actors.rendering import RenderClip, letterbox, render
from framemill.errors import MediaError, UsageError
from tests.actors.clips import write_clip

FPS = 30


def flat(level: int, count: int, width: int = 96, height: int = 64) -> list[np.ndarray[Any, Any]]:
    return [np.full((height, width, 3), level, np.uint8)] * count


def film(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_clips_follow_each_other_to_the_frame(tmp_path: Path) -> None:
    paths = [
        write_clip(tmp_path / f"{level}.mp4", flat(level, 3 * rate), rate=rate)
        for level, rate in ((50, 25), (120, 10), (200, 60))
    ]
    clips = [
        RenderClip(str(path), start, count)
        for path, start, count in zip(paths, (0.5, 1.0, 0.0), (15, 31, 14), strict=True)
    ]
    seen: list[tuple[int, int]] = []
    target = tmp_path / "film.mp4"
    render(clips, str(target), fps=FPS, width=128, height=72, progress=lambda d, t: seen.append((d, t)))
    shown = film(target)
    assert shown.shape == (60, 72, 128, 3)
    middle = shown[:, 36, 64, 1].astype(int)
    assert np.abs(middle - np.repeat([50, 120, 200], [15, 31, 14])).max() < 6
    assert seen == [(done, 60) for done in range(1, 61)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["120.mp4", "200.mp4", "50.mp4", "film.mp4"]


def test_the_right_moment_is_shown(tmp_path: Path) -> None:
    pictures = [np.full((64, 96, 3), 20 + 8 * number, np.uint8) for number in range(25)]
    path = write_clip(tmp_path / "ramp.mp4", pictures, rate=10)
    render([RenderClip(str(path), 1.0, 30)], str(tmp_path / "film.mp4"), fps=30, width=96, height=64)
    middle = film(tmp_path / "film.mp4")[:, 32, 48, 1].astype(int)
    assert np.abs(middle - (20 + 8 * np.repeat(np.arange(10, 20), 3))).max() < 6


def test_it_plays_everywhere(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", flat(90, 50))
    render([RenderClip(str(path), 0.0, 30)], str(tmp_path / "film.mp4"), fps=FPS, width=96, height=64)
    with av.open(str(tmp_path / "film.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == FPS and stream.frames == 30 and not container.streams.audio
        assert int(next(container.decode(video=0)).colorspace) == 1
    data = (tmp_path / "film.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("music_seconds", [5.0, 0.4])
def test_music_is_as_long_as_the_picture(tmp_path: Path, music_seconds: float) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(48_000 * music_seconds)) / 48_000)
    music = write_clip(
        tmp_path / "music.mp4", flat(90, int(25 * music_seconds)), tone=tone.astype(np.float32)
    )
    clip = RenderClip(str(music), 0.0, 90)
    render([clip], str(tmp_path / "film.mp4"), fps=FPS, width=96, height=64, music=str(music))
    with av.open(str(tmp_path / "film.mp4")) as container:
        track = container.streams.audio[0]
        assert (track.codec_context.name, track.rate, track.channels) == ("aac", 48_000, 2)
        assert abs(float(track.duration * track.time_base) - 3.0) <= 1 / FPS
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    level = [
        np.sqrt(np.mean(sound[:, int(a * 48_000) : int(b * 48_000)] ** 2))
        for a, b in ((0.1, 0.3), (1, 1.9), (2.9, 3))
    ]
    assert level[0] > 0.2
    assert level[1] > 0.2 if music_seconds > 3 else level[1] < 0.01
    assert level[2] < 0.1


@pytest.mark.parametrize("shape", [(64, 96), (200, 40), (40, 200), (300, 300), (7, 5)])
def test_pictures_keep_their_shape(shape: tuple[int, int]) -> None:
    framed = letterbox(np.full((*shape, 3), 255, np.uint8), (128, 72))
    assert framed.shape == (72, 128, 3)
    bright = framed[..., 0] > 200
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert high >= 71 or wide >= 127
    assert abs(wide / high - shape[1] / shape[0]) < 0.15 * shape[1] / shape[0]
    assert abs((rows[0] + rows[-1]) / 2 - 35.5) <= 1 and abs((columns[0] + columns[-1]) / 2 - 63.5) <= 1


def test_rotated_pictures_stand_upright(media_dir: Path, tmp_path: Path) -> None:
    clip = RenderClip(str(media_dir / "video" / "nasa_13013_rotated.mp4"), 0.0, 5)
    render([clip], str(tmp_path / "film.mp4"), fps=FPS, width=320, height=180)
    shown = film(tmp_path / "film.mp4")[2]
    assert shown[:, :100].mean() < 3 and shown[:, 220:].mean() < 3 and shown[:, 110:210].std() > 5


def test_errors_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no\.mp4"):
        render(
            [RenderClip(str(tmp_path / "no.mp4"), 0, 5)],
            str(tmp_path / "a.mp4"),
            fps=FPS,
            width=96,
            height=64,
        )
    with pytest.raises(UsageError, match="cannot be written"):
        path = write_clip(tmp_path / "in.mp4", flat(90, 25))
        clip = RenderClip(str(path), 0.0, 10)
        render([clip], str(tmp_path / "no" / "a.mp4"), fps=FPS, width=96, height=64)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
