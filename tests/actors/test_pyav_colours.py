"""Colours and views against a conversion in double precision."""

from __future__ import annotations

from typing import Any

import av
import av.filter
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.actors.pyav_colours import is_planar, plane_samples
from framemill.actors.pyav_frames import PyavFrames

FORMATS = [
    "yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p",
    "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv444p12le", "yuv444p16le",
    "gray", "gray10le", "gray16le",
]  # fmt: skip
SPACES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
# Colours of 8 bits are rounded between their samples, then the sum with luma is; its weights have ten bits.
WORST = {8: 1.9, 10: 0.9, 12: 0.7, 16: 0.6}
Pixels = npt.NDArray[np.float64]


def drawn(
    format_name: str, size: tuple[int, int], seed: int, space: int = 5, full: bool = False, coarse: int = 1
) -> av.VideoFrame:
    """A frame of noise that stays within the colours there are, smooth over so many pixels."""
    rng = np.random.default_rng(seed)
    frame = av.VideoFrame(*size, format_name)
    bits = frame.format.components[0].bits
    for number, plane in enumerate(frame.planes):
        # A little colour around a middle brightness: no sum is beyond black or white.
        centre, spread = (0.5, 0.2) if number == 0 else (0.502, 0.06)
        shape = (-(-plane.height // coarse) + 1, -(-plane.width // coarse) + 1)
        noise = cv2.resize(rng.uniform(-1, 1, shape), None, fx=coarse, fy=coarse)
        values = (centre + spread * noise[: plane.height, : plane.width]) * (1 << bits)
        plane_samples(plane, 2 if bits > 8 else 1)[:] = np.rint(values)
    frame.colorspace, frame.color_range = space, 2 if full else 1
    return frame


def looked_at(plane: npt.NDArray[Any], x: Pixels, y: Pixels) -> Pixels:
    """Linear samples [rows, columns, ...] at the crossings of columns x and rows y, edges repeated."""
    values = plane.astype(np.float64)
    for axis, at in ((0, y), (1, x)):
        at = np.clip(at, 0, values.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        weight = np.expand_dims(at - low, tuple(a for a in range(values.ndim) if a != axis))
        values = values.take(low, axis) * (1 - weight) + values.take(high, axis) * weight
    return values


def exact(frame: av.VideoFrame) -> Pixels:
    """RGB of every pixel, float64 in 0..255."""
    bits = frame.format.components[0].bits
    unit, top = 1 << (bits - 8), (1 << bits) - 1
    is_full = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
    x, y = np.arange(frame.width) + 0.5, np.arange(frame.height) + 0.5
    parts = []
    for plane in frame.planes:
        across, down = round(frame.width / plane.width), round(frame.height / plane.height)
        samples = plane_samples(plane, 2 if bits > 8 else 1)
        parts.append(looked_at(samples, x / across - 0.5, y / down - 0.5))
    luma = parts[0] / top if is_full else (parts[0] - 16 * unit) / (219 * unit)
    if len(parts) == 1:
        return 255 * np.clip(luma, 0, 1)[..., None].repeat(3, 2)
    blue, red = ((part - 128 * unit) / (top if is_full else 224 * unit) for part in parts[1:])
    of_red, of_blue = SPACES[int(frame.colorspace)]
    r, b = luma + 2 * (1 - of_red) * red, luma + 2 * (1 - of_blue) * blue
    g = (luma - of_red * r - of_blue * b) / (1 - of_red - of_blue)
    colours = 255.0 * np.clip(np.stack([r, g, b], axis=-1), 0, 1)
    return np.asarray(colours, np.float64)


def places(start: float, end: float, count: int) -> Pixels:
    """Middles of `count` pixels between two edges, counted from the middle of the first."""
    return (start + (np.arange(count) + 0.5) * ((end - start) / count) - 0.5).astype(np.float64)


def frames_of(frame: av.VideoFrame, display: tuple[int, int] | None = None, quarters: int = 0) -> PyavFrames:
    one = np.zeros(1, np.int64)
    shown = display or (frame.width, frame.height)
    return PyavFrames([frame], one, np.zeros(1), np.ones(1, bool), shown, quarters)


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_those_of_a_conversion_in_double_precision(
    format_name: str, space: int, full: bool
) -> None:
    frame = drawn(format_name, (128, 96), 1, space, full)
    error = frames_of(frame).rgb()[0] - exact(frame)
    assert np.abs(error).max() <= WORST[frame.format.components[0].bits]
    # Between two bytes of colour there often lies a half, which is rounded up.
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.35, "neither darker nor brighter"


@given(
    format_name=st.sampled_from([name for name in FORMATS if name not in ("yuv411p", "yuv410p")]),
    size=st.tuples(st.integers(3, 90), st.integers(3, 90)),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_pictures_of_any_size(format_name: str, size: tuple[int, int], seed: int) -> None:
    frame = drawn(format_name, size, seed)
    (pixels,) = frames_of(frame).rgb()
    assert pixels.dtype == np.uint8 and pixels.shape == (size[1], size[0], 3)
    assert np.abs(pixels - exact(frame)).max() <= WORST[frame.format.components[0].bits]


@pytest.mark.parametrize("format_name", ["yuv420p", "yuv422p10le", "yuv444p", "gray"])
@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("display", [(351, 287), (526, 287), (351, 574)], ids=["square", "wide", "high"])
def test_rotated_pictures_of_odd_sizes_with_any_pixel_aspect(
    format_name: str, quarters: int, display: tuple[int, int]
) -> None:
    frame = drawn(format_name, (351, 287), 3, coarse=8)
    limit = WORST[frame.format.components[0].bits] + 0.8
    shown = display[::-1] if quarters % 2 else display
    frames = frames_of(frame, shown, quarters)
    upright = looked_at(exact(frame), places(0, 351, 120), places(0, 287, 90))
    (small,) = frames.rgb((90, 120) if quarters % 2 else (120, 90))
    assert np.abs(small - np.rot90(upright, -quarters)).max() <= limit
    # The same region before and after: its shares of the sides turn with the picture.
    left, top, right, bottom = 0.1, 0.2, 0.5, 0.9
    region = looked_at(exact(frame), places(351 * left, 351 * right, 60), places(287 * top, 287 * bottom, 40))
    for _ in range(quarters):
        left, top, right, bottom = 1 - bottom, left, 1 - top, right
    box = np.array([[left * shown[0], top * shown[1], right * shown[0], bottom * shown[1]]], np.float32)
    (cut,) = frames.crops(np.zeros(1, np.int64), box, (40, 60) if quarters % 2 else (60, 40))
    # Where pixels are not square, regions are cut from the stretched picture: linear samples of linear ones.
    limit += 0.0 if display == (351, 287) else 2.5
    assert np.abs(cut - np.rot90(region, -quarters)).max() <= limit


@given(
    format_name=st.sampled_from(["yuv420p", "yuv420p10le", "yuv444p", "gray"]),
    corner=st.tuples(st.floats(-60, 100), st.floats(-60, 80)),
    sides=st.tuples(st.floats(1, 200), st.floats(1, 200)),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
@settings(max_examples=100, deadline=None)
def test_regions_are_black_beyond_the_picture(
    format_name: str, corner: tuple[float, float], sides: tuple[float, float], size: tuple[int, int]
) -> None:
    frame = drawn(format_name, (97, 81), 4, coarse=8)
    box = np.array([[*corner, corner[0] + sides[0], corner[1] + sides[1]]], np.float32)
    (cut,) = frames_of(frame).crops(np.zeros(1, np.int64), box, size)
    around = np.pad(exact(frame), ((200, 200), (200, 200), (0, 0)))
    x, y = places(box[0, 0], box[0, 2], size[0]), places(box[0, 1], box[0, 3], size[1])
    # OpenCV's step between places is a 32nd of a pixel, from the picture to black.
    assert np.abs(cut - looked_at(around, x + 200, y + 200)).max() <= WORST[8] + 255 / 32


def test_the_whole_picture_as_a_region_is_the_picture() -> None:
    frame = drawn("yuv420p", (96, 80), 8, coarse=8)
    frames, whole = frames_of(frame), np.array([[0, 0, 96, 80]], np.float32)
    assert np.array_equal(frames.crops(np.zeros(1, np.int64), whole, (96, 80)), frames.rgb())
    for size in ((40, 30), (48, 40)):
        (cut,) = frames.crops(np.zeros(1, np.int64), whole, size)
        assert np.abs(cut.astype(int) - frames.rgb(size)[0]).max() <= 1
    (larger,) = frames.crops(np.zeros(1, np.int64), whole, (192, 160))
    # The corner lies a quarter of a pixel beyond the centres of both its edges, on the way to black.
    assert larger[0, 0] == pytest.approx(frames.rgb((192, 160))[0, 0, 0] * 0.75**2, abs=1)


@pytest.mark.parametrize("format_name", ["yuv420p", "yuv420p10le"])
def test_lines_that_run_upwards_and_padding_are_no_matter(format_name: str) -> None:
    plain = drawn(format_name, (62, 42), 5)
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(width=62, height=42, format=plain.format, time_base=av.time_base),  # type: ignore[arg-type]
        graph.add("vflip"),
        graph.add("buffersink"),
    ).configure()
    graph.push(plain)
    upwards = graph.pull()
    assert isinstance(upwards, av.VideoFrame) and upwards.planes[0].line_size < 0
    here, there = frames_of(plain), frames_of(upwards)
    assert np.abs(here.rgb()[0][::-1].astype(int) - there.rgb()[0]).max() <= 1
    assert np.array_equal(here.luma()[0][::-1], there.luma()[0])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("format_name", ["yuv420p", "yuv444p10le"])
def test_grey_is_grey(format_name: str, space: int, full: bool) -> None:
    frame = drawn(format_name, (256, 8), 0, space, full)
    for plane, level in zip(frame.planes, (None, 128, 128), strict=True):
        samples = plane_samples(plane, -(-frame.format.components[0].bits // 8))
        samples[:] = (np.arange(256) if level is None else level) * (4 if samples.dtype == np.uint16 else 1)
    colours = frames_of(frame).rgb()[0].astype(int)
    assert np.ptp(colours, axis=2).max() == 0
    assert np.abs(colours[..., 0] - frames_of(frame).luma()[0]).max() <= 1


def test_values_beyond_black_and_white_are_cut_off() -> None:
    for format_name, unit in (("yuv420p", 1), ("yuv420p10le", 4), ("gray", 1), ("gray12le", 16)):
        for stored, seen in ((0, 0), (16, 0), (235, 255), (255, 255)):
            frame = drawn(format_name, (32, 16), 0)
            for plane, value in zip(frame.planes, (stored, 128, 128), strict=False):
                plane_samples(plane, 2 if unit > 1 else 1)[:] = value * unit
            assert np.all(frames_of(frame).rgb() == seen) and np.all(frames_of(frame).rgb((8, 8)) == seen)
            assert np.all(frames_of(frame).luma() == seen)


@pytest.mark.parametrize("format_name", ["yuv420p10le", "gray16le"])
def test_luma_of_deep_samples_is_rounded(format_name: str) -> None:
    frame = drawn(format_name, (64, 48), 6)
    bits = frame.format.components[0].bits
    unit = 1 << (bits - 8)
    stored = plane_samples(frame.planes[0], 2).astype(np.float64)
    assert np.abs(frames_of(frame).luma()[0] - (stored / unit - 16) * (255 / 219)).max() <= 0.51


@pytest.mark.parametrize(
    ("format_name", "planar"),
    [("yuv420p", True), ("yuv444p16le", True), ("gray9le", True), ("yuv420p10be", False), ("gray16be", False),
     ("grayf32le", False), ("yuv444p10msble", False), ("yuyv422", False), ("nv12", False), ("gbrp", False),
     ("yuva420p", False), ("pal8", False)],
)  # fmt: skip
def test_formats_that_are_read_where_they_lie(format_name: str, planar: bool) -> None:
    assert is_planar(format_name) == planar
