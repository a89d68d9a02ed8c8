"""Cutting for tests, and whether a clip holds what its source shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from framemill.actors.clip_cutting import CutClip, CutSettings, cut_clips
from framemill.actors.clip_files import ClipRequest
from framemill.actors.indexing import SourceIndex, index_source
from framemill.actors.pictures import read_pictures


def cut(
    source: Path,
    *bounds: tuple[int, int],
    settings: CutSettings | None = None,
    folder: Path | None = None,
) -> list[tuple[Path, CutClip]]:
    """Clips of these frames, each with what became of it; beside the source where no folder is given."""
    into = folder or source.parent
    paths = [into / f"{source.stem}-{number}.clip.mp4" for number in range(len(bounds))]
    asked = [ClipRequest(str(path), 0.0, 0.0, *each) for path, each in zip(paths, bounds, strict=True)]
    made = cut_clips(str(source), asked, settings or CutSettings("libx264"))
    found = {each.number: each for each in made}
    assert sorted(found) == list(range(len(bounds)))
    return [(path, found[number]) for number, path in enumerate(paths)]


def check_clip(path: Path, made: CutClip, source: Path, index: SourceIndex) -> None:
    """Its first picture, one in the middle and the last are those of the source, at the same distances."""
    assert made.problem == ""
    clip = index_source(str(path))
    count = len(clip.frames)
    assert count == made.end_frame - made.start_frame
    at = sorted({0, count // 2, count - 1})
    mine, theirs = pictures(path, at), pictures(source, [made.start_frame + number for number in at])
    for one, other in zip(mine, theirs, strict=True):
        high, wide = min(one.shape[0], other.shape[0]), min(one.shape[1], other.shape[1])
        assert max(one.shape[0], other.shape[0]) - high <= 1 and max(one.shape[1], other.shape[1]) - wide <= 1
        if made.is_copied:
            assert np.array_equal(one, other)
        # Colours of single pixels are lost in 4:2:0, those of some together are not.
        assert np.abs(_blocks(one[:high, :wide]) - _blocks(other[:high, :wide])).mean() < 4
    times = index.frames.pts_seconds[made.start_frame : made.end_frame]
    assert np.abs(np.diff(clip.frames.pts_seconds) - np.diff(times)).max(initial=0) < 0.0015
    assert clip.frames.pts_seconds[0] < 0.001 and (clip.audio_stream >= 0) == (index.audio_stream >= 0)
    if clip.audio_stream >= 0:
        seconds = clip.sound_seconds
        assert abs(seconds - (made.end_seconds - made.start_seconds)) <= 0.02


def _blocks(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Means of 4 x 4 pixels, or of the whole picture where it is smaller."""
    high, wide = (max(1, side // 4) for side in picture.shape[:2])
    return cv2.resize(picture.astype(np.float32), (wide, high), interpolation=cv2.INTER_AREA)


def pictures(path: Path, frames: list[int]) -> list[npt.NDArray[Any]]:
    """Frames as RGB, int16 [height, width, 3] each."""
    return [
        picture.astype(np.int16)
        for chunk in read_pictures(str(path), np.array(frames))
        for picture in chunk.rgb()
    ]
