"""Stream copies: every frame asked for is in one of them, under a number that exists."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.actors.dali_copies import COPY_BYTES, MAX_READS, copy_pieces, plan_pieces
from framemill.actors.indexing import PacketIndex, index_source
from framemill.actors.safe_open import open_media
from framemill.ops.chunks import FrameIndex
from tests.actors.clips import moving, write_clip
from tests.actors.reading import digest, straight


def indexes(groups: list[int], leading: int = 0, packet_bytes: int = 1000) -> tuple[PacketIndex, FrameIndex]:
    """Groups of pictures of these lengths; behind each key packet but the first, some are shown before it."""
    pts: list[int] = []
    keys: list[bool] = []
    for length in groups:
        early = min(leading, length - 1) if pts else 0
        start = len(pts)
        pts += [start + early, *range(start, start + early), *range(start + early + 1, start + length)]
        keys += [True] + [False] * (length - 1)
    times = np.array(pts)
    order = np.argsort(times)
    frame = np.empty(len(times), np.int64)
    frame[order] = np.arange(len(times))
    frames = FrameIndex(
        np.sort(times), np.sort(times) / 25, np.array(keys)[order], np.full(len(times), packet_bytes)
    )
    return PacketIndex(times, np.array(keys), frame), frames


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
    st.integers(0, 3),
    st.integers(3, 12),
    st.data(),
)
def test_every_frame_is_in_one_piece_that_can_be_decoded(
    groups: list[int], leading: int, max_frames: int, data: Any
) -> None:
    packets, frames = indexes(groups, leading)
    wanted = np.array(sorted(data.draw(st.sets(st.integers(0, len(frames) - 1), min_size=1))), np.int64)
    pieces = plan_pieces(packets, frames, wanted, max_frames)
    if pieces is None:
        assert max(groups) + leading > MAX_READS * max_frames or 2 * max(groups) > MAX_READS * max_frames
        return
    assert sorted(np.concatenate([piece.frames for piece in pieces]).tolist()) == wanted.tolist()
    for piece in pieces:
        assert len(piece.frames) <= max_frames
        assert packets.is_key[piece.packets[0]] and (np.diff(piece.packets) > 0).all()
        assert set(piece.frames.tolist()) <= set(packets.frame[piece.packets].tolist())
        for frame in piece.frames.tolist():
            at = int(np.flatnonzero(packets.frame == frame)[0])
            key = int(np.flatnonzero(packets.is_key[: at + 1])[-1])
            if packets.pts[at] < packets.pts[key] and key:
                key = int(np.flatnonzero(packets.is_key[:key])[-1])  # it leans on the group before
            held = set(piece.packets.tolist())
            needed = [i for i in range(key, at + 1) if packets.pts[i] >= packets.pts[key]]
            assert set(needed) <= held


def test_a_piece_stays_below_its_limit_of_bytes() -> None:
    packets, frames = indexes([10] * 20, packet_bytes=COPY_BYTES // 25)
    pieces = plan_pieces(packets, frames, np.arange(200), 1000)
    assert pieces is not None and len(pieces) == 10
    assert all(len(piece.packets) == 20 for piece in pieces)


def test_a_long_group_is_read_a_few_times_or_not_at_all() -> None:
    packets, frames = indexes([100])
    pieces = plan_pieces(packets, frames, np.arange(100), 25)
    assert pieces is not None and [len(p.frames) for p in pieces] == [25] * 4
    assert plan_pieces(packets, frames, np.arange(100), 24) is None


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
    assert pieces is not None
    found = {}
    with open_media(str(reordered)) as container:
        for copy in copy_pieces(container, container.streams.video[0], index.packets, pieces):
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
    assert pieces is not None
    short = write_clip(tmp_path / "short.mp4", moving(20), options={"g": "12", "bf": "0"})
    with open_media(str(short)) as container:
        copies = list(copy_pieces(container, container.streams.video[0], index.packets, pieces))
    assert sum(len(copy.frames) for copy in copies) == 20
    assert [len(copy.numbers) for copy in copies] == [len(copy.frames) for copy in copies]
