"""The main job as a person meets it: what a run computes, and what the next one does not compute again."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from framemill.errors import DatasetError, ModelError, UsageError
from tests.cluster.extraction import (
    OPS,
    RecordingReporter,
    command,
    extract,
    failures,
    num_runs,
    patch_worker,
    rows_of,
    statuses,
    tables_of,
)


def test_tables_of_a_folder_and_nothing_to_do_the_second_time(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = extract(clips, out=tmp_path / "out")
    assert (summary.exit_code, summary.files_computed, summary.files_failed) == (0, 3, 0)
    tables = tables_of(tmp_path / "out")
    assert set(tables) == set(OPS)
    assert statuses(tmp_path / "out") == {"a.mp4": "ok", "b.mp4": "ok", "c.mkv": "ok"}
    assert {name: len(rows) for name, rows in tables.items()} == dict(summary.rows)
    assert Counter(row["source_id"] for row in tables["frames"]).total() == 4 + 3 + 2  # a key frame a second
    (run,) = rows_of(tmp_path / "out", "runs")
    assert run["exit_code"] == 0
    assert dict(run["rows"]) == dict(summary.rows)
    assert {"read", "frames", "scenes", "audio_levels", "hash", "index", "write"} <= set(dict(run["seconds"]))
    assert all(0 <= seconds < 60 for _, seconds in run["seconds"])

    def refuse() -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr("framemill.cluster.engines.local.engine.WorkerProcess", refuse)
    again = extract(clips, out=tmp_path / "out")
    assert (again.exit_code, again.files_computed, again.files_cached, again.rows) == (0, 0, 3, {})
    assert num_runs(tmp_path / "out") == 1
    assert tables_of(tmp_path / "out") == tables


def test_a_further_operation_computes_that_operation_alone(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract(clips, out=out, ops=("media", "frames", "audio_levels"))
    before = {path.relative_to(out): path.stat().st_mtime_ns for path in out.glob("*/*.parquet")}
    further = extract(clips, out=out)
    assert set(further.rows) == {"scenes"}
    kept = {path: path_time for path, path_time in before.items() if path.parts[0] != "runs"}
    now = {path.relative_to(out): path.stat().st_mtime_ns for path in out.glob("*/*.parquet")}
    assert kept.items() <= now.items()
    extract(clips, out=tmp_path / "at once")
    assert tables_of(out) == tables_of(tmp_path / "at once")


def test_operations_apart_and_threads_give_the_same_rows(clips: Path, tmp_path: Path) -> None:
    extract(clips, out=tmp_path / "together", sample="every:0.5", threads=4)
    extract(clips, out=tmp_path / "one thread", sample="every:0.5", threads=1)
    together = tables_of(tmp_path / "together")
    assert tables_of(tmp_path / "one thread") == together
    for op in OPS:
        extract(clips, out=tmp_path / "apart", ops=("media", op), sample="every:0.5")
    assert tables_of(tmp_path / "apart") == together


def test_the_same_bytes_under_two_names_are_computed_once(clips: Path, tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(clips / "a.mp4", tmp_path / name)
    extract(tmp_path / "one.mp4", tmp_path / "two.mp4", out=tmp_path / "out")
    extract(tmp_path / "one.mp4", out=tmp_path / "single")
    tables, single = tables_of(tmp_path / "out"), tables_of(tmp_path / "single")
    assert statuses(tmp_path / "out") == {"one.mp4": "ok", "two.mp4": "ok"}
    assert {name: tables[name] for name in OPS if name != "media"} == {
        name: single[name] for name in OPS if name != "media"
    }
    # A third name, in a later run, adds its row of `media` and nothing else.
    shutil.copy(clips / "a.mp4", tmp_path / "three.mp4")
    third = extract(tmp_path / "three.mp4", out=tmp_path / "out")
    assert dict(third.rows) == {"media": 1}
    assert extract(tmp_path / "three.mp4", out=tmp_path / "out").files_cached == 1


def test_a_changed_file_replaces_its_rows(clips: Path, tmp_path: Path) -> None:
    clip = Path(shutil.copy(clips / "a.mp4", tmp_path / "clip.mp4"))
    extract(clip, out=tmp_path / "out")
    shutil.copy(clips / "b.mp4", clip)
    extract(clip, out=tmp_path / "out")
    extract(clip, out=tmp_path / "fresh")
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "fresh")


def test_names_that_change_places_keep_all_rows(clips: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "x.mp4", tmp_path / "y.mp4"
    shutil.copy(clips / "a.mp4", first)
    shutil.copy(clips / "b.mp4", second)
    extract(first, second, out=tmp_path / "out")
    shutil.copy(clips / "b.mp4", first)
    shutil.copy(clips / "a.mp4", second)
    extract(first, second, out=tmp_path / "out")
    extract(first, second, out=tmp_path / "fresh")
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "fresh")


def test_a_deleted_file_keeps_its_rows(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    shutil.copytree(clips, folder)
    extract(folder, out=tmp_path / "out")
    tables = tables_of(tmp_path / "out")
    (folder / "a.mp4").unlink()
    again = extract(folder, out=tmp_path / "out")
    assert (again.exit_code, again.files_total, again.files_computed) == (0, 2, 0)
    # Named, it is missed, but what is known of it stays, and is right again when the file is back.
    named = extract(folder / "a.mp4", folder, out=tmp_path / "out")
    assert (named.exit_code, named.files_failed) == (3, 1)
    assert failures(tmp_path / "out") == {("a.mp4", "*"): "failed"}
    assert {**tables_of(tmp_path / "out"), "errors": []} == {**tables, "errors": []}
    shutil.copy2(clips / "a.mp4", folder)
    assert extract(folder, out=tmp_path / "out").exit_code == 0
    assert tables_of(tmp_path / "out") == tables


def test_replace_computes_anew_what_was_made_otherwise(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract(clips, out=out)
    with pytest.raises(UsageError, match=r"'frames'.*every:1.*`replace`"):
        extract(clips, out=out, sample="every:1", ops=("frames",))
    replaced = extract(clips, out=out, sample="every:1", ops=("frames",), replace=True)
    assert set(replaced.rows) == {"frames"}
    extract(clips, out=tmp_path / "fresh", sample="every:1")
    assert tables_of(out) == tables_of(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"ops": ("media", "magic")}, "magic"),
        ({"options": {"scenes": {"speed": 1}}}, "speed"),
        ({"options": {"scenes": {"cut_threshold": "high"}}}, "cut_threshold='high' is not a number"),
        ({"options": {"objects": {}}}, "objects"),
        ({"sample": "every:0"}, "every:0"),
        ({"models": {"objects": "yolox_nano"}}, "objects"),
        ({"engine": "cloud"}, "cloud"),
        ({"profile": "/nowhere/at all/trace.json"}, "`profile='/nowhere/at all/trace.json'`"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(
    clips: Path, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        extract(clips, out=tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        extract(clips, out=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_no_input_makes_no_folder(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("words")
    reporter = RecordingReporter()
    summary = extract(tmp_path / "notes", out=tmp_path / "out", reporter=reporter)
    assert (summary.exit_code, summary.files_total, summary.files_skipped) == (4, 0, 1)
    assert "no usable input" in reporter.said[-1]
    assert not (tmp_path / "out").exists()


def test_a_missing_model_ends_the_run_at_once(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="yolox_nano"):
        extract(clips, out=tmp_path / "out", ops=("objects",), models={"objects": "yolox_nano"})
    assert set(tables_of(tmp_path / "out")) <= {"media"}


def test_a_profile_is_a_trace_of_every_stage(clips: Path, tmp_path: Path) -> None:
    extract(clips, out=tmp_path / "out", profile=str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {"hash", "index", "read", "frames", "scenes", "write"} <= {event["name"] for event in events}
    assert all(event["dur"] >= 0 for event in events)


def test_keep_bytes_prunes_what_was_used_least_recently(clips: Path, tmp_path: Path) -> None:
    extract(clips / "a.mp4", out=tmp_path / "out")
    extract(clips / "b.mp4", out=tmp_path / "out")
    kept = sum(path.stat().st_size for path in (tmp_path / "out").glob("*/*.parquet"))
    extract(clips / "c.mkv", out=tmp_path / "out", keep_bytes=kept)
    names = set(statuses(tmp_path / "out"))
    assert "a.mp4" not in names and "c.mkv" in names
    # What was pruned is computed again when it is asked for.
    assert extract(clips / "a.mp4", out=tmp_path / "out").files_computed == 1


def test_two_runs_at_once_compute_each_row_once(clips: Path, tmp_path: Path) -> None:
    both = [command(clips, "-o", tmp_path / "out") for _ in range(2)]
    said = [run.communicate(timeout=120) for run in both]
    assert [run.returncode for run in both] == [0, 0], said
    assert num_runs(tmp_path / "out") == 1
    extract(clips, out=tmp_path / "single")
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "single")


# Reading a file takes so long that some are left after the first commit.
SLOW = """
import time
import framemill.actors.shard_processor as shard_processor
real = shard_processor.read_shard
def read_shard(*asked):
    time.sleep(0.3)
    yield from real(*asked)
shard_processor.read_shard = read_shard
"""


def test_an_interrupted_run_goes_on_where_it_was(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_worker(monkeypatch, tmp_path, SLOW)
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    for number in range(30):
        # Other bytes behind the last box: as good a video, and another content.
        (folder / f"{number}.mp4").write_bytes((clips / "b.mp4").read_bytes() + b"\0\0\0\x08free" * number)
    run = command(folder, "-o", out)
    deadline = time.monotonic() + 60
    while not any(out.glob("media/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=60)
    monkeypatch.undo()
    assert (run.returncode, "interrupted" in err) == (130, True), err
    done = len(rows_of(out, "media"))
    assert 0 < done < 30
    assert [row["exit_code"] for row in rows_of(out, "runs")] == [130]
    resumed = extract(folder, out=out)
    assert (resumed.exit_code, resumed.files_cached, resumed.files_computed) == (0, done, 30 - done)
    extract(folder, out=tmp_path / "fresh")
    assert tables_of(out) == tables_of(tmp_path / "fresh")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_a_valid_folder(clips: Path, tmp_path: Path, small_disk: Path) -> None:
    out = small_disk / "out"
    extract(clips / "a.mp4", out=out)
    tables = tables_of(out)
    with open(small_disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    os.truncate(small_disk / "filler", (small_disk / "filler").stat().st_size - 8192)
    run = command(clips, "-o", out)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 1, said
    assert "no space left" in said and "everything committed so far stays valid" in said
    assert tables_of(out) == tables
    (small_disk / "filler").unlink()
    assert extract(clips, out=out).exit_code == 0
    extract(clips, out=tmp_path / "fresh")
    assert tables_of(out) == tables_of(tmp_path / "fresh")


def test_storage_that_refuses_leaves_a_valid_folder(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract(clips / "a.mp4", out=out)
    tables = tables_of(out)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))  # the worker inherits it
    try:
        with pytest.raises(DatasetError, match="everything committed so far stays valid"):
            extract(clips, out=out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert tables_of(out) == tables
    assert extract(clips, out=out).exit_code == 0
