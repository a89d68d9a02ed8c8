"""Shards cover a source once, start at keys, and depend on the index alone."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from framemill.actors.shards import cut_shards
from framemill.ops.chunks import FrameIndex

NOTHING = FrameIndex(*(np.zeros(0, kind) for kind in (np.int64, np.float64, bool, np.int64)))


@st.composite
def indices(draw: st.DrawFn) -> FrameIndex:
    steps = draw(st.lists(st.integers(10, 3000), min_size=1, max_size=120))
    seconds = (np.cumsum(steps) - steps[0]) / 1000
    keys = [True] + [draw(st.integers(0, 4)) == 0 for _ in steps[1:]]
    return FrameIndex(
        np.round(seconds * 1000).astype(np.int64), seconds, np.array(keys), np.ones(len(steps), np.int64)
    )


@given(indices(), st.booleans(), st.sampled_from([1.0, 5.0, 20.0]))
def test_frames_are_covered_once_and_pieces_start_at_keys(
    frames: FrameIndex, has_sound: bool, length: float
) -> None:
    duration = float(frames.pts_seconds[-1]) + 0.04
    shards = cut_shards(frames, has_sound, duration, length)
    assert shards == cut_shards(frames, has_sound, duration, length)
    pictures = [s for s in shards if s.end_frame > s.start_frame]
    assert pictures[0].start_frame == 0 and pictures[-1].end_frame == len(frames)
    assert all(a.end_frame == b.start_frame for a, b in itertools.pairwise(pictures))
    assert all(frames.is_key[s.start_frame] for s in pictures)
    assert sum(s.with_sound for s in shards) == has_sound
    assert all(s.seconds > 0 for s in pictures)
    sound_apart = has_sound and len(pictures) > 1
    assert len(shards) == len(pictures) + sound_apart
    assert not sound_apart or (shards[0].with_sound and shards[0].seconds == duration)
    assert np.isclose(sum(s.seconds for s in pictures), duration)


@given(indices(), st.sampled_from([1.0, 5.0]))
def test_no_piece_is_longer_than_its_keys_force(frames: FrameIndex, length: float) -> None:
    for shard in cut_shards(frames, False, float(frames.pts_seconds[-1]) + 0.04, length):
        inside = frames.pts_seconds[shard.start_frame : shard.end_frame]
        late = np.flatnonzero(
            frames.is_key[shard.start_frame : shard.end_frame] & (inside - inside[0] > 2 * length)
        )
        # A key far inside would have been the cut, but for the last piece, which may be half as long again.
        assert len(late) == 0 or shard.end_frame == len(frames)


def test_sound_alone_is_one_piece() -> None:
    (shard,) = cut_shards(NOTHING, True, 7200.0, 600.0)
    assert shard.with_sound and shard.seconds == 7200.0 and shard.start_frame == shard.end_frame == 0
