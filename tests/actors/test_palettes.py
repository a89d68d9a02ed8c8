"""Raw pictures whose colours lie beside them, or whose alpha means nothing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest

from framemill.actors.indexing import index_and_keep, index_source
from framemill.actors.pyav_frames import PyavFrames
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.ops.chunks import Int64Array, UInt8Array

WIDTH, HEIGHT, NUM_FRAMES = 64, 48, 80


def write_raw(path: Path, pictures: list[av.VideoFrame]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pictures[0].format.name
        for number, picture in enumerate(pictures):
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def first_pixels(path: Path, frames: list[int], keep: bool = False) -> UInt8Array:
    """R G B of the first pixel of each of these frames."""
    index, container = index_and_keep(str(path)) if keep else (index_source(str(path)), None)
    assert keep == (container is not None)
    at: Int64Array = np.array(frames, np.int64)
    none = at[:0]
    request = ReadRequest(at, none, with_sound=False, threads=1)
    chunks = list(read_shard(str(path), index, request, ReadReport(), container))
    assert all(isinstance(chunk, PyavFrames) for chunk in chunks)
    return np.concatenate([cast(PyavFrames, chunk).rgb()[:, 0, 0] for chunk in chunks])


@pytest.fixture(scope="module")
def palette_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Picture N shows entry N of a palette: red N, green 200."""
    palette = np.zeros((256, 4), np.uint8)  # A R G B
    palette[:, 0], palette[:, 1], palette[:, 2] = 255, np.arange(256), 200
    pictures = [
        av.VideoFrame.from_ndarray((np.full((HEIGHT, WIDTH), n, np.uint8), palette), format="pal8")  # type: ignore[arg-type]
        for n in range(NUM_FRAMES)
    ]
    return write_raw(tmp_path_factory.mktemp("palette") / "palette.mov", pictures)


@pytest.mark.parametrize("frames", [[0], [3], [0, 40, 79], [75]], ids=str)
@pytest.mark.parametrize("keep", [False, True], ids=["opened anew", "kept open"])
def test_colours_of_a_palette_that_came_with_the_first_packet_alone(
    palette_clip: Path, frames: list[int], keep: bool
) -> None:
    shown = first_pixels(palette_clip, frames, keep)
    np.testing.assert_array_equal(shown, [[n, 200, 0] for n in frames])


def blue_clip(path: Path, alpha: list[int]) -> Path:
    pictures = []
    for value in alpha:
        pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        pixels[..., 0], pixels[..., 3] = 250, value
        pictures.append(av.VideoFrame.from_ndarray(pixels, format="bgra"))
    return write_raw(path, pictures)


def test_a_fourth_byte_that_was_left_at_0_hides_nothing(tmp_path: Path) -> None:
    path = blue_clip(tmp_path / "unused.avi", [0, 0])
    np.testing.assert_array_equal(first_pixels(path, [0, 1]), [[0, 0, 250]] * 2)


def test_raw_alpha_that_says_something_is_taken(tmp_path: Path) -> None:
    path = blue_clip(tmp_path / "half.avi", [255, 128])
    np.testing.assert_array_equal(first_pixels(path, [0, 1]), [[0, 0, 250], [0, 0, 125]])
