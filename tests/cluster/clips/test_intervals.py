"""Planning clips of one source, without media."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framemill.cluster.clips.intervals import Rules, Shot, Stretch, keep_most, plan_source, strides
from framemill.errors import UsageError

FPS = 25


def shots(*bounds: tuple[float, float, str], broken: dict[int, str] | None = None) -> list[Shot]:
    return [
        Shot(number, start, end, round(start * FPS), round(end * FPS), kind, (broken or {}).get(number, ""))
        for number, (start, end, kind) in enumerate(bounds)
    ]


def whole(shot: Shot) -> Stretch:
    return Stretch(shot.start_seconds, shot.end_seconds, shot.start_frame, shot.end_frame)


def spans(found: list[Stretch]) -> list[tuple[float, float]]:
    return [(round(each.start_seconds, 6), round(each.end_seconds, 6)) for each in found if not each.reason]


def test_a_shot_is_a_clip_with_its_frames() -> None:
    cut = shots((0, 4, "start"), (4, 10, "cut"))
    found = plan_source([whole(shot) for shot in cut], cut, Rules())
    assert [(each.start_frame, each.end_frame, each.scene_index) for each in found] == [
        (0, 100, 0),
        (100, 250, 1),
    ]


def test_what_is_too_long_is_split_evenly_and_what_is_too_short_is_dropped_with_the_reason() -> None:
    cut = shots((0, 25, "start"), (25, 25.4, "cut"))
    found = plan_source([whole(shot) for shot in cut], cut, Rules(max_seconds=10))
    assert spans(found) == [(0, 8.333333), (8.333333, 16.666667), (16.666667, 25)]
    assert [(each.start_frame, each.end_frame) for each in found[:3]] == [
        (0, None),
        (None, None),
        (None, 625),
    ]
    assert found[3].reason == "shorter than 1 s"


def test_where_even_clips_would_be_too_short_the_greatest_that_fit_are_taken() -> None:
    found = plan_source([Stretch(0, 2.7, 0, 68)], [], Rules(1, 1.2))
    assert spans(found) == [(0, 1.2), (1.2, 2.4)]
    assert [(each.reason, each.end_frame) for each in found] == [
        ("", None),
        ("", None),
        ("shorter than 1 s", 68),
    ]


def test_fades_and_dissolves_are_trimmed_on_both_sides_and_cuts_are_not() -> None:
    cut = shots((0, 4, "start"), (4, 8, "dissolve"), (8, 12, "cut"))
    found = plan_source([whole(shot) for shot in cut], cut, Rules())
    assert spans(found) == [(0, 3.5), (4.5, 8), (8, 12)]
    assert [(each.start_frame, each.end_frame) for each in found] == [(0, None), (None, 200), (200, 300)]
    assert spans(plan_source([whole(shot) for shot in cut], cut, Rules(trim_seconds=0))) == [
        (0, 4),
        (4, 8),
        (8, 12),
    ]


def test_no_clip_goes_across_a_cut_unless_that_is_asked_for() -> None:
    cut = shots((0, 4, "start"), (4, 8, "cut"), (8, 12, "cut"))
    stretch = [Stretch(2, 10)]
    assert spans(plan_source(stretch, cut, Rules())) == [(2, 4), (4, 8), (8, 10)]
    assert spans(plan_source(stretch, cut, Rules(across_cuts=True))) == [(2, 10)]


def test_a_filter_drops_the_shots_that_break_it_and_clips_that_touch_such_a_shot() -> None:
    cut = shots((0, 4, "start"), (4, 8, "cut"), (8, 12, "cut"), broken={1: "where"})
    found = plan_source([Stretch(0, 12)], cut, Rules())
    assert spans(found) == [(0, 4), (8, 12)] and found[1].reason == "where"
    assert plan_source([Stretch(0, 12)], cut, Rules(across_cuts=True))[0].reason == "where"


def test_strides_begin_anew_with_each_shot() -> None:
    cut = shots((0, 5, "start"), (5, 9, "cut"))
    assert spans(strides(9.0, cut, 2.0, across_cuts=False)) == [(0, 2), (2, 4), (4, 5), (5, 7), (7, 9)]
    assert spans(strides(9.0, cut, 2.0, across_cuts=True)) == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 9)]


def test_at_most_so_many_of_a_source_are_the_best_or_spread_evenly() -> None:
    plain = [Stretch(float(at), at + 1.0) for at in range(9)]
    kept = [each.start_seconds for each in keep_most(plain, 3) if not each.reason]
    assert kept == [1, 4, 7]
    ranked = [Stretch(float(at), at + 1.0, rank=8 - at) for at in range(9)]
    found = keep_most(ranked, 2)
    assert [each.start_seconds for each in found if not each.reason] == [7, 8]
    assert {each.reason for each in found} == {"", "more than 2 of a source"}


@pytest.mark.parametrize(
    "wrong",
    [{"min_seconds": 0}, {"min_seconds": 5, "max_seconds": 4}, {"trim_seconds": -1}, {"max_per_source": 0}],
)
def test_rules_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"give|must be"):
        Rules(**wrong)  # type: ignore[arg-type]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # of a busy machine
@given(
    st.lists(
        st.tuples(st.floats(0.05, 40), st.sampled_from(["cut", "fade", "dissolve"])), min_size=1, max_size=8
    ),
    st.lists(st.tuples(st.floats(0, 200), st.floats(0.1, 90)), max_size=4),
    st.floats(0.2, 3),
    st.floats(0, 60),
    st.booleans(),
)
def test_clips_keep_to_their_lengths_and_to_one_shot(
    lengths: list[tuple[float, str]],
    asked: list[tuple[float, float]],
    least: float,
    more: float,
    across: bool,
) -> None:
    at, bounds = 0.0, []
    for length, kind in lengths:
        bounds.append((at, at + length, kind))
        at += length
    cut = shots(*bounds)
    rules = Rules(least, least + more, across_cuts=across)
    stretches = [Stretch(start, start + length) for start, length in asked]
    found = plan_source(stretches, cut, rules)
    assert found == plan_source(stretches, cut, rules)
    for each in found:
        if each.reason:
            continue
        assert least - 1e-5 <= each.seconds <= least + more + 1e-5
        assert any(_is_inside(each, s) for s in stretches)
        assert across or any(_is_inside(each, s) for s in cut)


def _is_inside(each: Stretch, one: Stretch | Shot) -> bool:
    return one.start_seconds - 1e-5 <= each.start_seconds and each.end_seconds <= one.end_seconds + 1e-5
