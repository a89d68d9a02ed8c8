"""What runs, with which options, under which keys."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from framemill.cluster.request import ExtractRequest, convert, kinds_of_fields
from framemill.cluster.run.planning import OpsPlan, check_keys, plan_ops
from framemill.errors import UsageError


def _plan(shard_seconds: float = 600.0, **asked: Any) -> OpsPlan:
    return plan_ops(ExtractRequest(sources=("x",), output="out", **asked), shard_seconds)


def _digests(plan: OpsPlan) -> dict[str, str]:
    return {name: op.key["digest"] for name, op in plan.ops.items()}


def test_without_names_the_cheap_operations_run() -> None:
    plan = _plan()
    assert set(plan.ops) == {"media", "frames", "scenes", "audio_levels", "speech"}
    assert plan.added == ()
    assert _digests(plan) == _digests(_plan())


def test_a_key_changes_with_what_changes_rows_and_with_nothing_else() -> None:
    before = _digests(_plan(ops=("frames", "scenes", "audio_levels")))
    ordered = _digests(_plan(ops=("audio_levels", "scenes", "frames")))
    assert ordered == before
    sampled = _digests(_plan(ops=("frames", "scenes", "audio_levels"), sample="every:1"))
    assert {name for name in before if sampled[name] != before[name]} == {"frames"}
    options: dict[str, dict[str, Any]] = {"scenes": {"cut_threshold": 9.0}}
    changed = _digests(_plan(ops=("frames", "scenes", "audio_levels"), options=options))
    assert {name for name in before if changed[name] != before[name]} == {"scenes"}
    options = {"frames": {"images": True, "quality": 80}}  # pictures change no row
    assert _digests(_plan(ops=("frames", "scenes", "audio_levels"), options=options)) == before
    options = {"frames": {"images": True}}  # fills in a column, and changes no row
    assert _digests(_plan(ops=("frames", "scenes", "audio_levels"), options=options)) == before
    assert _digests(_plan(ops=("frames",), threads=7, memory_bytes=1, profile="p")) == {
        "frames": before["frames"]
    }
    assert _digests(_plan(60.0, ops=("frames",))) != {"frames": before["frames"]}


def test_another_way_to_find_scenes_has_a_key_of_its_own() -> None:
    changes = _plan(ops=("scenes",))
    judged = _plan(ops=("scenes",), options={"scenes": {"method": "transnetv2"}})
    assert changes.ops["scenes"].key["models"] == {}
    assert list(judged.ops["scenes"].key["models"]) == ["shot_boundaries"]
    with pytest.raises(UsageError, match=r"table 'scenes' was made differently: .*'method': 'changes'"):
        check_keys(judged, {"scenes": changes.ops["scenes"].key})
    small = _plan(
        ops=("scenes",),
        options={"scenes": {"method": "transnetv2"}},
        models={"shot_boundaries": "transnetv2_w8"},
    )
    with pytest.raises(UsageError, match="made differently: models"):
        check_keys(small, {"scenes": judged.ops["scenes"].key})


def test_a_folder_of_before_an_option_was_new_is_gone_on_with() -> None:
    old = copy.deepcopy(_plan(ops=("scenes",)).ops["scenes"].key)
    for option in ("method", "transition_probability"):
        del old["options"][option]
    old["digest"] = "of before"
    asked = ExtractRequest(sources=("x",), output="out", ops=("scenes",))
    plan = plan_ops(asked, 600.0, {"scenes": old})
    assert plan.ops["scenes"].key == old
    check_keys(plan, {"scenes": old})
    other = {**old, "version": old["version"] - 1}
    assert plan_ops(asked, 600.0, {"scenes": other}).ops["scenes"].key != other
    judged = ExtractRequest(
        sources=("x",), output="out", ops=("scenes",), options={"scenes": {"method": "transnetv2"}}
    )
    assert plan_ops(judged, 600.0, {"scenes": old}).ops["scenes"].key["options"]["method"] == "transnetv2"


def test_options_are_typed_as_the_operation_declares() -> None:
    for value in (True, "true", "yes", "1"):
        assert (
            _plan(ops=("frames",), options={"frames": {"images": value}}).ops["frames"].options["images"]
            is True
        )
    for value in ("maybe", 2, 0.5):
        with pytest.raises(UsageError, match=r"frames\.images"):
            _plan(ops=("frames",), options={"frames": {"images": value}})
    typed = (
        _plan(ops=("scenes",), options={"scenes": {"cut_threshold": "3"}})
        .ops["scenes"]
        .options["cut_threshold"]
    )
    assert (typed, type(typed)) == (3.0, float)


def test_the_policy_scenes_takes_two_stages_and_adds_scenes() -> None:
    plan = _plan(ops=("frames", "audio_levels"), sample="scenes")
    assert plan.added == ("scenes",)
    assert plan.stages() == [["scenes", "audio_levels"], ["frames"]]
    assert plan.ops["frames"].key["after"] == {"scenes": plan.ops["scenes"].key["digest"]}
    # Other shots pick other frames.
    other = _plan(ops=("frames",), sample="scenes", options={"scenes": {"cut_threshold": 9.0}})
    assert other.ops["frames"].key["digest"] != plan.ops["frames"].key["digest"]
    assert len(_plan(ops=("frames", "scenes")).stages()) == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"ops": ("frame",)}, r"'frame' \(did you mean 'frames', .*framemill ops"),
        ({"ops": ("frames",), "options": {"scenes": {}}}, "add it to `ops`"),
        ({"ops": ("frames",), "options": {"frames": {"image": True}}}, r"'image'.*images"),
        ({"ops": ("frames",), "models": {"objects": "x"}}, r"`models=\{'objects': \.\.\.\}`"),
        ({"ops": ("frames",), "sample": "often"}, "often"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _plan(**asked)


def test_a_shared_file_may_name_what_does_not_run_but_nothing_unknown() -> None:
    shared: dict[str, Any] = {"options": {"objects": {"score": 0.5}}, "models": {"sounds": "yamnet"}}
    plan = _plan(ops=("frames",), **shared, spare=("objects", "sounds"))
    assert list(plan.ops) == ["frames"]
    with pytest.raises(UsageError, match=r"`models=\{'sounds': \.\.\.\}`"):
        _plan(ops=("frames",), **shared, spare=("objects",))
    for wrong, said in (
        ({"options": {"objects": {"scores": 0.5}}}, r"no option 'scores'; .*score"),
        ({"options": {"object": {}}}, "unknown operation 'object'"),
        ({"models": {"sounds": "yamet"}}, "no model 'yamet'"),
        ({"models": {"sound": "yamnet"}}, "unknown model role 'sound'"),
    ):
        with pytest.raises(UsageError, match=said):
            _plan(ops=("frames",), **wrong, spare=("objects", "object", "sounds", "sound"))


def test_a_difference_is_named() -> None:
    plan = _plan(ops=("frames",), sample="every:1")
    held = {"frames": copy.deepcopy(dict(_plan(ops=("frames",)).ops["frames"].key))}
    with pytest.raises(UsageError, match=r"sampling is 'keyframes' there and 'every:1' here.*`replace`"):
        check_keys(plan, held)
    check_keys(plan, {"frames": plan.ops["frames"].key, "scenes": {"digest": "another"}})


def test_tracks_are_part_of_a_key_only_where_they_are_named() -> None:
    plain, german = _plan(ops=("frames",)), _plan(ops=("frames",), audio_track="ger")
    assert "tracks" not in plain.ops["frames"].key
    assert german.ops["frames"].key["tracks"] == {"audio": "ger"}
    for here, there, said in ((plain, german, "there and None here"), (german, plain, "None there and")):
        with pytest.raises(UsageError, match=f"tracks is .*{said}"):
            check_keys(here, {"frames": there.ops["frames"].key})


@pytest.mark.parametrize("track", ["-1", "first one", "1.5", "x", "../eng", "12345"])
def test_a_track_is_an_index_or_a_language(track: str) -> None:
    kind = kinds_of_fields()["video_track"]
    with pytest.raises(UsageError, match="is not the index of a stream as a text"):
        convert("video_track=", track, kind)


@pytest.mark.parametrize("track", ["", "0", "12", "de", "ger", "pt-BR", "zh-Hant-TW"])
def test_what_names_a_track(track: str) -> None:
    assert convert("audio_track=", track, kinds_of_fields()["audio_track"], is_text=True) == track


def test_a_folder_of_another_version_is_told_how_it_is_computed_anew() -> None:
    asked = ("objects", "tracks", "frames")
    now = _plan(ops=asked)
    held = {name: dict(op.key) for name, op in now.ops.items()}
    older = {name: key | {"decode_version": 1, "digest": "older"} for name, key in held.items()}
    with pytest.raises(
        UsageError, match=r"another version.*frames: version of the decode rules 1 there and"
    ) as told:
        check_keys(now, older)
    assert "--replace" in str(told.value) and all(name in str(told.value) for name in asked)
    # Only one operation has changed, and what is made from its rows.
    older = held | {
        "objects": held["objects"] | {"version": 0, "digest": "older"},
        "tracks": held["tracks"] | {"after": {"objects": "older"}, "digest": "older"},
    }
    with pytest.raises(
        UsageError, match=r"\(objects: version of the operation 0 there and \d+ here; tracks: made"
    ):
        check_keys(now, older)
    # Settings that differ are another matter, whatever else does.
    older["frames"] = held["frames"] | {"sampling": "all", "version": 0, "digest": "older"}
    with pytest.raises(UsageError, match=r"made differently.*sampling is 'all' there"):
        check_keys(now, older)


def test_tracks_follow_what_is_asked_for() -> None:
    for asked, followed in (
        (("tracks",), ("objects",)),
        (("faces", "tracks"), ("faces",)),
        (("objects", "faces", "tracks"), ("objects", "faces")),
        (("tracks", "emotions"), ("objects",)),
    ):
        plan = _plan(ops=asked)
        assert plan.ops["tracks"].after == ("frames", *followed)
        assert set(plan.ops["tracks"].key["after"]) == {"frames", *followed}
        assert ("faces" in plan.ops) == bool({"faces", "emotions"} & set(asked))
