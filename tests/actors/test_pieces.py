"""Pieces: every frame asked for is in one of them, which can be decoded, and no packet is decoded twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.actors.indexing import PacketIndex
from framemill.actors.pieces import PIECE_BYTES, plan_pieces
from framemill.actors.plan import Sampling, sample_frames
from framemill.ops.chunks import FrameIndex


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


def least_packets(packets: PacketIndex, wanted: list[int]) -> int:
    """Packets between each wanted frame and the key it leans on, each counted once, frame by frame."""
    needed: set[int] = set()
    for frame in wanted:
        at = int(np.flatnonzero(packets.frame == frame)[0])
        key = int(np.flatnonzero(packets.is_key[: at + 1])[-1])
        if packets.pts[at] < packets.pts[key] and key:
            key = int(np.flatnonzero(packets.is_key[:key])[-1])  # it leans on the group before
        needed |= {i for i in range(key, at + 1) if packets.pts[i] >= packets.pts[key]}
    return len(needed)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
    st.integers(0, 3),
    st.integers(1, 12),
    st.data(),
)
def test_every_frame_is_in_one_piece_that_can_be_decoded(
    groups: list[int], leading: int, max_frames: int, data: Any
) -> None:
    packets, frames = indexes(groups, leading)
    wanted = np.array(sorted(data.draw(st.sets(st.integers(0, len(frames) - 1), min_size=1))), np.int64)
    pieces = plan_pieces(packets, frames, wanted, max_frames)
    assert np.concatenate([piece.frames for piece in pieces]).tolist() == wanted.tolist()
    for piece in pieces:
        num_keys = int(packets.is_key[piece.packets].sum())
        assert len(piece.frames) <= max_frames or num_keys == 1 or leading
        assert packets.is_key[piece.packets[0]] and (np.diff(piece.packets) > 0).all()
        assert set(piece.frames.tolist()) <= set(packets.frame[piece.packets].tolist())
        held = set(piece.packets.tolist())
        for frame in piece.frames.tolist():
            at = int(np.flatnonzero(packets.frame == frame)[0])
            key = int(np.flatnonzero(packets.is_key[: at + 1])[-1])
            if packets.pts[at] < packets.pts[key] and key:
                key = int(np.flatnonzero(packets.is_key[:key])[-1])
            assert {i for i in range(key, at + 1) if packets.pts[i] >= packets.pts[key]} <= held
    together = np.concatenate([piece.packets for piece in pieces]).tolist()
    assert len(together) == len(set(together)), "a packet in two pieces is decoded twice"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=12),
    st.integers(0, 3),
    st.sampled_from([0.04, 0.2, 0.5, 1.0, 2.0]),
    st.sampled_from([1, 4, 16, 64]),
)
def test_sampled_frames_cost_no_more_packets_than_they_must(
    groups: list[int], leading: int, interval: float, max_frames: int
) -> None:
    packets, frames = indexes(groups, leading)
    wanted = sample_frames(frames, Sampling("every", interval))
    pieces = plan_pieces(packets, frames, wanted, max_frames)
    cost = sum(len(piece.packets) for piece in pieces)
    assert cost <= 1.05 * least_packets(packets, wanted.tolist())


def test_a_piece_stays_below_its_limit_of_bytes() -> None:
    packets, frames = indexes([10] * 20, packet_bytes=PIECE_BYTES // 25)
    pieces = plan_pieces(packets, frames, np.arange(200), 1000)
    assert len(pieces) == 10 and all(len(piece.packets) == 20 for piece in pieces)


@pytest.mark.parametrize("max_frames", [1, 24, 25, 99])
def test_a_long_group_is_one_piece_whatever_fits(max_frames: int) -> None:
    packets, frames = indexes([5, 100, 5])
    pieces = plan_pieces(packets, frames, np.arange(5, 105), max_frames)
    assert [(len(piece.frames), len(piece.packets)) for piece in pieces] == [(100, 100)]
