"""Frames for a person to look at: the frames that were asked for, and small views that look like them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from framemill.actors.pictures import read_pictures
from framemill.actors.pyav_frames import PyavFrames
from framemill.errors import CorruptError
from framemill.ops.chunks import Int64Array, UInt8Array
from tests.actors.clips import decode_all, marked, moving, turn, write_clip
from tests.actors.kinds import KINDS
from tests.actors.reading import digest, straight
from tests.actors.real import real_files

NO_PICTURE = (".mp3", ".flac", "eac3.mp4", "pcm.mp4")
HAS_PICTURE = [name for name in real_files("video", "gif") if not str(name).endswith(NO_PICTURE)]
FORMATS = ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le",
           "gray", "gray10le", "yuva420p", "bgr0", "gbrp"]  # fmt: skip
ONE = np.zeros(1, np.int64)


def spread(num_frames: int) -> Int64Array:
    """Some frames within a file, mostly between key frames."""
    return np.unique(np.array([0.03, 0.24, 0.5, 0.77, 0.98]) * num_frames).astype(np.int64)


def digests(path: Path, frame_index: Int64Array) -> dict[int, tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    for chunk in read_pictures(str(path), frame_index):
        found |= zip(chunk.frame_index.tolist(), map(digest, chunk._frames), strict=True)
    return found


def averaged(picture: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_those_of_a_straight_decode(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    whole = [digest(frame) for frame in decode_all(path, 0)]
    wanted = spread(len(whole))
    for frames in (wanted, *(wanted[i : i + 1] for i in range(len(wanted)))):
        assert digests(path, frames) == {i: whole[i] for i in frames.tolist()}


@pytest.mark.slow
@pytest.mark.media
@pytest.mark.parametrize("name", HAS_PICTURE)
def test_frames_of_real_files_are_those_of_a_straight_decode(media_dir: Path, name: str) -> None:
    whole = straight(media_dir / name).digests
    wanted = spread(len(whole))
    assert digests(media_dir / name, wanted) == {i: whole[i] for i in wanted.tolist()}


def test_a_frame_beyond_the_end_is_refused_by_its_number(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "short.mp4", moving(5))
    with pytest.raises(CorruptError, match="has 5 frames, but frame 5 is asked for"):
        list(read_pictures(str(path), np.array([2, 5])))


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("source", [(1280, 720), (321, 243), (64, 48)])
def test_small_views_have_the_colours_of_the_whole_picture(
    pixel_format: str, source: tuple[int, int]
) -> None:
    across, down = (np.linspace(0, 1, side) for side in source)
    whole = np.stack(
        [np.broadcast_to(across, source[::-1]), np.broadcast_to(down[:, None], source[::-1]),
         np.outer(1 - down, across)], axis=2,
    )  # fmt: skip
    frame = av.VideoFrame.from_ndarray((whole * 255).astype(np.uint8), "rgb24").reformat(format=pixel_format)
    frames = PyavFrames([frame], ONE, np.zeros(1), np.ones(1, bool), source, 0)
    size = (48, 36)
    (small,) = frames.small_rgb(size)
    assert small.shape == (36, 48, 3) and small.dtype == np.uint8
    difference = np.abs(small.astype(int) - averaged(frames.rgb()[0], size))
    assert difference.mean() < 1.5 and difference.max() <= 12


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(3, 2)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_small_views_are_turned_as_large_ones(tmp_path: Path, degrees: int, aspect: Fraction) -> None:
    picture = [marked(256, 128)]
    path = write_clip(tmp_path / "m.mp4", picture, sample_aspect_ratio=aspect, options={"qp": "4"})
    if degrees:
        turn(path, degrees)
    (frames,) = read_pictures(str(path), ONE)
    size = (frames.width // 4, frames.height // 4)
    difference = np.abs(frames.small_rgb(size)[0].astype(int) - averaged(frames.rgb()[0], size))
    assert difference.mean() < 1.5, "edges of the marker blend a little otherwise, nothing is elsewhere"


def test_small_views_average_what_is_finer_than_their_pixels(tmp_path: Path) -> None:
    fine = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    path = write_clip(tmp_path / "a.mkv", [fine], codec="ffv1", pixel_format="yuv420p")
    (frames,) = read_pictures(str(path), ONE)
    assert np.abs(frames.small_rgb((48, 48)).astype(int) - 128).max() <= 6
