"""Sampling policies and decode plans, against models that are too simple to be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framemill.actors.indexing import PacketIndex
from framemill.actors.plan import Sampling, parse_sampling, plan_decode, sample_frames
from framemill.errors import UsageError
from framemill.ops.chunks import FrameIndex


def frame_index(times: list[float], keys: list[bool] | None = None) -> FrameIndex:
    seconds = np.array(times, np.float64)
    is_key = np.array(keys if keys is not None else [i == 0 for i in range(len(times))], bool)
    pts = np.round(seconds * 1000).astype(np.int64)
    return FrameIndex(pts, seconds, is_key, np.ones(len(times), np.int64))


@st.composite
def times(draw: st.DrawFn) -> list[float]:
    steps = draw(st.lists(st.integers(1, 400), min_size=1, max_size=60))
    return (np.cumsum(steps) / 1000 - draw(st.sampled_from([0.0, steps[0] / 1000]))).tolist()


@given(times(), st.sampled_from([0.001, 0.04, 0.1, 0.3, 0.5, 1.0, 7.0]))
def test_every_takes_the_last_frame_at_or_before_each_tick(when: list[float], interval: float) -> None:
    picked = sample_frames(frame_index(when), Sampling("every", interval)).tolist()
    step = float(np.median(np.diff(when))) if len(when) > 1 else 0.0
    expected, number = set(), 0
    while number * interval < when[-1] + max(step, 1e-9):
        before = [i for i, t in enumerate(when) if t <= number * interval + 1e-6]
        expected.add(before[-1] if before else 0)
        number += 1
    assert picked == sorted(expected)


@given(times(), st.data())
def test_other_policies_pick_what_they_say(when: list[float], data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.booleans(), min_size=len(when), max_size=len(when)))
    index = frame_index(when, keys)
    assert sample_frames(index, Sampling("all")).tolist() == list(range(len(when)))
    assert sample_frames(index, Sampling("keyframes")).tolist() == (
        [i for i, k in enumerate(keys) if k] or [0]
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, len(when)), max_size=5)) | {0, len(when)})
    shots = np.array([cuts[:-1], cuts[1:]], np.int64).T
    picked = sample_frames(index, Sampling("scenes"), shots)
    assert len(picked) == len(shots)
    assert ((picked >= shots[:, 0]) & (picked < shots[:, 1])).all()


@pytest.mark.parametrize("kind", ["all", "keyframes", "every", "scenes"])
def test_nothing_is_picked_of_nothing(kind: str) -> None:
    none = np.zeros((0, 2), np.int64)
    assert sample_frames(frame_index([]), Sampling(kind, 1.0), none).tolist() == []


@pytest.mark.parametrize("text", ["keyframes", "scenes", "all", "every:0.5", "every:86400", "every:1e-3"])
def test_policies_parse(text: str) -> None:
    sampling = parse_sampling(text)
    assert sampling.kind == text.partition(":")[0]
    assert sampling.seconds == float(text.partition(":")[2] or 0)


@pytest.mark.parametrize(
    "text",
    ["", "every", "every:", "every:0", "every:-1", "every:nan", "every:inf", "every:x", "all:1", "Keyframes"],
)
def test_other_texts_are_refused_with_the_value(text: str) -> None:
    with pytest.raises(UsageError, match=f"`sample='{text}'`"):
        parse_sampling(text)


@st.composite
def streams(draw: st.DrawFn) -> PacketIndex:
    """GOPs of a key and frames after it, some of which are shown before it (open) or not at all."""
    pts: list[int] = []
    keys: list[bool] = []
    shown: list[bool] = []
    now = 0
    for number in range(draw(st.integers(1, 6))):
        leading = draw(st.integers(0, 3)) if number else 0
        behind = draw(st.integers(0, 5))
        order = list(draw(st.permutations(range(behind))))
        pts += [now + leading, *range(now, now + leading), *(now + leading + 1 + n for n in order)]
        keys += [True] + [False] * (leading + behind)
        shown += [True] + [draw(st.integers(0, 9)) > 0 for _ in range(leading + behind)]
        now += 1 + leading + behind
    order_shown = sorted(p for p, s in zip(pts, shown, strict=True) if s)
    frame = [order_shown.index(p) if s else -1 for p, s in zip(pts, shown, strict=True)]
    return PacketIndex(np.array(pts, np.int64), np.array(keys, bool), np.array(frame, np.int64))


@given(streams(), st.data())
def test_a_plan_decodes_what_its_frames_need(packets: PacketIndex, data: st.DataObject) -> None:
    num_frames = int(packets.frame.max()) + 1
    chosen = sorted(data.draw(st.sets(st.integers(0, num_frames - 1))))
    plan = plan_decode(packets, np.array(chosen, np.int64))
    assert sorted(packets.frame[plan.wanted].tolist()) == chosen
    assert (plan.needed | ~plan.wanted).all(), "what is wanted is needed"
    assert (packets.is_key | ~plan.restart).all(), "a decoder starts at a key"
    assert (plan.needed | ~plan.restart).all()
    expected = np.zeros(len(packets.pts), bool)
    for position in np.flatnonzero(plan.wanted):
        keys = [k for k in np.flatnonzero(packets.is_key) if k <= position]
        start = keys[-1]
        if packets.pts[position] < packets.pts[start] and len(keys) > 1:
            start = keys[-2]  # a leading picture refers to the group before
        expected[start : position + 1] = True
    assert plan.needed.tolist() == expected.tolist()
    after_gap = plan.needed & ~np.concatenate(([False], plan.needed[:-1]))
    assert plan.restart.tolist() == after_gap.tolist()


def test_a_stream_that_starts_without_a_key_is_tried_from_its_first_packet() -> None:
    packets = PacketIndex(np.arange(4), np.array([False, False, True, False]), np.arange(4))
    plan = plan_decode(packets, np.array([1]))
    assert plan.needed.tolist() == [True, True, False, False]


def test_no_frames_need_no_packets() -> None:
    packets = PacketIndex(np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.int64))
    for index in (packets, PacketIndex(np.arange(3), np.ones(3, bool), np.arange(3))):
        plan = plan_decode(index, np.zeros(0, np.int64))
        assert not plan.needed.any() and not plan.wanted.any() and len(plan.restart) == len(index.pts)
