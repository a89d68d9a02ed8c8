"""How many pictures a packet holds, without decoding it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import av
import pytest

from framemill.actors.coded_pictures import count_jpeg, count_vp9, picture_counter
from framemill.actors.indexing import index_source
from tests.actors.clips import moving, write_clip
from tests.actors.hidden import NOT_CODED, UNEVEN, superframe
from tests.actors.kinds import KINDS
from tests.actors.reading import straight

FIRST_SHOWN, EARLIER_SHOWN = b"\x82\x49\x83\x42", b"\x88"


def counts(path: Path) -> Counter[int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        counter = picture_counter(context.codec.canonical_name, context.extradata)
        assert counter is not None
        return Counter(counter(bytes(packet)) for packet in container.demux(stream) if packet.size)


@pytest.mark.parametrize("name", UNEVEN)
def test_packets_that_hold_more_or_less_than_a_picture_are_told(name: str, tmp_path: Path) -> None:
    path = UNEVEN[name](tmp_path)
    index = index_source(str(path))
    assert index.is_uneven or len(index.packets.frame) != len(index.frames)
    count = 30 if name.startswith("fields") else 40
    assert len(straight(path).digests) == len(index.frames) == count, "what is shown is counted as ever"


@pytest.mark.parametrize(
    "name",
    ["b_frames", "avi_b_frames", "interlaced_h264", "vp9_hidden", "motion_jpeg", "raw_h264", "open_gops"],
)
def test_packets_of_one_picture_each_are_even(name: str, tmp_path: Path) -> None:
    assert not index_source(str(KINDS[name](tmp_path))).is_uneven


def test_frames_of_a_superframe_are_counted_but_those_that_show_an_earlier_one() -> None:
    assert count_vp9(FIRST_SHOWN) == 1 and count_vp9(EARLIER_SHOWN) == 0
    assert count_vp9(superframe([FIRST_SHOWN, FIRST_SHOWN])) == 2
    assert count_vp9(superframe([FIRST_SHOWN, EARLIER_SHOWN])) == 1
    # The last byte alone makes no superframe.
    assert count_vp9(FIRST_SHOWN + b"\xc9") == 1 and count_vp9(b"\xc9") == 1 and count_vp9(b"") == 0


def test_two_jpegs_in_a_packet_are_two_fields(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", moving(2), codec="mjpeg", pixel_format="yuvj420p")
    with av.open(str(path)) as container:
        data = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert [count_jpeg(one) for one in data] == [1, 1] and count_jpeg(b"".join(data)) == 2


@pytest.mark.parametrize("ending", ["avi", "mkv", "mp4"])
def test_pictures_of_mpeg4_are_counted_where_they_are_coded(ending: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / f"a.{ending}", moving(9), codec="mpeg4", options={"g": "4"})
    assert counts(path) == {1: 9}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        data = [bytes(packet) for packet in container.demux(stream) if packet.size]
        counter = picture_counter("mpeg4", stream.codec_context.extradata)
    assert counter is not None
    assert [counter(one) for one in (data[0], data[0] + data[1], NOT_CODED, b"", bytes(9))] == [1, 2, 0, 0, 0]


def test_frames_of_av1_are_counted_but_those_that_show_an_earlier_one(tmp_path: Path) -> None:
    frame, shown_again = b"\x32\x03\x10\x00\x00", b"\x1a\x01\x80"
    delimiter, sequence = b"\x12\x00", b"\x0a\x02\x00\x00"
    counter = picture_counter("av1", None)
    assert counter is not None
    assert counter(delimiter + sequence + frame) == 1
    assert counter(delimiter + frame + frame) == 2 and counter(delimiter + shown_again) == 0
    assert counter(b"\x30" + b"\x10\x00") == 1, "the last needs no length"
    assert [counter(data) for data in (b"", b"\x32", b"\x32\xff", b"\x36\x00")] == [0, 0, 0, 0]


def test_streams_without_such_packets_are_not_looked_into() -> None:
    assert picture_counter("h264", b"") is None and picture_counter("hevc", None) is None


@pytest.mark.media
def test_real_files_are_told_apart(media_dir: Path) -> None:
    found = {
        name: index_source(str(media_dir / "video" / name)).is_uneven
        for name in ("testsrc2_av1_10bit.mp4", "testsrc2_vp9.webm", "testsrc2_mpeg4.avi", "testsrc2_vp8.webm")
    }
    assert found == dict.fromkeys(found, False) | {"testsrc2_av1_10bit.mp4": True}
