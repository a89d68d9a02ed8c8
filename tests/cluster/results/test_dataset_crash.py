"""Crashes at every step, simulated and real: then the folder holds the state before or after, no other."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.cluster.results.commits import plan_removal
from framemill.cluster.results.compaction import compact, forget
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.remote_path import RemotePath
from tests.cluster.results.dataset_models import Rows, assert_holds, put
from tests.object_stores import Bucket, S3Server

# Every call that changes what a crash leaves: of the file system, and of an object store.
STEPS = ("fsync", "link", "rename", "replace", "unlink")
REMOTE_STEPS = ("write_new", "write_bytes", "upload", "unlink", "unlink_inside")
Where = Literal["disk", "s3"]
EVERYWHERE = pytest.mark.parametrize("where", ["disk", pytest.param("s3", marks=pytest.mark.slow)])


@pytest.fixture
def root(where: Where, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Where results may lie, on a disk or in a bucket."""
    if where == "disk":
        return str(tmp_path / "out")
    return Bucket(request.getfixturevalue("s3_server")).uri("out")


class Crash(BaseException):
    """Not an Exception: no clean-up of ours may run, as in a killed process."""


@contextmanager
def crash_at(step: int | None, after: bool) -> Iterator[list[int]]:
    """Raises Crash at the `step`-th storage call, before or after it took effect; yields the calls so far."""
    calls = [0]

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] - 1 != step:
                return real(*args, **kwargs)
            if after:
                real(*args, **kwargs)
            raise Crash

        return call

    def all_of(module: Any, names: tuple[str, ...]) -> Any:
        return mock.patch.multiple(module, **{name: wrap(getattr(module, name)) for name in names})

    with all_of(os, STEPS), all_of(RemotePath, REMOTE_STEPS):
        yield calls


def perform(dataset: Dataset, run_id: str, action: tuple[Any, ...]) -> None:
    """Does one action of a test."""
    kind, *rest = action
    if kind == "put":
        put(dataset, run_id, *rest)
    elif kind == "compact":
        compact(dataset, run_id)
    elif kind == "forget":
        forget(dataset, run_id, plan_removal(dataset.state, [f"/{rest[0]}.mp4"]))
    else:
        dataset.checkpoint()


def model_after(model: Rows, action: tuple[Any, ...]) -> Rows:
    """What the folder should hold after the action."""
    new = {table: dict(rows) for table, rows in model.items()}
    if action[0] == "put":
        new.setdefault(action[1], {}).update(action[2])
    elif action[0] == "forget":
        for rows in new.values():
            rows.pop(action[1], None)
    return new


OWNERS = st.sampled_from("abcd")
ACTIONS = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from(("scenes", "speech")),
        st.dictionaries(OWNERS, st.integers(0, 9), min_size=1, max_size=3),
    ),
    st.just(("compact",)),
    st.tuples(st.just("forget"), OWNERS),
    st.just(("checkpoint",)),
)
PLANS = st.lists(
    st.tuples(ACTIONS, st.one_of(st.none(), st.integers(0, 20)), st.booleans()), min_size=1, max_size=7
)


@settings(max_examples=60, deadline=None)
@given(plan=PLANS)
def test_any_history_with_crashes_equals_a_dictionary(
    plan: list[tuple[tuple[Any, ...], int | None, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        follow(plan, folder)


@settings(max_examples=8, deadline=None)
@given(plan=PLANS)
def test_so_does_it_in_an_object_store(
    s3_server: S3Server, plan: list[tuple[tuple[Any, ...], int | None, bool]]
) -> None:
    follow(plan, Bucket(s3_server).uri("out"))


def follow(plan: list[tuple[tuple[Any, ...], int | None, bool]], folder: str) -> None:
    """Does what a plan says, crashes included, and compares with a dictionary after each step."""
    model: Rows = {}
    for number, (action, step, after) in enumerate(plan):
        dataset = Dataset.open(folder, create=True)
        wanted = model_after(model, action)
        crashed = False
        try:
            with dataset.hold(f"run{number}"), crash_at(step, after):
                perform(dataset, f"run{number}", action)
        except Crash:
            crashed = True
        dataset = Dataset.open(folder, create=False)
        with dataset.hold("check"):
            held = {key: entry.rows - 1 for key, entry in dataset.state.entries.items()}
            done = held == {(t, o): r for t, rows in wanted.items() for o, r in rows.items()}
            assert done or crashed
            model = wanted if done else model
            assert_holds(dataset, model)


def count_steps(folder: str, prepare: Callable[[Dataset], None], action: tuple[Any, ...]) -> int:
    """How many storage calls an action makes."""
    dataset = Dataset.open(folder, create=True)
    with dataset.hold("p"):
        prepare(dataset)
        with crash_at(None, False) as calls:
            perform(dataset, "r", action)
    return calls[0]


def three_parts(dataset: Dataset) -> None:
    """Two tables; one with three parts."""
    for owner in "abc":
        put(dataset, "p", "scenes", {owner: 2, owner + "x": 1})
    put(dataset, "p", "speech", {"a": 4})


BEFORE: Rows = {"scenes": {"a": 2, "ax": 1, "b": 2, "bx": 1, "c": 2, "cx": 1}, "speech": {"a": 4}}


@pytest.mark.parametrize("action", [("put", "scenes", {"a": 3, "new": 2}), ("compact",), ("forget", "a")])
@pytest.mark.parametrize("after", [False, True])
@EVERYWHERE
def test_a_crash_at_each_single_step(root: str, action: tuple[Any, ...], after: bool) -> None:
    steps = count_steps(f"{root}/count", three_parts, action)
    assert steps >= 3
    wanted = model_after(BEFORE, action)
    seen = set()
    for step in range(steps):
        dataset = Dataset.open(f"{root}/{step}", create=True)
        with dataset.hold("p"):
            three_parts(dataset)
        with pytest.raises(Crash), dataset.hold("r"), crash_at(step, after):
            perform(dataset, "r", action)
        dataset = Dataset.open(dataset.root, create=False)
        with dataset.hold("check"):
            changed = dataset.state.sequence > 4
            seen.add(changed)
            assert_holds(dataset, wanted if changed else BEFORE)
    assert seen == {False, True}


COMMITTER = """
import sys
from framemill.cluster.results.compaction import compact
from framemill.cluster.results.dataset import Dataset
from tests.cluster.results.dataset_models import put
dataset = Dataset.open(sys.argv[1], create=True)
with dataset.hold("run" + sys.argv[2], wait_seconds=0):
    first = dataset.state.entries["scenes", "count"].rows if dataset.state.entries else 0
    for number in range(first, int(sys.argv[3])):
        put(dataset, "run" + sys.argv[2], "scenes", {"count": number, f"o{number % 7}": number})
        print(number, flush=True)
        if number % 5 == 4:
            compact(dataset, "run" + sys.argv[2])
"""


def committer(root: str, run: int, limit: int) -> subprocess.Popen[str]:
    """A process that commits revision after revision from where the folder is."""
    command = [sys.executable, "-c", COMMITTER, root, str(run), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def after_commits(number: int) -> Rows:
    """What the folder holds when the committer finished revision `number` - 1."""
    rows = {f"o{i % 7}": i for i in range(number)}
    return {"scenes": {**rows, "count": number - 1}}


@EVERYWHERE
def test_kill_9_at_random_moments(root: str) -> None:
    random_moments = random.Random(7)
    done = 0
    for run in range(5):
        process = committer(root, run, 10_000)
        assert process.stdout is not None
        try:
            told = int(process.stdout.readline())
            assert told == done  # it went on where the folder was, at once, though its forerunner was killed
            time.sleep(random_moments.uniform(0.0, 0.25))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        told = max([told, *map(int, process.stdout.read().split())])
        process.stdout.close()
        dataset = Dataset.open(root, create=False)
        with dataset.hold("check", wait_seconds=0):
            done = dataset.state.entries["scenes", "count"].rows
            assert told + 1 <= done <= told + 2  # all that was told is there, and at most one commit more
            assert_holds(dataset, after_commits(done))
    finished = committer(root, 9, done + 5)
    finished.communicate(timeout=60)
    assert finished.returncode == 0
    assert_holds(Dataset.open(root, create=False), after_commits(done + 5))
