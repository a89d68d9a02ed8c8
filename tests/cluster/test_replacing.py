"""Rows of other settings give way to new ones source by source; nothing goes before it is replaced."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.engines import run as engine_run
from framemill.cluster.engines.local.run import LocalRun
from framemill.cluster.inspection import plan_sources
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.status import summarise
from framemill.errors import UsageError
from tests.cluster.extraction import command, extract, failures, patch_worker, render_clip, rows_of, tables_of

Capture = pytest.CaptureFixture[str]
OPS = ("media", "frames")
NEW = {"ops": OPS, "sample": "every:0.5"}


@pytest.fixture(scope="module")
def before(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder made with one sampling."""
    out = tmp_path_factory.mktemp("before") / "out"
    extract(clips, out=out, ops=OPS)
    return out


@pytest.fixture(scope="module")
def after(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same made with another one."""
    out = tmp_path_factory.mktemp("after") / "out"
    extract(clips, out=out, **NEW)
    return out


@pytest.fixture
def out(before: Path, tmp_path: Path) -> Path:
    """A copy of `before`."""
    return shutil.copytree(before, tmp_path / "out")


def frames_of(out: Path) -> dict[str, list[Any]]:
    """File name -> its rows of `frames`."""
    names = {row["source_id"]: Path(row["uri"]).name for row in rows_of(out, "media")}
    found: dict[str, list[Any]] = {name: [] for name in names.values()}
    for row in rows_of(out, "frames"):
        found[names[row["source_id"]]].append(row)
    return found


def plan(*sources: Path, out: Path, **asked: Any) -> dict[str, Any]:
    return plan_sources(ExtractRequest(sources=tuple(map(str, sources)), output=str(out), **asked))


def test_a_wrong_path_costs_no_row(
    clips: Path, out: Path, before: Path, after: Path, capsys: Capture
) -> None:
    typed = ["extract", str(clips) + "s", "-o", str(out), "--ops", "media,frames", "--sample", "every:0.5"]
    assert main([*typed, "--replace"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--replace would drop 9 rows of 3 other files" in said and "--replace-all" in said
    assert tables_of(out) == tables_of(before)
    # Nothing comes in their place, so that they stay even then.
    assert main([*typed, "--replace-all"]) == 4
    assert {**tables_of(out), "errors": []} == {**tables_of(before), "errors": []}
    assert extract(clips, out=out, replace=True, **NEW).exit_code == 0
    assert frames_of(out) == frames_of(after)


def test_rows_of_files_that_are_not_named_go_last_and_only_when_asked(
    clips: Path, out: Path, before: Path, after: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = (clips / "a.mp4", clips / "c.mkv")
    for refusing in (plan, extract):
        with pytest.raises(UsageError, match=r"would drop 3 rows of 1 other file, .*b\.mp4.*`replace_all`"):
            refusing(*some, out=out, replace=True, **NEW)
    assert tables_of(out) == tables_of(before)
    (told,) = plan(clips, out=out, replace=True, **NEW)["replaced"]
    assert told == {"table": "frames", "rows": 9, "files": 3, "dropped_rows": 0, "dropped_files": 0}
    (told,) = plan(*some, out=out, replace_all=True, **NEW)["replaced"]
    assert told == {"table": "frames", "rows": 6, "files": 2, "dropped_rows": 3, "dropped_files": 1}

    committed = []
    commit = Dataset.commit

    def recording(self: Dataset, made: Commit) -> Commit:
        result = commit(self, made)
        committed.append({name for name, rows in frames_of(out).items() if rows})
        return result

    with monkeypatch.context() as patched:
        patched.setattr(Dataset, "commit", recording)
        assert extract(*some, out=out, replace_all=True, **NEW).exit_code == 0
    assert committed[-1] == {"a.mp4", "c.mkv"}
    assert all(held == {"a.mp4", "b.mp4", "c.mkv"} for held in committed[:-1]) and len(committed) > 1
    wanted = frames_of(after)
    assert frames_of(out) == {**wanted, "b.mp4": []}
    # What was dropped is computed again like anything that is missing.
    assert extract(clips, out=out, **NEW).files_computed == 1
    assert frames_of(out) == wanted


@pytest.mark.parametrize("again", [{"replace": True}, {}])
def test_a_run_that_ends_half_way_leaves_old_or_new_rows_of_each_source(
    clips: Path, out: Path, before: Path, after: Path, monkeypatch: pytest.MonkeyPatch, again: dict[str, Any]
) -> None:
    old, new = frames_of(before), frames_of(after)
    commit, num_commits = Dataset.commit, []

    def ending(self: Dataset, made: Commit) -> Commit:
        if num_commits:
            raise KeyboardInterrupt
        num_commits.append(1)
        return commit(self, made)

    with monkeypatch.context() as patched:
        patched.setattr(engine_run, "COMMIT_SECONDS", 0.0)
        patched.setattr(LocalRun, "most_sources", 1)
        patched.setattr(Dataset, "commit", ending)
        with pytest.raises(KeyboardInterrupt):
            extract(clips, out=out, replace=True, **NEW)
    held = frames_of(out)
    replaced = {name for name in held if held[name] == new[name]}
    assert len(replaced) == 1
    assert all(held[name] == old[name] for name in held.keys() - replaced)
    assert summarise(Dataset.open(out, create=False).state)["tables"]["frames"]["outdated"] == 2
    with pytest.raises(UsageError, match="made differently"):
        extract(clips, out=out, ops=OPS)
    # What was begun goes on, with the flag or without.
    assert extract(clips, out=out, **again, **NEW).files_computed == 2
    assert tables_of(out) == tables_of(after)
    assert "outdated" not in summarise(Dataset.open(out, create=False).state)["tables"]["frames"]


def test_a_failure_keeps_the_rows_that_were_to_be_replaced(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = shutil.copytree(clips, tmp_path / "videos"), tmp_path / "out"
    render_clip(folder / "wide.mp4", seed=9, size=(160, 96), with_sound=False)
    asked: dict[str, Any] = {**NEW, "replace": True}
    extract(folder, out=out, ops=OPS)
    old = frames_of(out)
    breaking = (
        "from framemill.ops.frames.frames import FramesOp\n"
        "run = FramesOp.run\n"
        "def failing(self, frames, upstream):\n"
        "    assert frames.width != 160\n"
        "    return run(self, frames, upstream)\n"
        "FramesOp.run = failing"
    )
    with monkeypatch.context() as patched:
        patch_worker(patched, tmp_path, breaking)
        failed = extract(folder, out=out, **asked)
        assert (failed.exit_code, failed.files_failed, failed.files_computed) == (3, 1, 4)
    held = frames_of(out)
    assert held["wide.mp4"] == old["wide.mp4"]
    assert all(held[name] != old[name] for name in ("a.mp4", "b.mp4", "c.mkv"))
    assert failures(out) == {("wide.mp4", "frames"): "failed"}
    # It failed for good: the same command computes nothing, and says so.
    again = extract(folder, out=out, **asked)
    assert (again.exit_code, again.files_computed, again.files_failed) == (3, 0, 1)
    assert frames_of(out) == held
    assert extract(folder, out=out, retry_failed=True, **asked).exit_code == 0
    assert failures(out) == {}
    extract(folder, out=tmp_path / "fresh", **asked)
    assert frames_of(out) == frames_of(tmp_path / "fresh")


def test_while_nothing_succeeds_the_table_is_as_it_was(
    clips: Path, tmp_path: Path, before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = shutil.copytree(clips, tmp_path / "videos"), tmp_path / "out"
    extract(folder, out=out, ops=OPS)
    tables = tables_of(out)
    for path in folder.iterdir():
        path.rename(path.with_suffix(".away"))
    names = ("a.mp4", "b.mp4", "c.mkv")
    gone = extract(*(folder / name for name in names), out=out, replace=True, **NEW)
    assert gone.exit_code == 4
    assert {**tables_of(out), "errors": []} == {**tables, "errors": []}
    for name in names:
        (folder / name).with_suffix(".away").rename(folder / name)
    assert extract(folder, out=out, ops=OPS).exit_code == 0
    assert tables_of(out) == tables


@pytest.mark.slow
def test_kill_9_while_tables_are_replaced(clips: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    for number in range(8):
        render_clip(folder / f"{number}.mp4", seed=number, seconds=2.0 + number)
    extract(folder, out=out, ops=OPS)
    extract(folder, out=tmp_path / "fresh", **NEW)
    old, new = frames_of(out), frames_of(tmp_path / "fresh")
    moments = random.Random(5)
    started = time.monotonic()
    run = command(folder, "-o", tmp_path / "timed", "--sample", "every:0.5", ops=OPS)
    assert run.wait(timeout=120) == 0
    seconds = time.monotonic() - started
    for _ in range(6):
        run = command(folder, "-o", out, "--sample", "every:0.5", "--replace", ops=OPS)
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=60)
        for name, rows in frames_of(out).items():
            assert rows in (old[name], new[name]), name
    run = command(folder, "-o", out, "--sample", "every:0.5", "--replace", ops=OPS)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert tables_of(out) == tables_of(tmp_path / "fresh")
