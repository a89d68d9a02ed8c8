"""Which operations can go on after others failed: one rule for driver, worker, actor and coordinator."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from framemill.ops import OPS, load_op
from framemill.ops.operation import runnable


def test_what_builds_on_a_failure_is_left_out_and_so_is_what_builds_on_that() -> None:
    needs = {"faces": (), "emotions": ("faces",), "people": ("emotions",), "frames": ()}
    assert runnable(needs, {"faces"}) == (["faces", "frames"], {"emotions": "faces", "people": "emotions"})
    assert runnable(needs, ()) == (list(needs), {})


def test_the_first_missing_need_is_named() -> None:
    assert runnable({"c": ("a", "b")}, {"b", "a"}) == ([], {"c": "a"})


def test_what_an_operation_can_do_without_is_no_need() -> None:
    importance = load_op("importance")
    assert importance.may_fail and not set(importance.may_fail) & set(importance.required(importance.after))
    for name in OPS:
        kind = load_op(name)
        assert {*kind.required(kind.after), *kind.may_fail} == set(kind.after)


@given(st.data())
def test_nobody_runs_without_its_needs_and_nobody_waits_for_nothing(data: st.DataObject) -> None:
    names = [f"op{i}" for i in range(data.draw(st.integers(1, 8)))]
    needs = {
        name: tuple(data.draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else ())
        for i, name in enumerate(names)
    }
    failed = data.draw(st.sets(st.sampled_from([*names, "elsewhere"])))
    able, broken = runnable(needs, failed)
    assert [*able, *broken] == sorted([*able, *broken], key=lambda name: (name in broken, names.index(name)))
    assert set(able) | set(broken) == set(names) and not set(able) & set(broken)
    for name in able:
        assert not set(needs[name]) & (failed | set(broken))
    for name, need in broken.items():
        assert need in needs[name] and need in failed | set(broken)
