"""Stream copies: every frame asked for is in one of them, under a number that exists."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from framemill.actors.dali_copies import Copy, copy_pieces
from framemill.actors.indexing import SourceIndex, index_source
from framemill.actors.packet_track import PacketTrack
from framemill.actors.pieces import Piece, plan_pieces
from framemill.actors.safe_open import open_media
from tests.actors.clips import moving, write_clip
from tests.actors.kinds import Maker, long_gops, matroska_without_cues, transport_stream
from tests.actors.reading import digest, straight


def copies_of(path: Path, index: SourceIndex, pieces: list[Piece]) -> list[Copy]:
    needed = np.zeros(len(index.packets.pts), bool)
    needed[np.concatenate([piece.packets for piece in pieces])] = True
    with open_media(str(path)) as container:
        stream = container.streams.video[0]
        track = PacketTrack(container, stream, index, needed)
        return list(copy_pieces(track, stream, index.packets, pieces))


@pytest.fixture(scope="module")
def reordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 with B-frames, so that packets do not come in the order of presentation."""
    path = tmp_path_factory.mktemp("clips") / "reordered.mp4"
    return write_clip(path, moving(60), options={"g": "12", "bf": "3", "x264-params": "scenecut=0"})


@pytest.mark.parametrize("wanted", [range(60), range(0, 60, 12), [5, 30, 31, 59]])
def test_numbers_are_positions_in_order_of_presentation(reordered: Path, wanted: Any) -> None:
    index = index_source(str(reordered))
    asked = np.array(list(wanted), np.int64)
    pieces = plan_pieces(index.packets, index.frames, asked, 16)
    found = {}
    for copy in copies_of(reordered, index, pieces):
        with av.open(io.BytesIO(copy.content)) as made:
            assert made.format.name.startswith("matroska")
            frames = list(made.decode(video=0))
        assert 0 <= copy.numbers.min() <= copy.numbers.max() < len(frames)
        times = [frame.pts * Fraction(frame.time_base or 1) for frame in frames if frame.pts is not None]
        assert times == sorted(times) and len(times) == len(frames)
        found |= {int(f): digest(frames[n]) for f, n in zip(copy.frames, copy.numbers, strict=True)}
    originals = straight(reordered).digests
    assert found == {int(f): originals[f] for f in asked}


def test_what_is_cut_off_is_in_no_copy(reordered: Path, tmp_path: Path) -> None:
    index = index_source(str(reordered))
    pieces = plan_pieces(index.packets, index.frames, np.arange(60), 16)
    short = write_clip(tmp_path / "short.mp4", moving(20), options={"g": "12", "bf": "0"})
    copies = copies_of(short, index, pieces)
    assert sum(len(copy.frames) for copy in copies) == 20
    assert [len(copy.numbers) for copy in copies] == [len(copy.frames) for copy in copies]


@pytest.mark.parametrize("maker", [long_gops, matroska_without_cues, transport_stream])
def test_packets_far_apart_are_reached_in_any_container(maker: Maker, tmp_path: Path) -> None:
    path = maker(tmp_path)
    index = index_source(str(path))
    last = len(index.frames) - 1
    asked = np.array([0, 2 * last // 3, last], np.int64)
    pieces = plan_pieces(index.packets, index.frames, asked, 1)
    straight_packets = packets_of(path)
    needed = np.zeros(len(index.packets.pts), bool)
    needed[np.concatenate([piece.packets for piece in pieces])] = True
    with open_media(str(path)) as container:
        track = PacketTrack(container, container.streams.video[0], index, needed)
        for piece in pieces:
            found = track.take(piece.packets.tolist())
            assert list(found) == piece.packets.tolist()
            assert all(data == straight_packets[at] for at, data in found.items())


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]
