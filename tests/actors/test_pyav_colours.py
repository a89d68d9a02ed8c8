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

from framemill.actors import pyav_colours
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


def samples_of(frame: av.VideoFrame) -> list[npt.NDArray[Any]]:
    return [plane_samples(p, -(-frame.format.components[0].bits // 8)) for p in frame.planes]


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


@given(
    format_name=st.sampled_from([name for name in FORMATS if not name.startswith("gray")]),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 99),
    band_pixels=st.sampled_from([1, 200, 200_000]),
)
@settings(max_examples=150, deadline=None)
def test_pictures_to_encode_repeat_their_colours(
    format_name: str, size: tuple[int, int], seed: int, band_pixels: int
) -> None:
    frame = drawn(format_name, size, seed)
    luma, *colours = (plane.astype(np.float64) for plane in samples_of(frame))
    across, down = {"410": (4, 4), "411": (4, 1), "420": (2, 2), "422": (2, 1), "440": (1, 2), "444": (1, 1)}[
        format_name.removeprefix("yuvj").removeprefix("yuv")[:3]
    ]
    wide = [p.repeat(across, 1).repeat(down, 0)[: size[1], : size[0]] for p in colours]
    unit = 1 << (frame.format.components[0].bits - 8)
    full = format_name.startswith("yuvj")
    grey = luma * 255 / (256 * unit - 1) if full else (luma / unit - 16) * (255 / 219)
    blue, red = ((p / unit - 128) * (1 if full else 255 / 224) for p in wide)
    b, r = grey + 1.772 * blue, grey + 1.402 * red
    expected = np.stack([b, (grey - 0.299 * r - 0.114 * b) / 0.587, r], axis=-1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyav_colours, "_BAND_PIXELS", band_pixels)
        old = np.full((size[1], size[0], 3), 77, np.uint8)
        for earlier in (None, old, np.zeros((5, 99, 3), np.uint8)):
            pixels = pyav_colours.bgr_to_encode(frame, earlier)
            assert pixels.shape == expected.shape and np.abs(pixels - expected).max() <= 1.1
            assert (pixels is old) == (earlier is old), "memory of the same size is used again"


def test_a_jpeg_has_the_colours_of_the_picture() -> None:
    for format_name in ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray"):
        frame = drawn(format_name, (160, 96), 9, space=1, coarse=16)
        (data,) = frames_of(frame).jpeg(100)
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        error = pixels - exact(frame)
        assert np.abs(error).mean() < 1.5 and np.abs(error.mean(axis=(0, 1))).max() < 0.5


def test_what_sizes_share_is_made_once_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = np.random.default_rng(0).integers(0, 256, (722, 1283), np.uint8)
    sizes = [(512, 288), (32, 32), (128, 72), (1283, 722), (900, 700)]
    apart = [pyav_colours.shrink(plane, size) for size in sizes]
    made: list[tuple[int, int]] = []
    resize = cv2.resize

    def noted(picture: Any, size: tuple[int, int], interpolation: int) -> Any:
        made.append(size)
        return resize(picture, size, interpolation=interpolation)

    monkeypatch.setattr(cv2, "resize", noted)
    together = pyav_colours.Shrinking(plane)
    for size, expected in zip(sizes, apart, strict=True):
        assert np.array_equal(together.to(size), expected)
    assert made.count((641, 361)) == made.count((320, 180)) == made.count((160, 90)) == 1


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
