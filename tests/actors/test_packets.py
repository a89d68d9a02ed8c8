"""Which packets are pictures, when they are shown, and which of them stand alone."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from framemill.actors.indexing import index_source
from framemill.actors.packets import _is_hidden_vp8, _is_hidden_vp9, _timed_between, slice_kinds
from tests.actors.clips import moving, write_clip
from tests.actors.reading import read


@pytest.mark.parametrize(
    ("first", "hidden"), [(0b0001_0000, False), (0b0000_0001, True), (0b1111_0001, False)]
)
def test_vp8_tells_by_a_bit_whether_a_picture_is_shown(first: int, hidden: bool) -> None:
    assert _is_hidden_vp8(av.Packet(bytes([first, 0, 0]))) == hidden


@pytest.mark.parametrize(
    ("data", "hidden"),
    [
        ([0b1000_0010, 0], False),  # shown
        ([0b1000_0000, 0], True),
        ([0b1000_1000], False),  # shows an earlier picture
        ([0b1000_0000, 0b1100_0001], False),  # a superframe, whose last picture is shown
        ([0b1011_0001, 0], False),  # profile 3: a bit further on
        ([0b1011_0010, 0], True),
        ([0, 0], False),  # no VP9
    ],
)
def test_vp9_tells_in_its_first_bits_whether_a_picture_is_shown(data: list[int], hidden: bool) -> None:
    assert _is_hidden_vp9(av.Packet(bytes(data))) == hidden


def test_hidden_pictures_are_no_frames(tmp_path: Path) -> None:
    # Encoded in two passes libvpx writes pictures of reference alone; here every sixth packet is made one.
    path = write_clip(
        tmp_path / "a.ivf", moving(30), codec="libvpx", options={"g": "30"}, pixel_format="yuv420p"
    )
    content = bytearray(path.read_bytes())
    at, number, hidden = 32, 0, 0
    while at < len(content):
        if number % 6 == 5:
            content[at + 12] &= ~16
            hidden += 1
        at += 12 + int.from_bytes(content[at : at + 4], "little")
        number += 1
    path.write_bytes(content)
    index = index_source(str(path))
    heard = read(path, index, np.arange(len(index.frames)))
    assert len(index.frames) == 30 - hidden and index.description.num_frames == 30 - hidden
    assert heard.order == list(range(30 - hidden)) and heard.report.num_missing == 0


def test_a_picture_without_a_time_gets_one_between_its_neighbours() -> None:
    rows = [(pts, n == 0, True, 9, 10) for n, pts in enumerate([0, 30, 777, 20, 778])]
    timed = _timed_between(rows, [0, 2, 3, 1, 4], [2, 4])
    assert [row[0] for row in timed] == [0, 30, 10, 20, 40], "existing times stay"
    assert all(row[2] for row in timed)


def test_a_packet_without_a_time_that_gives_no_picture_is_not_shown() -> None:
    rows = [(pts, n == 0, True, 9, 10) for n, pts in enumerate([0, 777, 10])]
    timed = _timed_between(rows, [0, 2], [1])
    assert [row[2] for row in timed] == [True, False, True]


def test_damage_holds_no_slices() -> None:
    assert slice_kinds(av.Packet(bytes(40))) == set()
    assert slice_kinds(av.Packet(b"\0\0\1\x65rest\0\0\1\x41rest")) == {5, 1}
    assert slice_kinds(av.Packet(b"\0\0\0\2\x67\0\0\0\0\2\x65\0")) == {5}


def test_key_frames_that_are_destroyed_stay_wanted_and_count_as_lost(tmp_path: Path) -> None:
    options = {"g": "10", "sc_threshold": "0"}
    path = write_clip(tmp_path / "a.mp4", moving(30), options=options)
    with av.open(str(path)) as container:
        keys = [p for p in container.demux(video=0) if p.size and p.is_keyframe]
        spans = [(key.pos, key.size) for key in keys]
    content = bytearray(path.read_bytes())
    for start, size in spans[1:]:
        assert start is not None
        content[start : start + size] = bytes(size)
    path.write_bytes(content)
    index = index_source(str(path))
    wanted = np.flatnonzero(index.frames.is_key)
    assert wanted.tolist() == [0, 10, 20]
    report = read(path, index, wanted).report
    assert report.num_missing == 2 and report.num_leading == 0
