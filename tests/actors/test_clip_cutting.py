"""Clips hold the planned pictures, each at its time, and their sound, whether copied or encoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from framemill.actors import clip_encoding
from framemill.actors.clip_cutting import CutSettings, cut_clips
from framemill.actors.clip_encoding import choose_encoder, fitted_size
from framemill.actors.clip_files import ClipRequest
from framemill.actors.indexing import index_source
from framemill.errors import SetupError, UsageError
from tests.actors.clip_checks import check_clip, cut, pictures
from tests.actors.clips import marked, moving, sine, sound_frames, turn, write_clip
from tests.actors.greys import HEIGHT, WIDTH, Part, grey, hertz_at, luma_of, read_whole, write_grey
from tests.actors.reading import read
from tests.shared import SHARED

H264 = CutSettings("libx264")
ENCODED = CutSettings("libx264", may_copy=False)
CASES = SHARED / "cases" / "video"


def luma_of_all(path: Path) -> list[float]:
    return read_whole(path).luma


def test_a_clip_holds_the_planned_pictures_and_no_others(tmp_path: Path) -> None:
    source = write_grey(tmp_path / "a.mp4", Part(60, 2.4))
    bounds = [(0, 12), (12, 24), (24, 60), (5, 17), (23, 25), (59, 60)]
    for path, made in cut(source, *bounds) + cut(source, *bounds, settings=ENCODED):
        assert made.problem == ""
        expected = [luma_of(number) for number in range(made.start_frame, made.end_frame)]
        assert np.abs(np.array(luma_of_all(path)) - expected).max() < 1
        assert made.num_frames == made.end_frame - made.start_frame


def test_what_begins_at_a_key_frame_and_leans_on_nothing_outside_is_copied_bit_by_bit(tmp_path: Path) -> None:
    source = write_grey(tmp_path / "a.mp4", Part(60))
    made = cut(source, (12, 36), (13, 36), (12, 35), (12, 34))
    # The last picture of a group of B pictures is decoded before those in front of it.
    copied = [each.is_copied for _, each in made]
    assert copied[0] and not copied[1] and not all(copied[2:])
    index = index_source(str(source))
    before = read(source, index, range(12, 36))
    after = read(made[0][0], index_source(str(made[0][0])), range(24))
    assert [before.digests[n + 12] for n in range(24)] == [after.digests[n] for n in range(24)]


@pytest.mark.skipif(not CASES.is_dir(), reason="no real cases at ../shared/cases")
@pytest.mark.parametrize(
    "name",
    [
        "hevc_open_gop.mkv", "hevc_open_gop.ts", "h264_open_gop.ts", "hevc_gop_3.mp4", "avi_b_frames.avi",
        "cut.flv", "cut.wmv", "mpeg1.mpg", "interlaced_h264.ts", "vp8_alt_ref_one_pass.webm",
        "alpha_vp9.webm",
        "joined_ts_jump_back.ts", "ts_clock_wraps.ts",
    ],
)  # fmt: skip
def test_every_container_and_group_gives_the_planned_pictures(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    source.write_bytes((CASES / name).read_bytes())
    index = index_source(str(source))
    count = len(index.frames)
    bounds = [(0, count // 3), (count // 3, 2 * count // 3), (count - 2, count)]
    keys = np.flatnonzero(index.frames.is_key)
    if len(keys) > 1:
        bounds.append((int(keys[-1]), count))
    for path, made in cut(source, *bounds):
        check_clip(path, made, source, index)


def test_variable_times_are_kept(tmp_path: Path) -> None:
    times = np.cumsum([0, 40, 40, 20, 200, 33, 7, 500, 40, 40, 1, 1000]).tolist()
    source = write_clip(
        tmp_path / "a.mkv", [grey(n) for n in range(12)], times=times, time_base=Fraction(1, 1000),
        options={"g": "4", "bf": "0", "qp": "10"},
    )  # fmt: skip
    for settings in (H264, ENCODED):
        (path, made), (other, _) = cut(source, (4, 12), (3, 9), settings=settings)
        clip = index_source(str(path))
        assert np.allclose(np.diff(clip.frames.pts_seconds), np.diff(times[4:]) / 1000, atol=1e-6)
        assert made.is_copied == (settings is H264)
        assert np.allclose(np.diff(index_source(str(other)).frames.pts_seconds), np.diff(times[3:9]) / 1000)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mpg", "webm"])
def test_sound_begins_and_ends_with_the_picture(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"a.{suffix}"
    write_grey(source, Part(75, 3.0))
    for settings in (H264, ENCODED):
        for path, made in cut(source, (12, 36), (17, 43), (60, 75), settings=settings):
            heard = read_whole(path)
            length = made.end_seconds - made.start_seconds
            assert made.problem == "" and abs(len(heard.sound) / 16_000 - length) <= 0.02
            assert abs(hertz_at(heard.sound, length / 2) - 500) < 10


def test_sound_is_that_of_the_clips_own_time(tmp_path: Path) -> None:
    sound = np.concatenate([sine(1.0, 48_000, hertz) for hertz in (500, 1000, 2000)])
    source = write_clip(tmp_path / "a.mp4", moving(75), options={"g": "25"}, tone=sound.astype(np.float32))
    for settings in (H264, ENCODED):
        for (path, made), hertz in zip(
            cut(source, (0, 25), (25, 50), (50, 75), settings=settings), (500, 1000, 2000), strict=True
        ):
            heard = read_whole(path)
            assert made.is_copied == (settings is H264)
            found = [hertz_at(heard.sound, at) for at in (0.03, 0.5, 0.96)]
            assert np.abs(np.array(found) - hertz).max() < 15, (path, found)


@pytest.mark.parametrize(
    ("codec", "layout", "rate"),
    [("flac", "5.1", 48_000), ("pcm_s16le", "3 channels", 22_050), ("pcm_s16le", "mono", 8_000)],
)
def test_sound_of_any_layout_and_rate_is_encoded(tmp_path: Path, codec: str, layout: str, rate: int) -> None:
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as out:
        picture = out.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = out.add_stream(codec, rate=rate, layout=layout, format="s16")
        for number in range(50):
            frame = grey(number)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        for piece in sound_frames(sine(2.0, rate, 500), rate, "s16", layout):
            out.mux(sound.encode(piece))
        out.mux(sound.encode(None))
    for path, made in cut(source, (0, 25), (13, 38)):
        heard = read_whole(path).sound
        assert not made.is_copied and abs(len(heard) / 16_000 - 1) <= 0.02
        assert abs(hertz_at(heard, 0.5) - 500) < 10


def test_stretches_without_sound_are_silent(tmp_path: Path) -> None:
    source = write_grey(tmp_path / "a.mp4", Part(75, 1.0))
    (inside, _), (across, _), (outside, _) = cut(source, (0, 24), (12, 60), (36, 72))
    assert hertz_at(read_whole(inside).sound, 0.5) > 400
    heard = read_whole(across).sound
    assert abs(len(heard) / 16_000 - 1.92) <= 0.02
    assert hertz_at(heard, 0.2) > 400 and hertz_at(heard, 1.5) == 0
    assert np.abs(read_whole(outside).sound).max() < 1e-3


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_turned_and_mirrored_pictures_are_shown_as_before(
    tmp_path: Path, degrees: int, is_mirrored: bool
) -> None:
    source = write_clip(tmp_path / "a.mp4", [marked(96, 64)] * 20, options={"g": "10"})
    turn(source, degrees, is_mirrored)
    index = index_source(str(source))
    for settings in (H264, ENCODED):
        for path, made in cut(source, (10, 20), (3, 20), settings=settings):
            check_clip(path, made, source, index)
            found = index_source(str(path))
            assert (found.display_width, found.display_height) == (index.display_width, index.display_height)
            assert made.is_copied or (found.rotation_quarters, found.is_mirrored) == (0, False)


def test_pixels_that_are_not_square_become_so(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "a.mp4", [marked(96, 64)] * 10, sample_aspect_ratio=Fraction(2), options={"g": "5"}
    )
    path, made = cut(source, (0, 10))[0]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (192, 64) == (made.width, made.height)
        assert stream.sample_aspect_ratio in (None, 0, 1)


def test_colour_tags_are_kept(tmp_path: Path) -> None:
    tags = {"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 16}
    source = write_clip(tmp_path / "a.mp4", [marked(96, 64)] * 10, **tags)
    for settings in (H264, ENCODED):
        path, _ = cut(source, (0, 10), settings=settings)[0]
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
        found = (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)
        assert tuple(map(int, found)) == tuple(tags.values())


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv444p", "gray", "bgr0", "yuvj420p"])
def test_pictures_of_other_formats_keep_their_colours(tmp_path: Path, pixel_format: str) -> None:
    codec = "libx264" if pixel_format.startswith("yuv") else "ffv1"
    shown = [marked(96, 64, (200, 60, 60))] * 6
    if pixel_format == "yuvj420p":
        source = write_clip(tmp_path / "a.mkv", shown, color_range=2)
    else:
        source = write_clip(tmp_path / "a.mkv", shown, codec=codec, pixel_format=pixel_format)
    index = index_source(str(source))
    path, made = cut(source, (1, 6), settings=ENCODED)[0]
    check_clip(path, made, source, index)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt in ("yuv420p", "yuvj420p")


def test_size_and_rate_are_those_asked_for(tmp_path: Path) -> None:
    source = write_grey(tmp_path / "a.mp4", Part(50, 2.0))
    settings = CutSettings("libx264", size=(32, 32), fps=5)
    path, made = cut(source, (5, 45), settings=settings)[0]
    assert (made.width, made.height, made.num_frames, made.is_copied) == (32, 24, 8, False)
    assert np.abs(np.array(luma_of_all(path)) - [luma_of(n) for n in range(5, 45, 5)]).max() < 1
    assert np.allclose(np.diff(index_source(str(path)).frames.pts_seconds), 0.2)
    path, made = cut(source, (10, 20), settings=CutSettings("libx264", fps=50))[0]
    assert np.abs(np.array(luma_of_all(path)) - np.repeat([luma_of(n) for n in range(10, 20)], 2)).max() < 1


def test_sizes_are_even_and_keep_their_shape() -> None:
    assert fitted_size(1920, 1080, None) == (1920, 1080)
    assert fitted_size(1920, 1080, (640, 640)) == (640, 360)
    assert fitted_size(101, 55, None) == (100, 54) and fitted_size(1, 1, None) == (2, 2)
    assert fitted_size(320, 240, (4000, 4000)) == (320, 240)


def test_times_decide_where_frames_are_not_given(tmp_path: Path) -> None:
    source = write_grey(tmp_path / "a.mp4", Part(50))
    asked = [
        ClipRequest(str(tmp_path / "b.mp4"), 0.4, 0.8),
        ClipRequest(str(tmp_path / "c.mp4"), 0.39, 0.42),
        ClipRequest(str(tmp_path / "d.mp4"), 0.41, 0.43),
        ClipRequest(str(tmp_path / "e.mp4"), 1.0, 99.0),
    ]
    found = {each.number: each for each in cut_clips(str(source), asked, H264)}
    assert [(found[n].start_frame, found[n].end_frame) for n in (0, 1, 3)] == [(10, 20), (10, 11), (25, 50)]
    assert found[2].problem == "no frame from 0.410 to 0.430 s" and not (tmp_path / "d.mp4").exists()


def test_clips_may_overlap(tmp_path: Path) -> None:
    source = write_grey(tmp_path / "a.mkv", Part(40, 1.6))
    for settings in (H264, ENCODED):
        for path, made in cut(source, (0, 36), (12, 24), (12, 36), (6, 30), settings=settings):
            expected = [luma_of(n) for n in range(made.start_frame, made.end_frame)]
            assert np.abs(np.array(luma_of_all(path)) - expected).max() < 1


def test_a_clip_whose_last_picture_is_lost_is_told_of_and_leaves_no_file(tmp_path: Path) -> None:
    source = write_grey(tmp_path / "a.ts", Part(50))
    whole = source.read_bytes()
    asked = [ClipRequest(str(tmp_path / f"{n}.mp4"), 0, 0, *at) for n, at in enumerate([(0, 10), (30, 48)])]
    index = index_source(str(source))
    assert len(index.frames) == 50
    source.write_bytes(whole[: len(whole) // 2])
    found = {each.number: each for each in cut_clips(str(source), asked, ENCODED)}
    assert found[0].problem == "" and found[1].problem != ""
    assert (tmp_path / "0.mp4").exists() and not (tmp_path / "1.mp4").exists()


def test_a_clip_is_the_same_every_time(tmp_path: Path) -> None:
    source = write_grey(tmp_path / "a.mp4", Part(50, 2.0))
    for settings in (H264, ENCODED):
        first = [path.read_bytes() for path, _ in cut(source, (12, 36), (3, 40), settings=settings)]
        assert first == [path.read_bytes() for path, _ in cut(source, (12, 36), (3, 40), settings=settings)]


def test_an_encoder_that_is_not_there_is_told_of_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_encoder() == choose_encoder("libx264") == "libx264"
    with pytest.raises(UsageError, match="there are libx264"):
        choose_encoder("libx265")
    monkeypatch.setattr(clip_encoding, "_opens", lambda name: name == "libopenh264")
    assert choose_encoder() == "libopenh264"
    with pytest.raises(SetupError, match=r"h264_nvenc is not there .* there are: libopenh264") as caught:
        choose_encoder("h264_nvenc")
    assert caught.value.exit_code == 5


def test_the_largest_side_of_a_picture_stays_within_the_frame(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", [marked(WIDTH, HEIGHT)] * 5)
    turn(source, 90)
    _, made = cut(source, (0, 5), settings=CutSettings("libx264", size=(24, 32)))[0]
    assert (made.width, made.height) == (24, 32)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_an_odd_side_loses_one_pixel_and_no_other_is_blurred_or_moved(
    tmp_path: Path, pixel_format: str, degrees: int
) -> None:
    stripes = np.full((65, 97, 3), 60, np.uint8)
    stripes[:, ::2] = 180  # shrunk by a hundredth, these are grey in some places and inverted in others
    codec = {"yuv420p": "libvpx-vp9", "yuv444p": "libx264"}[pixel_format]
    options = {"crf": "2", "b:v": "0"} if codec == "libvpx-vp9" else {"qp": "1", "g": "5"}
    source = write_clip(
        tmp_path / "a.mp4", [stripes] * 10, codec=codec, pixel_format=pixel_format, options=options
    )
    turn(source, degrees)
    path, made = cut(source, (1, 10), settings=ENCODED)[0]
    assert (made.width, made.height) == ((64, 96) if degrees == 90 else (96, 64))
    mine, theirs = pictures(path, [4])[0], pictures(source, [5])[0]
    # What is lost is at the end of the source's own lines and columns, which a turn shows at the other side.
    high, wide = mine.shape[:2]
    theirs = theirs[-high:] if degrees == 180 else theirs[:high]
    theirs = theirs[:, -wide:] if degrees in (90, 180) else theirs[:, :wide]
    assert np.abs(mine.mean(axis=2) - theirs.mean(axis=2)).mean() < 8
