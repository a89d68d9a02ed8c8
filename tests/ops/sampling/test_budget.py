"""What adaptive sampling owes whatever the file and the budget."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.errors import UsageError
from framemill.ops.chunks import FrameIndex
from framemill.ops.sampling.adaptive import Sampling, SamplingOptions
from framemill.ops.sampling.budget import DENSE, FINEST_SECONDS, PER_SHOT, Limits, Stretch, plan_frames
from framemill.ops.sampling.importance_curve import TIERS
from tests.ops.stand_ins import shard


def index_of(num_frames: int, fps: float = 25.0, key_every: int = 50) -> FrameIndex:
    position = np.arange(num_frames, dtype=np.int64)
    return FrameIndex(
        position, position / fps, position % key_every == 0, np.full(num_frames, 1000, np.int64)
    )


@st.composite
def files(draw: st.DrawFn) -> tuple[FrameIndex, list[Stretch]]:
    """A file cut into stretches of random tiers, some of which begin a new shot."""
    lengths = draw(st.lists(st.integers(1, 200), min_size=1, max_size=25))
    stretches, start, shot = [], 0, 0
    for number, length in enumerate(lengths):
        shot += number > 0 and draw(st.booleans())
        peak = start + draw(st.integers(0, length - 1))
        tier = draw(st.sampled_from(TIERS))
        stretches.append(Stretch(start, start + length, shot, tier, draw(st.floats(0, 1)), peak, tier))
        start += length
    return index_of(start, draw(st.sampled_from([5.0, 25.0]))), stretches


limits = st.builds(
    Limits,
    budget=st.integers(1, 150),
    max_segments=st.integers(0, 6),
    max_segment_frames=st.integers(1, 12),
    floor_seconds=st.sampled_from([1.0, 7.5, 30.0, 1000.0]),
)


@settings(deadline=None)
@given(files(), limits)
def test_what_a_plan_owes(file: tuple[FrameIndex, list[Stretch]], limits: Limits) -> None:
    index, stretches = file
    picks = plan_frames(index, stretches, limits)
    frames = [pick.frame_index for pick in picks]
    assert frames == sorted(set(frames)) and frames[0] >= 0 and frames[-1] < len(index)
    floor = [pick for pick in picks if pick.is_floor]
    assert len(picks) <= max(limits.budget, len(floor)), "only the floor may exceed the budget"
    shot_of = {f: s.shot_index for s in stretches for f in range(s.start_frame, s.end_frame)}
    assert {shot_of[f] for f in frames} == set(shot_of.values()), "a frame in every shot"
    pieces = np.floor((index.pts_seconds - index.pts_seconds[0]) / limits.floor_seconds + 1e-5)
    assert set(pieces[frames]) == set(pieces), "a frame in every piece"
    tier_of = {f: s.tier for s in stretches for f in range(s.start_frame, s.end_frame)}
    for pick in picks:
        assert pick.tier == tier_of[pick.frame_index] or (
            pick.tier == "medium" and tier_of[pick.frame_index] in DENSE
        )
        assert pick.reason
    assert plan_frames(index, stretches, limits) == picks


def test_segments_are_bounded_in_number_and_in_frames() -> None:
    index = index_of(25 * 60)
    edges = list(range(0, 1500, 75))
    stretches = [
        Stretch(a, a + 75, 0, "critical" if k % 2 else "minimal", k / 20, a + 30, "x")
        for k, a in enumerate(edges)
    ]
    wide = Limits(budget=200, max_segments=3, max_segment_frames=4, floor_seconds=1000.0)
    picks = plan_frames(index, stretches, wide)
    close = [pick for pick in picks if pick.tier == "critical"]
    inside = {pick.frame_index // 75 for pick in close}
    assert inside == {19, 17, 15}, "the most important three"
    assert all(sum(pick.frame_index // 75 == segment for pick in close) == 4 for segment in inside)
    seconds = index.pts_seconds[[pick.frame_index for pick in picks]]
    assert np.diff(seconds).min() >= FINEST_SECONDS - 1.5 / 25


def test_the_floor_takes_key_frames_where_nothing_stands_out_and_peaks_elsewhere() -> None:
    index = index_of(500)
    plain = Stretch(0, 400, 0, "minimal", 0.0, 3, "nothing")
    busy = Stretch(400, 500, 1, "high", 0.9, 477, "movement")
    picks = plan_frames(
        index, [plain, busy], Limits(budget=1, max_segments=8, max_segment_frames=9, floor_seconds=100.0)
    )
    assert [(p.frame_index, p.tier, p.is_floor) for p in picks] == [
        (200, "minimal", True),
        (477, "high", True),
    ]
    assert picks[1].reason == f"{PER_SHOT}: movement"


def test_what_is_sudden_comes_before_an_even_spread() -> None:
    index = index_of(25 * 100)
    stretches = []
    for k in range(50):
        tier = "critical" if k in (11, 12, 33) else "minimal"
        stretches.append(Stretch(k * 50, k * 50 + 50, 0, tier, 0.5 + (k == 33) / 4, k * 50 + 7, tier))
    found = plan_frames(
        index, stretches, Limits(budget=4, max_segments=8, max_segment_frames=24, floor_seconds=1e4)
    )
    assert {557, 607, 1657} <= {pick.frame_index for pick in found}


def test_nothing_gives_nothing() -> None:
    limits = Limits(budget=5, max_segments=1, max_segment_frames=1, floor_seconds=1.0)
    assert plan_frames(index_of(0), [], limits) == []


def test_rows_are_the_plan() -> None:
    rows = pa.table(
        {
            "start_frame": [30, 0],
            "end_frame": [60, 30],
            "shot_index": [1, 0],
            "tier": ["critical", "low"],
            "importance": [0.9, 0.1],
            "peak_frame": [44, 10],
            "reason": ["movement", "nothing stands out"],
        }
    )
    table = Sampling(SamplingOptions(budget=2), {}).combine({"importance": rows}, shard(60, 8, 8, 6.0))
    assert table["frame_index"].to_pylist() == [15, 44]
    assert table["pts_seconds"].to_pylist() == [1.5, 4.4]
    assert table["tier"].to_pylist() == ["low", "critical"]


@pytest.mark.parametrize(
    "wrong",
    [{"budget": 0}, {"max_segments": -1}, {"max_segment_frames": 0}, {"floor_seconds": 0.0}],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=rf"sampling\.{next(iter(wrong))}"):
        SamplingOptions(**wrong)  # type: ignore[arg-type]
