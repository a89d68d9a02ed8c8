"""The index tells what a decoder would give, without decoding."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from framemill.actors.indexing import index_source
from framemill.errors import CorruptError, LimitError, UnreadableError, UnsupportedError
from tests.actors.clips import decode_all, moving, remux, sine, turn, write_clip, write_sound
from tests.actors.kinds import KINDS
from tests.actors.reading import straight
from tests.actors.real import UNSUPPORTED, real_files

# Whose packets say nothing of presentation: decoded times are guesses too.
UNTIMED = ("raw_h264", "raw_hevc", "avi_h264")


@pytest.mark.media
@pytest.mark.parametrize("name", real_files("video", "gif", "audio"))
def test_real_files_are_indexed_as_they_decode(media_dir: Path, name: str) -> None:
    path = media_dir / name
    index = index_source(str(path))
    assert index.missing_seconds == 0, "an intact file"
    assert index.duration_seconds > 0
    assert not (index.picture_problem or index.sound_problem)
    if index.video_stream < 0:
        assert index.audio_stream >= 0 and len(index.frames) == 0
        return
    decoded = straight(path)
    assert index.frames.pts.tolist() == decoded.pts
    assert index.frames.is_key.tolist() == decoded.is_key
    expected = index.frames.pts * float(index.time_base) - index.origin_seconds
    assert np.allclose(index.frames.pts_seconds, expected) and index.frames.pts_seconds[0] >= 0
    assert index.duration_seconds >= index.frames.pts_seconds[-1]
    assert index.description.num_frames == len(decoded.pts)


@pytest.mark.media
@pytest.mark.parametrize(
    ("name", "origin", "duration", "size", "quarters"),
    [
        ("delayed_start.mp4", 1.075, 0.96, (480, 320), 0),
        ("test_non_zero_start.mp4", 8.333, 0.4, (200, 112), 0),
        ("internal_180_rotated.mp4", 0.0, 4.972, (1280, 720), 2),
        ("nasa_13013_rotated.mp4", 0.0, 0.567, (270, 480), 3),
        ("portrait_4k60.mp4", 0.0, 0.313, (2160, 3840), 1),
        ("sample_edit_list.mp4", 0.0, 2.568, (1080, 1920), 1),
        ("testsrc2_odd_height_and_width_vp9.mp4", 0.0, 1.0, (321, 241), 0),
        ("sample.avi", 0.0, 4.087, (960, 400), 0),
    ],
)
def test_known_geometry_and_times(
    media_dir: Path, name: str, origin: float, duration: float, size: tuple[int, int], quarters: int
) -> None:
    index = index_source(str(media_dir / "video" / name))
    assert index.origin_seconds == pytest.approx(origin, abs=0.002)
    assert index.duration_seconds == pytest.approx(duration, abs=0.002)
    assert (index.display_width, index.display_height) == size
    assert index.rotation_quarters == quarters
    assert index.description.rotation_degrees == 90 * quarters


@pytest.mark.media
def test_an_empty_track_is_passed_over(media_dir: Path) -> None:
    index = index_source(str(media_dir / "video" / "sample_empty_track.mp4"))
    assert len(index.frames) == 30 and len(index.description.streams) == 3


@pytest.mark.media
def test_sound_without_decoder_is_unsupported(media_dir: Path) -> None:
    with pytest.raises(UnsupportedError, match="no decoder for the sound"):
        index_source(str(media_dir / "video" / UNSUPPORTED))


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in UNTIMED])
def test_rendered_kinds_are_indexed_as_they_decode(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    index = index_source(str(path))
    frames = decode_all(path, index.video_stream)
    assert index.frames.pts.tolist() == [f.pts for f in frames]
    if kind != "intra_refresh":
        assert index.frames.is_key.tolist() == [f.key_frame for f in frames]
    assert index.missing_seconds == 0


@pytest.mark.parametrize("kind", UNTIMED)
def test_where_only_the_decoder_knows_the_order(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    index = index_source(str(path))
    frames = decode_all(path, 0)
    assert len(index.frames) == len(frames)
    steps = np.diff(index.frames.pts_seconds)
    assert np.allclose(steps, 0.04)
    assert index.frames.is_key.tolist() == [f.key_frame for f in frames]
    assert (np.diff(index.packets.pts) < 0).any(), "B-frames are out of order in the file"


def test_keys_of_a_refreshed_stream_are_not_starting_points(tmp_path: Path) -> None:
    index = index_source(str(KINDS["intra_refresh"](tmp_path)))
    assert np.flatnonzero(index.frames.is_key).tolist() == [0]


def test_pixel_aspect_widens_or_heightens_the_display(tmp_path: Path) -> None:
    for aspect, size in ((Fraction(3, 2), (144, 64)), (Fraction(1, 2), (96, 128))):
        path = write_clip(tmp_path / "aspect.mp4", moving(3), sample_aspect_ratio=aspect)
        index = index_source(str(path))
        assert (index.display_width, index.display_height) == size


@pytest.mark.parametrize(("degrees", "size"), [(90, (64, 144)), (180, (144, 64)), (270, (64, 144))])
def test_rotation_turns_the_display_after_aspect(tmp_path: Path, degrees: int, size: tuple[int, int]) -> None:
    path = turn(write_clip(tmp_path / "r.mp4", moving(3), sample_aspect_ratio=Fraction(3, 2)), degrees)
    index = index_source(str(path))
    assert index.description.rotation_degrees == degrees
    assert (index.display_width, index.display_height) == size


def test_variable_rate_is_told_and_constant_is_not(tmp_path: Path) -> None:
    assert index_source(str(KINDS["variable_rate"](tmp_path))).description.is_variable_rate is True
    assert index_source(str(KINDS["b_frames"](tmp_path))).description.is_variable_rate is False


def test_times_count_from_the_first_of_picture_and_sound(tmp_path: Path) -> None:
    pictures = write_clip(tmp_path / "late.mkv", moving(20), times=list(range(25, 45)), tone=sine(2, 48000))
    index = index_source(str(pictures))
    assert index.origin_seconds == pytest.approx(0, abs=0.03)
    assert index.frames.pts_seconds[0] == pytest.approx(1.0, abs=0.03)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "cover.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=48000, layout="mono")
        cover = out.add_stream("png")
        cover.width, cover.height, cover.pix_fmt = 64, 64, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic  # type: ignore[misc]
        out.mux(cover.encode(av.VideoFrame.from_ndarray(moving(1, 64, 64)[0])))
        out.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 48000, 0
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    index = index_source(str(path))
    assert index.video_stream == -1 and index.audio_stream >= 0 and len(index.frames) == 0
    assert {s.type for s in index.description.streams} == {"audio", "attachment"}


def test_sound_alone(tmp_path: Path) -> None:
    index = index_source(str(write_sound(tmp_path / "s.wav", sine(1.5, 8000), 8000)))
    assert index.video_stream == -1 and index.duration_seconds == pytest.approx(1.5)
    assert index.description.sample_rate == 8000 and index.description.num_channels == 1


def test_a_file_cut_off_misses_seconds(tmp_path: Path) -> None:
    whole = remux(KINDS["b_frames"](tmp_path), tmp_path / "whole.mp4", {"movflags": "+faststart"})
    assert index_source(str(whole)).missing_seconds == 0
    os.truncate(whole, whole.stat().st_size // 2)
    index = index_source(str(whole))
    assert 0.3 < index.missing_seconds < 2 and 5 < len(index.frames) < 50


def encrypt(source: Path, target: Path) -> Path:
    key = "00112233445566778899aabbccddeeff"
    scheme = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key, "encryption_kid": key}
    return remux(source, target, scheme)


def test_encryption_is_named(tmp_path: Path) -> None:
    both = encrypt(KINDS["b_frames"](tmp_path), tmp_path / "both.mp4")
    with pytest.raises(UnsupportedError, match=r"picture .* is encrypted.*sound .* is encrypted"):
        index_source(str(both))
    tone = write_sound(tmp_path / "t.m4a", sine(1, 48000), 48000, codec="aac", sample_format="fltp")
    with pytest.raises(UnsupportedError, match=r"sound .* is encrypted"):
        index_source(str(encrypt(tone, tmp_path / "e.m4a")))


def test_sound_is_kept_where_the_picture_alone_is_encrypted(tmp_path: Path) -> None:
    both = bytearray(encrypt(KINDS["b_frames"](tmp_path), tmp_path / "both.mp4").read_bytes())
    for box in (b"senc", b"sinf", b"saiz", b"saio"):  # without these the sound passes for clear
        at = both.rfind(box)
        both[at : at + 4] = b"free" if at > 0 else both[at : at + 4]
    path = tmp_path / "half.mp4"
    path.write_bytes(both)
    index = index_source(str(path))
    assert index.video_stream == -1 and index.audio_stream == 1
    assert "picture track (h264) is encrypted" in index.picture_problem and not index.sound_problem


def test_a_track_without_a_usable_key_frame_is_damaged(tmp_path: Path) -> None:
    path = KINDS["matroska"](tmp_path)
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in spans:
        assert position is not None
        data[position + 12 : position + size] = bytes(size - 12)
    path.write_bytes(data)
    index = index_source(str(path))
    assert index.video_stream == -1 and "damaged" in index.picture_problem and index.audio_stream >= 0


def test_the_track_behind_a_damaged_one_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        tracks = [out.add_stream("mpeg4", rate=25), out.add_stream("mpeg4", rate=25)]
        for track in tracks:
            track.width, track.height, track.pix_fmt = 96, 64, "yuv420p"
        for number, picture in enumerate(moving(20)):
            for track in tracks:
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts = number
                packets = track.encode(frame)
                for packet in packets if track is tracks[0] else ():
                    packet.update(bytes(packet.size))
                out.mux(packets)
    index = index_source(str(path))
    assert index.video_stream == 1 and len(index.frames) >= 19


@pytest.mark.parametrize("content", [b"", b"no media\n" * 100, bytes(10_000)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.mp4"
    path.write_bytes(content)
    with pytest.raises((CorruptError, UnsupportedError)):
        index_source(str(path))
    with pytest.raises(UnreadableError):
        index_source(str(tmp_path / "absent.mp4"))


def test_too_many_streams(tmp_path: Path) -> None:
    path = tmp_path / "many.mkv"
    with av.open(str(path), "w") as out:
        tracks = [out.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(300)]
        for track in tracks:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 80), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 8000, 0
            out.mux(track.encode(frame))
    with pytest.raises(LimitError, match="300 streams; at most 256"):
        index_source(str(path))


def test_more_streams_than_ffmpeg_counts_are_told_as_such(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "many.mp4", moving(5))
    content = path.read_bytes()
    movie, track = content.index(b"moov") - 4, content.index(b"trak") - 4
    size, length = (int.from_bytes(content[at : at + 4], "big") for at in (movie, track))
    tracks = content[track : track + length] * 1100
    head = (size + len(tracks)).to_bytes(4, "big") + content[movie + 4 : track]
    path.write_bytes(content[:movie] + head + tracks + content[track:])
    with pytest.raises(LimitError, match=r"over a thousand streams, of which at most 256 .* new file"):
        index_source(str(path))


def test_indexing_twice_gives_the_same(tmp_path: Path) -> None:
    path = KINDS["open_gops"](tmp_path)
    first, second = index_source(str(path)), index_source(str(path))
    assert np.array_equal(first.packets.pts, second.packets.pts) and first.description == second.description
