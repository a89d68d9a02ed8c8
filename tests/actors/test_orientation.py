"""Display matrices and pixel aspects: pictures, regions and sizes are those that a viewer sees."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from framemill.actors.dali_frames import DaliFrames
from framemill.actors.indexing import index_source
from framemill.actors.orientation import MAX_STRETCHED, displayed_size, orientation_of
from framemill.actors.pyav_frames import PyavFrames
from framemill.actors.pyav_reader import FRAMES_BYTES, ReadReport, ReadRequest, read_shard
from framemill.errors import LimitError
from framemill.ops.chunks import Frames, UInt8Array
from tests.actors.clips import moving, turn, write_clip, write_matrix
from tests.actors.test_pyav_frames import frames_of

HIGH, WIDE = 96, 160
COLOURS = np.array([[(220, 40, 40), (40, 40, 220)], [(40, 160, 40), (230, 230, 230)]], np.uint8)
# Where the corners top left, top right, bottom left, bottom right of the coded picture are seen, by the
# definition of the matrix: (x, y) goes to (a x + c y, b x + d y).
EIGHT = [(a, b, c, d) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1) for d in (-1, 0, 1)
         if abs(a * d - b * c) == 1 and abs(a) + abs(b) == 1 and abs(c) + abs(d) == 1]  # fmt: skip


def quadrants() -> UInt8Array:
    return np.kron(COLOURS, np.ones((HIGH // 2, WIDE // 2, 1), np.uint8))


def as_seen(a: int, b: int, c: int, d: int) -> UInt8Array:
    """Each pixel of the quadrants put where the matrix sends it."""
    coded = quadrants()
    y, x = np.mgrid[:HIGH, :WIDE]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    shown = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    shown[down, across] = coded
    return shown


def on_device(index: Any, count: int) -> DaliFrames:
    """The same picture as DALI's reader hands it over."""
    return DaliFrames(
        np.stack([quadrants()] * count),
        np.arange(count, dtype=np.int64),
        np.zeros(count),
        np.ones(count, bool),
        (index.display_width, index.display_height),
        index.rotation_quarters,
        "bt601",
        index.is_mirrored,
    )


def check_views(frames: Frames, expected: UInt8Array) -> None:
    high, wide = expected.shape[:2]
    assert (frames.width, frames.height) == (wide, high)
    away = np.abs(frames.rgb()[0].astype(int) - expected)
    assert np.median(away) < 6 and np.quantile(away, 0.9) < 20
    small = frames.rgb((40, 40))[0].astype(int)
    luma = frames.luma((40, 40))[0].astype(int)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        colour = expected[high // 4 + row * high // 2, wide // 4 + column * wide // 2].astype(int)
        assert np.abs(small[10 + 20 * row, 10 + 20 * column] - colour).max() < 12
        assert abs(luma[10 + 20 * row, 10 + 20 * column] - colour @ (0.299, 0.587, 0.114)) < 12
        # An asymmetric region within one quadrant, up to its corner.
        left, top = column * wide / 2 + 4, row * high / 2 + 4
        box = np.array([[left, top, left + 20, top + 30]], np.float32)
        (crop,) = frames.crops(np.zeros(1, np.int64), box, (12, 20))
        assert crop.shape == (20, 12, 3) and np.abs(crop.astype(int) - colour).max() < 16


@pytest.mark.parametrize("matrix", EIGHT)
def test_all_eight_orientations_show_what_the_matrix_says(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    path = write_clip(tmp_path / "m.mp4", [quadrants()] * 2, options={"qp": "4"})
    write_matrix(path, *matrix)
    index = index_source(str(path))
    assert index.is_mirrored == (matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0)
    assert index.description.is_mirrored == index.is_mirrored
    expected = as_seen(*matrix)
    check_views(frames_of(path), expected)
    check_views(on_device(index, 2), expected)


def test_there_are_eight() -> None:
    assert len(set(EIGHT)) == 8


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_the_description_tells_turn_and_mirror(tmp_path: Path, degrees: int, is_mirrored: bool) -> None:
    path = turn(write_clip(tmp_path / "t.mp4", moving(2)), degrees, is_mirrored)
    described = index_source(str(path)).description
    assert (described.rotation_degrees, described.is_mirrored) == (degrees, is_mirrored)


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (0, 0, 0, 1), (1, 0, 0, 0), (0, 1, 0, 1)])
def test_a_matrix_that_would_show_nothing_turns_nothing(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    path = write_matrix(write_clip(tmp_path / "z.mp4", moving(2, 64, 48)), *matrix)
    index = index_source(str(path))
    assert (index.rotation_quarters, index.is_mirrored) == (0, False)
    assert (index.display_width, index.display_height) == (64, 48)


def test_side_data_that_the_library_cannot_name_leaves_the_angle() -> None:
    class Unknown:
        """A frame with a kind of side data that PyAV has no name for."""

        def __init__(self, rotation: int) -> None:
            self.rotation = rotation

        @property
        def side_data(self) -> Any:
            raise ValueError("31 is not a valid Type")

    assert orientation_of(cast(Any, Unknown(-90))) == (1, False)
    assert orientation_of(cast(Any, Unknown(-(2**31)))) == (0, False)


def test_mirrored_frames_travel_as_they_are(tmp_path: Path) -> None:
    path = turn(write_clip(tmp_path / "p.mp4", [quadrants()] * 2, options={"qp": "4"}), 90, True)
    frames = frames_of(path)
    assert isinstance(frames, PyavFrames)
    kind, arguments = frames.__reduce__()
    check_views(kind(*arguments), frames.rgb()[0])


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ((160, 120), None, (160, 120)), ((160, 120), Fraction(0), (160, 120)),
        ((160, 120), Fraction(-1, 2), (160, 120)), ((160, 120), Fraction(65535, 65534), (160, 120)),
        ((720, 576), Fraction(16, 11), (1047, 576)), ((720, 480), Fraction(8, 9), (720, 540)),
        ((64, 64), Fraction(256), (16384, 64)), ((64, 64), Fraction(1, 256), (64, 16384)),
        ((20000, 16), Fraction(1), (20000, 16)), ((20000, 16), Fraction(65535, 65536), (20000, 16)),
    ],
)  # fmt: skip
def test_one_side_grows_with_the_aspect_of_pixels(
    size: tuple[int, int], aspect: Fraction | None, shown: tuple[int, int]
) -> None:
    assert displayed_size(*size, aspect) == shown


@pytest.mark.parametrize(
    ("size", "aspect"),
    [
        ((64, 64), Fraction(257)), ((64, 64), Fraction(1, 257)), ((64, 64), Fraction(2**31 - 1)),
        ((64, 64), Fraction(1, 2**31 - 1)), ((9000, 9000), Fraction(9, 5)),
    ],
)  # fmt: skip
def test_no_aspect_makes_a_picture_larger_than_one_may_be_coded(
    size: tuple[int, int], aspect: Fraction
) -> None:
    with pytest.raises(LimitError, match=f"stretched to {MAX_STRETCHED} pixels a side"):
        displayed_size(*size, aspect)


@pytest.mark.parametrize("aspect", [(30000, 1), (1, 30000), (2**31 - 1, 1), (1, 2**31 - 1)])
def test_a_file_with_an_absurd_aspect_is_refused_by_name(tmp_path: Path, aspect: tuple[int, int]) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(2, 64, 64), sample_aspect_ratio=Fraction(3, 2))
    data = path.read_bytes()
    at = data.index(b"pasp") + 4  # pixel aspect ratio box, ISO/IEC 14496-12, 12.1.4
    path.write_bytes(data[:at] + struct.pack(">2I", *aspect) + data[at + 8 :])
    with pytest.raises(LimitError, match="correct the pixel aspect ratio"):
        index_source(str(path))


def test_batches_are_bounded_by_what_is_shown(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "w.mp4", moving(9, 256, 256), sample_aspect_ratio=Fraction(64))
    index = index_source(str(path))
    assert (index.display_width, index.display_height) == (16384, 256)
    request = ReadRequest(np.arange(9), np.zeros(0, np.int64), with_sound=False, threads=1)
    batches = [len(chunk) for chunk in read_shard(str(path), index, request, ReadReport()) if len(chunk)]
    assert sum(batches) == 9 and max(batches) * 16384 * 256 * 3 // 2 < 2 * FRAMES_BYTES
