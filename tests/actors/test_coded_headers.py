"""What packets state of the pictures from them on, and whether it changes on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from framemill.actors import dali_rules, packet_track
from framemill.actors.coded_headers import CodedHeaders, coded_header
from framemill.actors.device_reader import read_shard_on_device
from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest
from tests.actors.clips import moving, write_clip
from tests.actors.device_stand_in import StandIn
from tests.actors.hidden import resized
from tests.actors.test_dali_reader import NONE, both, collect

LARGE, SMALL = (192, 128), (128, 96)
OPTIONS = {
    "libx264": {"g": "6", "bf": "0"},
    "libx265": {"preset": "ultrafast", "x265-params": "keyint=6:bframes=0:log-level=none"},
}
# What encodes, what its recordings are in, and what they are joined in.
KINDS = [
    ("libx264", "ts", "ts"), ("libx264", "h264", "h264"), ("libx264", "ts", "flv"), ("libx264", "ts", "mkv"),
    ("libx265", "ts", "ts"), ("mpeg4", "ts", "ts"), ("mpeg4", "avi", "avi"), ("mjpeg", "avi", "avi"),
    ("mjpeg", "avi", "mkv"), ("libvpx", "webm", "webm"), ("libvpx-vp9", "webm", "webm"),
]  # fmt: skip


def joined(folder: Path, codec: str, ending: str, target: str, sizes: Iterable[tuple[int, int]]) -> Path:
    """Recordings in one track, 12 pictures of each size, as recorders and editors join them."""
    if ending == "webm":
        return resized(folder, codec, sizes)
    pieces = [
        write_clip(
            folder / f"{number}.{ending}",
            moving(12, *size),
            codec=codec,
            pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p",
            options=OPTIONS.get(codec, {"g": "6"}),
        )
        for number, size in enumerate(sizes)
    ]
    path = folder / f"joined.{target}"
    if target in ("ts", "h264"):
        path.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
        return path
    number = 0
    with av.open(str(pieces[0])) as first, av.open(str(path), "w") as made:
        track, base = made.add_stream_from_template(first.streams.video[0]), first.streams.video[0].time_base
        assert base is not None
        for piece in pieces:
            with av.open(str(piece)) as given:
                for packet in [packet for packet in given.demux(video=0) if packet.size]:
                    copy = av.Packet(bytes(packet))
                    copy.stream, copy.time_base, copy.is_keyframe = track, base, packet.is_keyframe
                    copy.pts = copy.dts = round(number / 25 / base)
                    made.mux(copy)
                    number += 1
    return path


@pytest.mark.parametrize(("codec", "ending", "target"), KINDS)
def test_a_change_of_size_on_the_way_is_told(codec: str, ending: str, target: str, tmp_path: Path) -> None:
    changed, alike = tmp_path / "a", tmp_path / "b"
    changed.mkdir()
    alike.mkdir()
    index = index_source(str(joined(changed, codec, ending, target, [LARGE, SMALL, LARGE])))
    assert index.is_uneven and len(index.frames) == 36
    index = index_source(str(joined(alike, codec, ending, target, [SMALL, SMALL])))
    assert not index.is_uneven and len(index.frames) == 24


@pytest.mark.parametrize(("codec", "ending", "target"), KINDS[:2] + KINDS[5:6])
def test_files_that_change_their_size_are_read_by_pyav(
    codec: str, ending: str, target: str, tmp_path: Path
) -> None:
    path = joined(tmp_path, codec, ending, target, [SMALL, LARGE])
    decoder = StandIn()
    expected, got, report = both(path, range(24), decoder)
    assert report.decoder.startswith("pyav: some packets hold") and decoder.num_packets == 0
    assert list(got) == list(expected) == list(range(24)) and report.num_missing == 0


def test_a_size_that_no_index_saw_is_noticed_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = joined(tmp_path, "libx264", "ts", "mkv", [SMALL, LARGE])
    monkeypatch.setattr(dali_rules, "GPU_LEAST_PIXELS", 0)
    index = replace(index_source(str(path)), is_uneven=False)
    monkeypatch.setattr(packet_track, "range_reader_of", lambda container: True)
    monkeypatch.setattr(packet_track, "raise_failure", lambda container: None)
    request, report = ReadRequest(np.arange(24), NONE, False, 1), ReadReport()
    got = collect(read_shard_on_device(str(path), index, request, report, StandIn()))
    assert list(got) == list(range(24))
    assert report.decoder.endswith("packet 12 states another size, or other parameters")


def first_packet(path: Path) -> tuple[bytes, Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        data = next(bytes(packet) for packet in container.demux(stream) if packet.is_keyframe)
        return data, (stream.width, stream.height)


def test_parameters_in_packets_are_held_against_those_of_the_header(tmp_path: Path) -> None:
    large = write_clip(tmp_path / "large.ts", moving(3, *LARGE), options={"bf": "0"})
    small = write_clip(tmp_path / "small.ts", moving(3, *SMALL), options={"bf": "0"})
    with av.open(str(large)) as container:
        header = container.streams.video[0].codec_context.extradata
    for path, is_other in ((large, False), (small, True)):
        assert CodedHeaders("h264", header).change(first_packet(path)[0], True) == is_other
        assert not CodedHeaders("h264", None).change(first_packet(path)[0], True)


@pytest.mark.media
@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("vp9", "bbb_642x642_30fps_vp9.webm"),
        ("vp9", "testsrc2_odd_height_and_width_vp9.mp4"),
        ("vp8", "testsrc2_vp8.webm"),
    ],
)
def test_sizes_of_key_pictures_are_those_of_the_file(media_dir: Path, codec: str, name: str) -> None:
    data, size = first_packet(media_dir / "video" / name)
    assert coded_header(codec, data) == size


def test_sizes_of_jpegs_are_those_of_the_file(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", moving(1, 130, 98), codec="mjpeg", pixel_format="yuvj420p")
    assert coded_header("mjpeg", first_packet(path)[0]) == (130, 98)


def bits(text: str) -> bytes:
    digits = "".join(text.split())
    return int(digits.ljust(-(-len(digits) // 8) * 8, "0"), 2).to_bytes(-(-len(digits) // 8), "big")


SIZE = f"{639:016b} {359:016b}"


@pytest.mark.parametrize(
    ("header", "size"),
    [
        # marker, profile, shows an earlier one; then whether it refers to others, is shown, is resilient
        (f"10 00 0 0 1 0 {0x498342:024b} 001 0 {SIZE}", (640, 360)),
        (f"10 00 0 1 1 0 00 {0:08b} 0000 0000 0000 000 {SIZE}", (640, 360)),
        (f"10 00 0 1 1 1 {0:08b} 0000 0000 0000 000 {SIZE}", (640, 360)),
        (f"10 00 0 1 1 0 00 {0:08b} 0000 0000 0000 01 {SIZE}", None),
        (f"10 00 0 1 0 0 1 00 {0x498342:024b} {0:08b} {SIZE}", (640, 360)),
        (f"10 10 0 1 0 0 1 00 {0x498342:024b} 001 0 11 0 {0:08b} {SIZE}", (640, 360)),
        ("10 00 1 000", None),
        ("10 00 0 0 1 0", None),
    ],
    ids=[
        "key", "its own size", "resilient", "that of another", "inside alone", "inside alone, profile 1",
        "shows an earlier one", "cut off",
    ],
)  # fmt: skip
def test_frames_of_vp9_may_state_a_size_without_being_keys(header: str, size: Any) -> None:
    assert coded_header("vp9", bits(header)) == size


def test_a_size_of_vp9_that_changes_between_keys_is_a_change() -> None:
    key = bits(f"10 00 0 0 1 0 {0x498342:024b} 001 0 {SIZE}")
    other = bits(f"10 00 0 1 1 0 00 {0:08b} 0000 0000 0000 000 {319:016b} {179:016b}")
    headers = CodedHeaders("vp9", None)
    assert [headers.change(key, True), headers.change(key, True), headers.change(other, False)] == [
        False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg4", "av1", "mjpeg", "vp8", "vp9", "prores"])
@pytest.mark.parametrize("data", [b"", b"\0\0\1", b"\0\0\0\0", b"\xff\xd8\xff", b"\x0a", bytes(9)])
def test_damaged_packets_state_nothing(codec: str, data: bytes) -> None:
    assert coded_header(codec, data) is None
