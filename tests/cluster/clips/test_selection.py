"""Which clips are planned of a result folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.cluster.clips.intervals import Rules
from framemill.cluster.clips.selection import Selection, dropped_by, plan_clips
from framemill.cluster.results.dataset import Dataset
from framemill.errors import UsageError
from tests.cluster.results.hand_made import make_folder


def scene(index: int, start: float, end: float, transition: str = "cut") -> dict[str, object]:
    return {
        "scene_index": index, "start_seconds": start, "end_seconds": end, "start_frame": round(start * 25),
        "end_frame": round(end * 25), "transition": "start" if not index else transition,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Dataset:
    scenes = {"a": [scene(0, 0, 4), scene(1, 4, 10)], "b": [scene(0, 0, 6), scene(1, 6, 6.5)]}
    faces = {
        "a": [{"frame_index": 10, "pts_seconds": 0.4, "box": {"x0": 0, "y0": 0, "x1": 50, "y1": 50}}],
        "b": [],
    }
    best = {"a": [{"rank": 0, "start_seconds": 5.0, "end_seconds": 7.0, "score": 0.9},
                  {"rank": 1, "start_seconds": 1.0, "end_seconds": 3.0, "score": 0.4}]}  # fmt: skip
    media = {"a": [{"uri": "/videos/a.mp4", "width": 100, "height": 100}]}
    tables = {"scenes": scenes, "faces": faces, "highlights": best, "media": media}
    return make_folder(tmp_path / "out", tables, durations={"a": 10.0, "b": 6.5})


def spans(dataset: Dataset, selection: Selection) -> dict[str, list[tuple[float, float]]]:
    found = plan_clips(dataset, selection)
    return {
        source: [(each.start_seconds, each.end_seconds) for each in own if not each.reason]
        for source, own in found.clips.items()
    }


def test_every_shot_is_a_clip_and_what_is_dropped_has_its_reason(folder: Dataset) -> None:
    found = plan_clips(folder, Selection())
    assert spans(folder, Selection()) == {"a": [(0, 4), (4, 10)], "b": [(0, 6)]}
    assert dropped_by(found.clips) == {"shorter than 1 s": 1}


def test_a_condition_on_shots_drops_those_for_which_it_is_false_or_unknown(folder: Dataset) -> None:
    found = plan_clips(folder, Selection(where="num_faces > 0 -- at least one"))
    assert dropped_by(found.clips) == {"where": 3}
    assert spans(folder, Selection(where="num_faces > 0")) == {"a": [(0, 4)], "b": []}
    assert spans(folder, Selection(where="sharpness > 0")) == {"a": [], "b": []}


def test_each_rule_counts_what_it_was_the_first_to_drop(folder: Dataset) -> None:
    selection = Selection(where="duration_seconds > 5", profiles=("people",))
    assert dropped_by(plan_clips(folder, selection).clips) == {"profile people": 3, "where": 1}


def test_the_profile_of_motion_takes_the_speed_of_shots_and_else_the_change_of_pictures(
    tmp_path: Path,
) -> None:
    scenes = {"a": [scene(n, 4 * n, 4 * n + 4) for n in range(5)]}
    amounts = (0.2, 0.001, 3.0, None, None)
    moved = [{"scene_index": n, "amount": amount} for n, amount in enumerate(amounts)]
    stretches = [
        {"start_seconds": 4.0 * n, "end_seconds": 4.0 * n + 4, "difference": change}
        for n, change in enumerate((0.5, 5.0, 5.0, 5.0, 0.5))
    ]
    chosen = Selection(profiles=("motion",))

    def of(name: str, **more: object) -> list[tuple[float, float]]:
        return spans(make_folder(tmp_path / name, {"scenes": scenes, **more}, durations={"a": 20.0}), chosen)[
            "a"
        ]  # type: ignore[dict-item]

    assert of("both", motion={"a": moved}, stretches={"a": stretches}) == [(0, 4), (12, 16)]
    assert of("speed", motion={"a": moved}) == [(0, 4)]
    assert of("change", stretches={"a": stretches}) == [(4, 8), (8, 12), (12, 16)]
    with pytest.raises(UsageError, match="--ops scenes,motion"):
        of("neither")


def test_highlights_strides_tables_and_queries_are_plans(folder: Dataset) -> None:
    assert spans(folder, Selection("highlights")) == {"a": [(1, 3), (5, 7)]}
    assert spans(folder, Selection("stride:2"))["a"] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    across = Rules(across_cuts=True)
    assert spans(folder, Selection("stride:4", across)) == {
        "a": [(0, 4), (4, 8), (8, 10)],
        "b": [(0, 4), (4, 6.5)],
    }
    query = "SELECT '/videos/a.mp4' AS uri, 3 AS start_seconds, 6 AS end_seconds"
    assert spans(folder, Selection(query)) == {"a": [(3, 4), (4, 6)]}
    assert spans(folder, Selection(query, across)) == {"a": [(3, 6)]}
    assert spans(folder, Selection("scenes", across))["b"] == [(0, 6)]


def test_the_best_highlights_stay_where_a_source_may_give_only_some(folder: Dataset) -> None:
    from framemill.cluster.clips.intervals import keep_most

    own = plan_clips(folder, Selection("highlights")).clips["a"]
    assert [each.start_seconds for each in keep_most(own, 1) if not each.reason] == [5.0]


def test_strides_across_cuts_need_no_shots(tmp_path: Path) -> None:
    dataset = make_folder(tmp_path / "out", {"frames": {"a": []}}, durations={"a": 5.0})
    assert spans(dataset, Selection("stride:2", Rules(across_cuts=True))) == {"a": [(0, 2), (2, 4), (4, 5)]}
    with pytest.raises(UsageError, match="--ops scenes"):
        plan_clips(dataset, Selection("stride:2"))


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (Selection("shot"), "shot"),
        (Selection("stride:x"), r"as in stride:5"),
        (Selection("stride:90"), "no clips of 1 to 60 s"),
        (Selection("a-plan"), "another table"),
        (Selection(where="nothing > 1"), "nothing"),
        (Selection(profiles=("clear",)), "did you mean 'clean'"),
        (Selection(profiles=("speech",)), "--ops scenes,transcript"),
        (Selection("SELECT 1 AS start_seconds, 2 AS end_seconds"), "source_id"),
    ],
)
def test_what_cannot_be_planned_is_told_with_the_remedy(
    folder: Dataset, selection: Selection, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        plan_clips(folder, selection)
