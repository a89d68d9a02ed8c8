"""Views of frames: where things are, what colour they have, and that neighbours do not matter."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import Colorspace, VideoReformatter

from framemill.actors import pyav_frames
from framemill.actors.indexing import index_source
from framemill.actors.pyav_colours import rgb_pixels
from framemill.actors.pyav_frames import PyavFrames, SignalsBatch
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.ops.chunks import FrameIndex, Frames
from framemill.ops.frames.frames import FramesOp, FramesOptions
from tests.actors.clips import marked, moving, turn, write_clip
from tests.actors.reading import NONE

RED = (220, 40, 40)


def frames_of(path: Path) -> Frames:
    index = index_source(str(path))
    request = ReadRequest(np.arange(len(index.frames)), NONE, False, 1)
    (chunk,) = read_shard(str(path), index, request, ReadReport())
    assert isinstance(chunk, Frames)
    return chunk


def flat(
    value: tuple[int, int, int],
    format_name: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
    space: int = 2,
    full: bool = False,
) -> PyavFrames:
    """One frame of a single colour, given as stored samples."""
    frame = av.VideoFrame(*size, format_name)
    for plane, component, level in zip(frame.planes, frame.format.components, value, strict=False):
        wide = component.bits > 8
        plane.update(np.full(plane.buffer_size // (2 if wide else 1), level, np.uint16 if wide else np.uint8))
    frame.colorspace, frame.color_range = space, 2 if full else 1
    return PyavFrames([frame], np.zeros(1, np.int64), np.zeros(1), np.ones(1, bool), size, 0)


def red_part(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Bounds of what is red, as shares of the picture: x0, y0, x1, y1."""
    rgb = picture.astype(int)
    rows, columns = np.nonzero((rgb[..., 0] - rgb[..., 1]) > 90)
    height, width = picture.shape[:2]
    return (
        columns.min() / width,
        rows.min() / height,
        (columns.max() + 1) / width,
        (rows.max() + 1) / height,
    )


TURNED = {
    0: (1 / 8, 1 / 8, 1 / 4, 1 / 4),
    90: (3 / 4, 1 / 8, 7 / 8, 1 / 4),  # up and left becomes up and right
    180: (3 / 4, 3 / 4, 7 / 8, 7 / 8),
    270: (1 / 8, 3 / 4, 1 / 4, 7 / 8),
}


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(3, 2), Fraction(1, 2)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_marker_is_where_a_viewer_sees_it(tmp_path: Path, degrees: int, aspect: Fraction) -> None:
    path = write_clip(
        tmp_path / "m.mp4", [marked(256, 128)] * 2, sample_aspect_ratio=aspect, options={"qp": "4"}
    )
    if degrees:
        turn(path, degrees)
    frames = frames_of(path)
    wide, high = (int(256 * max(aspect, 1)), int(128 / min(aspect, 1)))
    assert (frames.width, frames.height) == ((high, wide) if degrees % 180 else (wide, high))
    x0, y0, x1, y1 = TURNED[degrees]
    for size in (None, (96, 80), (512, 512)):
        picture = frames.rgb(size)[1]
        assert picture.shape[:2] == ((size or (frames.width, frames.height))[::-1])
        assert red_part(picture) == pytest.approx((x0, y0, x1, y1), abs=0.03)
        luma = frames.luma(size)[1].astype(int)
        assert luma.shape == picture.shape[:2]
        inside = luma[
            round((y0 + y1) / 2 * luma.shape[0]) - 2 : round((y0 + y1) / 2 * luma.shape[0]) + 2,
            round((x0 + x1) / 2 * luma.shape[1]) - 2 : round((x0 + x1) / 2 * luma.shape[1]) + 2,
        ]
        outside = luma[luma.shape[0] // 2, luma.shape[1] // 2]
        assert inside.std() < 3 and abs(inside.mean() - outside) < 15  # about as bright, another colour
    box = np.array(
        [[x0 * frames.width, y0 * frames.height, x1 * frames.width, y1 * frames.height]], np.float32
    )
    (crop,) = frames.crops(np.array([1]), box, (32, 24))
    assert crop.shape == (24, 32, 3)
    assert np.abs(crop[4:-4, 4:-4].astype(int) - RED).max() < 25, "the box holds the marker and nothing else"
    pixels = cv2.imdecode(np.frombuffer(frames.jpeg(95)[1], np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None and pixels.shape[:2] == (frames.height, frames.width)
    assert red_part(pixels[..., ::-1]) == pytest.approx((x0, y0, x1, y1), abs=0.04)


@pytest.mark.parametrize("format_name", ["yuv420p", "yuv420p10le", "yuv444p12le", "gray", "gray10le"])
def test_studio_range_becomes_full_range(format_name: str) -> None:
    shift = av.VideoFormat(format_name).components[0].bits - 8
    for stored, seen in ((16, 0), (235, 255), (126, 128), (0, 0), (255, 255)):
        frames = flat((stored << shift, 128 << shift, 128 << shift), format_name)
        assert np.abs(frames.luma().astype(int) - seen).max() <= 1
        assert np.abs(frames.rgb().astype(int) - seen).max() <= 2


@pytest.mark.parametrize("format_name", ["yuv420p", "yuvj420p", "yuv420p10le", "gray", "gray10le"])
def test_full_range_stays(format_name: str) -> None:
    shift = av.VideoFormat(format_name).components[0].bits - 8
    for stored in (0, 16, 100, 235, 255):
        frames = flat((stored << shift, 128 << shift, 128 << shift), format_name, full=True)
        assert np.abs(frames.luma().astype(int) - stored).max() <= 1
        assert np.abs(frames.rgb().astype(int) - stored).max() <= 2


# Y'CbCr of pure red in studio range, rounded: ITU-R BT.601 2.5, BT.709 3, BT.2020 table 4.
RED_601, RED_709, RED_2020 = (81, 90, 240), (63, 102, 240), (74, 97, 240)


@pytest.mark.parametrize(
    ("value", "space", "height"),
    [
        (RED_601, 5, 64), (RED_601, 6, 1080), (RED_601, 2, 718), (RED_709, 1, 64), (RED_709, 2, 720),
        (RED_709, 2, 1080), (RED_2020, 9, 64), (RED_601, 3, 64), (RED_601, 8, 64), (RED_709, 14, 720),
    ],
)  # fmt: skip
def test_the_matrix_is_tagged_or_told_by_the_size(
    value: tuple[int, int, int], space: int, height: int
) -> None:
    """Tags without a known matrix (3 reserved, 8 YCgCo, 14 ICtCp) count as none."""
    pixels = flat(value, size=(32, height), space=space).rgb()[0]
    assert np.abs(pixels.reshape(-1, 3).astype(int) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("space", range(18))
@pytest.mark.parametrize("color_range", [0, 1, 2, 3])
@pytest.mark.parametrize("format_name", ["yuv420p", "gbrp", "nv12", "yuva420p"])
def test_no_tag_of_colour_is_refused(space: int, color_range: int, format_name: str) -> None:
    frame = av.VideoFrame(32, 32, format_name)
    frame.colorspace, frame.color_range = space, color_range
    frames = PyavFrames([frame], np.zeros(1, np.int64), np.zeros(1), np.ones(1, bool), (32, 32), 0)
    assert frames.rgb().shape == (1, 32, 32, 3) and frames.luma().shape == (1, 32, 32)


def test_ten_bits_and_eight_show_the_same(tmp_path: Path) -> None:
    pictures = moving(4, 128, 96)
    eight, ten = (
        frames_of(write_clip(tmp_path / f"{name}.mkv", pictures, codec="ffv1", pixel_format=name))
        for name in ("yuv420p", "yuv420p10le")
    )
    assert np.abs(eight.luma().astype(int) - ten.luma()).max() <= 2
    assert np.abs(eight.rgb().astype(int) - ten.rgb()).mean() < 1


def test_rgb_sources_keep_their_colours(tmp_path: Path) -> None:
    pictures = moving(3, 64, 48)
    frames = frames_of(write_clip(tmp_path / "rgb.mkv", pictures, codec="ffv1", pixel_format="bgr0"))
    assert np.abs(frames.rgb().astype(int) - np.stack(pictures)).max() <= 1
    gray = np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in pictures])
    assert np.abs(frames.luma().astype(int) - gray).max() <= 2


def test_gray_is_gray_everywhere(tmp_path: Path) -> None:
    frames = frames_of(write_clip(tmp_path / "g.mkv", moving(3), codec="ffv1", pixel_format="gray"))
    colours = frames.rgb().astype(int)
    assert np.ptp(colours, axis=-1).max() == 0
    assert np.abs(colours[..., 0] - frames.luma()).max() <= 2


def see_through(format_name: str) -> av.VideoFrame:
    """Magenta (white where there is no colour): transparent, half so and opaque, from top to bottom."""
    pixels = np.zeros((24, 16, 4), np.uint8)
    pixels[...] = (255, 0, 255, 0)
    pixels[8:16, :, 3], pixels[16:, :, 3] = 128, 255
    if format_name.startswith("ya"):
        pixels[..., 1] = 255
    frame = av.VideoFrame.from_ndarray(pixels, "rgba")
    return frame if format_name == "rgba" else VideoReformatter().reformat(frame, format=format_name)


TRANSPARENT = ["rgba", "bgra", "argb", "abgr", "rgba64le", "ya8", "ya16le", "gbrap", "gbrap12le", "yuva420p",
               "yuva422p", "yuva444p", "yuva444p10le", "yuva420p10be", "vuya"]  # fmt: skip


@pytest.mark.parametrize("format_name", TRANSPARENT)
def test_what_is_transparent_lets_black_through_in_every_view(format_name: str) -> None:
    frame = see_through(format_name)
    frames = PyavFrames([frame], np.zeros(1, np.int64), np.zeros(1), np.ones(1, bool), (16, 24), 0)
    opaque = np.array([255, 255, 255] if format_name.startswith("ya") else [255, 0, 255])
    pixels, luma = frames.rgb()[0].astype(int), frames.luma()[0].astype(int)
    assert max(pixels[1:7].max(), luma[1:7].max()) <= (format_name == "gbrap12le")  # made from bytes
    assert np.abs(pixels[9:15] - opaque * 128 / 255).max() <= 4
    assert np.abs(pixels[17:] - opaque).max() <= 5
    weighed = opaque @ (0.299, 0.587, 0.114)
    assert np.abs(luma[9:15] - weighed * 128 / 255).max() <= 4 and np.abs(luma[17:] - weighed).max() <= 5


@pytest.mark.parametrize("format_name", TRANSPARENT)
def test_signals_see_black_behind_what_is_transparent(format_name: str) -> None:
    batch = SignalsBatch(1)
    batch.add(see_through(format_name), 0)
    one = np.zeros(1, np.int64)
    signals = batch.take(FrameIndex(one, np.zeros(1), np.ones(1, bool), one))
    assert np.abs(signals.luma[0, 1:7].astype(int) - 16).max() <= 1
    assert np.abs(signals.chroma_u[0, 1:3].astype(int) - 128).max() <= 1
    assert signals.luma[0, 17:].min() > signals.luma[0, 9:15].max() > 20


def test_entries_of_a_palette_may_be_transparent() -> None:
    frame = av.VideoFrame(16, 16, "pal8")
    lines = np.zeros((16, frame.planes[0].line_size), np.uint8)
    lines[8:] = 1
    frame.planes[0].update(lines)
    palette = np.zeros(256, "<u4")
    palette[0], palette[1] = 0x00FF00FF, 0xFFFF0000  # A R G B
    frame.planes[1].update(palette)
    frames = PyavFrames([frame], np.zeros(1, np.int64), np.zeros(1), np.ones(1, bool), (16, 16), 0)
    assert frames.rgb()[0, :8].max() == 0 and frames.luma()[0, :8].max() == 0
    assert (frames.rgb()[0, 8:] == (255, 0, 0)).all()


@pytest.mark.parametrize(("codec", "suffix"), [("libvpx-vp9", "webm"), ("libvpx", "mkv")])
def test_alpha_that_is_kept_beside_the_pictures_is_read(tmp_path: Path, codec: str, suffix: str) -> None:
    path = tmp_path / f"alpha.{suffix}"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25, options={"auto-alt-ref": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        pixels = np.zeros((64, 64, 4), np.uint8)
        pixels[...] = (255, 0, 255, 0)
        pixels[32:, :, 3] = 255
        for number in range(6):
            frame = av.VideoFrame.from_ndarray(pixels, "rgba")
            frame.pts = number
            out.mux(stream.encode(VideoReformatter().reformat(frame, format="yuva420p")))
        out.mux(stream.encode(None))
    frames = frames_of(path)
    assert len(frames) == 6 and index_source(str(path)).description.pixel_format == "yuva420p"
    assert frames.rgb()[:, :28].max() <= 8
    assert np.abs(frames.rgb()[:, 40:].astype(int) - (255, 0, 255)).max() <= 40


def views(frames: Frames) -> list[Any]:
    boxes = np.array([[3.2, 4.7, 60.1, 40.9]] * len(frames), np.float32)
    return [
        frames.luma(),
        frames.luma((40, 30)),
        frames.rgb(),
        frames.rgb((50, 20)),
        frames.crops(np.arange(len(frames)), boxes, (24, 24)),
        frames.jpeg(80),
    ]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "gray", "bgr0"])
def test_a_view_depends_on_its_frame_alone(tmp_path: Path, pixel_format: str) -> None:
    path = write_clip(tmp_path / "v.mkv", moving(9, 97, 61), codec="ffv1", pixel_format=pixel_format)
    index = index_source(str(path))
    together = views(frames_of(path))
    for i in range(9):
        (alone,) = read_shard(str(path), index, ReadRequest(np.array([i]), NONE, False, 1), ReadReport())
        assert isinstance(alone, Frames)
        for one, many in zip(reversed(views(alone)), reversed(together), strict=True):
            assert np.array_equal(one[0], many[i]), "whatever the order in which views are asked for"


def test_views_are_remembered_and_sized(tmp_path: Path) -> None:
    frames = frames_of(write_clip(tmp_path / "s.mkv", moving(3, 97, 61), codec="ffv1"))
    assert len(frames) == 3 and frames.frame_index.tolist() == [0, 1, 2]
    assert frames.luma((10, 7)).shape == (3, 7, 10) and frames.rgb((10, 7)).shape == (3, 7, 10, 3)
    assert frames.luma((10, 7)) is frames.luma((10, 7)) and frames.rgb() is frames.rgb()
    assert frames.luma().dtype == frames.rgb().dtype == np.uint8
    assert frames.crops(NONE, np.zeros((0, 4), np.float32), (5, 4)).shape == (0, 4, 5, 3)


def test_measures_and_jpegs_make_no_picture_in_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[av.VideoFrame] = []

    def noted(frame: av.VideoFrame, scaler: VideoReformatter) -> Any:
        made.append(frame)
        return rgb_pixels(frame, scaler)

    monkeypatch.setattr(pyav_frames, "rgb_pixels", noted)
    frames = [av.VideoFrame.from_ndarray(p, "rgb24").reformat(format="yuv420p") for p in moving(3, 96, 64)]
    given = PyavFrames(frames, np.arange(3), np.arange(3) / 25, np.ones(3, bool), (96, 64), 0)
    FramesOp(FramesOptions(images=True), {}).run(given, {})
    assert not made
    given.rgb((40, 30))
    assert made == frames


def test_crops_beyond_the_picture_are_black_there() -> None:
    frames = flat((235, 128, 128))
    boxes = np.array(
        [[-32, 0, 32, 48], [200, 200, 300, 300], [64, 0, 20, 48], [0, 0, 64, 48], [-64, -48, 128, 96]],
        np.float32,
    )
    left, beyond, empty, whole, around = frames.crops(np.zeros(5, np.int64), boxes, (32, 32))
    assert left[:, :15].max() == 0 and left[:, 17:].min() > 250
    assert beyond.max() == 0 and empty.max() == 0 and whole.min() > 250
    assert around[:9].max() == 0 and around[12:20, 12:20].min() > 250


def test_crops_come_from_full_resolution(tmp_path: Path) -> None:
    picture = np.indices((200, 300)).sum(0) % 2 * 255
    path = write_clip(
        tmp_path / "c.mkv",
        [picture.astype(np.uint8)[..., None].repeat(3, 2)],
        codec="ffv1",
        pixel_format="yuv444p",
    )
    (crop,) = frames_of(path).crops(np.array([0]), np.array([[100, 50, 132, 74]], np.float32), (32, 24))
    assert crop.min() < 5 and crop.max() > 250, "single pixels can be told apart"


def test_small_luma_is_averaged_not_picked(tmp_path: Path) -> None:
    picture = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    path = write_clip(tmp_path / "a.mkv", [picture], codec="ffv1", pixel_format="yuv444p")
    assert np.abs(frames_of(path).luma((32, 32)).astype(int) - 128).max() <= 3


def test_jpeg_quality_changes_the_size() -> None:
    frame = av.VideoFrame.from_ndarray(moving(1, 320, 240)[0], "rgb24")
    frame = VideoReformatter().reformat(frame, format="yuv420p", dst_colorspace=Colorspace.ITU601)
    frames = PyavFrames([frame], np.zeros(1, np.int64), np.zeros(1), np.ones(1, bool), (320, 240), 0)
    (small,), (large,) = frames.jpeg(20), frames.jpeg(95)
    assert small[:2] == large[:2] == b"\xff\xd8" and len(small) < len(large) / 2
