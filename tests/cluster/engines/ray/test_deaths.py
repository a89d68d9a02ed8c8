"""Actors, opening tasks and files that die or hang on Ray: each row once, and no innocent pays for it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from benchmarks.stand_ins import in_workers
from framemill.cluster.engines.ray import pipeline as ray_pipeline
from framemill.cluster.engines.ray import run as ray_run
from framemill.errors import DatasetError, FramemillError, SetupError
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import (
    RecordingReporter,
    check_only,
    extract,
    failures,
    render_clip,
    rows_of,
    six_alike,
    statuses,
    tables_of,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

# In the workers, files do what their names say; `marks` is where they leave word.
MISBEHAVE = """
import ctypes, os, sys, threading, time
def stand_in():
    import framemill.actors.shard_processor as shard_processor
    import framemill.cluster.run.open_sources as open_sources
    import framemill.cluster.run.part_writer as part_writer
    from framemill.cluster.run.shard_runner import ShardRunner
    read_real, hash_real = shard_processor.read_shard, open_sources.content_id
    write_real, merge_real = part_writer.write_part, ShardRunner.merge
    def read_shard(path, *rest):
        name = os.path.basename(path)
        folder = os.path.dirname(path)
        if name.startswith('crash'):
            os.kill(os.getpid(), 11)
        if name.startswith('hang'):
            ctypes.PyDLL(None).sleep(600)
        if name.startswith('once') and not os.path.exists(path + '.died'):
            open(path + '.died', 'w').close()
            os.kill(os.getpid(), 9)
        if name.startswith('slow'):
            open(os.path.join(folder, f'pid-{os.getpid()}'), 'w').close()
            time.sleep(1)
        yield from read_real(path, *rest)
    def content_id(path):
        name = os.path.basename(path)
        if name.startswith('opens badly'):
            os.kill(os.getpid(), 11)
        if name.startswith('opens never'):
            ctypes.PyDLL(None).sleep(600)
        if name.startswith('without credentials'):
            from framemill.errors import SetupError
            raise SetupError('no credentials for s3://: set AWS_PROFILE')
        return hash_real(path)
    def merge(self, request):
        name = os.path.basename(request.uri)
        if name.startswith('merges badly'):
            os.kill(os.getpid(), 9)
        if name.startswith('merges never'):
            ctypes.PyDLL(None).sleep(600)
        return merge_real(self, request)
    def write_part(root, table, tables, **rest):
        refuse = os.path.join(root, '_framemill', 'refuse')
        if os.path.exists(refuse):
            import builtins, framemill.errors
            name = open(refuse).read()
            kind = getattr(framemill.errors, name, None) or getattr(builtins, name)
            raise kind(f'{root}: no space left on device')
        return write_real(root, table, tables, **rest)
    shard_processor.read_shard, open_sources.content_id = read_shard, content_id
    part_writer.write_part, ShardRunner.merge = write_part, merge
"""


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = tmp_path_factory.mktemp("patch")
    (patch / "sitecustomize.py").write_text(in_workers(MISBEHAVE))
    offline = {"FRAMEMILL_OFFLINE": "1", "FRAMEMILL_MODEL_MIRROR": str(patch), "XDG_CACHE_HOME": str(patch)}
    with small_ray(patch, offline):
        yield


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    """Six innocent clips of different content."""
    return six_alike(tmp_path / "videos", clips / "b.mp4")


@pytest.fixture(params=["opened by actors", "opened by tasks"])
def opener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens files: small ones are left to actors, and none is small in the second case."""
    if request.param == "opened by tasks":
        monkeypatch.setattr(ray_pipeline, "SMALL_BYTES", -1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of a few seconds."""
    monkeypatch.setattr(ray_run, "WATCH_SECONDS", 0.5)
    monkeypatch.setattr(ray_run, "DEADLINE_SECONDS", 5.0)


@pytest.mark.usefixtures("opener")
def test_files_that_kill_are_quarantined(folder: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("crash.mp4", "opens badly.mp4", "once.mp4")):
        render_clip(folder / name, seed=20 + seed, seconds=3.0)
    (folder / "crash copy.mp4").write_bytes((folder / "crash.mp4").read_bytes())
    summary = extract_on_ray(folder, out=tmp_path / "out")
    assert (summary.exit_code, summary.files_failed) == (3, 3)
    assert {"quarantined" in row["message"] for row in rows_of(tmp_path / "out", "errors")} == {True}
    guilty = dict.fromkeys(("crash.mp4", "crash copy.mp4", "opens badly.mp4"), "quarantined")
    check_only(guilty, folder, tmp_path / "out")


def test_an_actor_killed_from_outside_costs_nothing(folder: Path, tmp_path: Path) -> None:
    for number in range(6):
        (folder / f"{number}.mp4").rename(folder / f"slow {number}.mp4")
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            for mark in folder.glob("pid-*"):
                killed.append(int(mark.name[4:]))
                os.kill(killed[0], signal.SIGKILL)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    reporter = RecordingReporter()
    summary = extract_on_ray(folder, out=tmp_path / "out", reporter=reporter)
    killer.join()
    assert killed and summary.exit_code == 0
    assert any("runs alone next" in said for said in reporter.said)
    check_only({}, folder, tmp_path / "out")


@pytest.mark.usefixtures("opener", "impatient")
@pytest.mark.parametrize(
    ("opener", "name"),
    [("opened by actors", "hang.mp4"), ("opened by tasks", "opens never.mp4")],
    indirect=["opener"],
)
def test_a_hanging_file_is_quarantined(folder: Path, tmp_path: Path, name: str) -> None:
    render_clip(folder / name, seed=30, seconds=3.0)
    summary = extract_on_ray(folder, out=tmp_path / "out", deadline_factor=0.0)
    assert (summary.exit_code, summary.files_failed) == (3, 1)
    check_only({name: "quarantined"}, folder, tmp_path / "out")


@pytest.mark.usefixtures("impatient")
def test_a_merge_that_kills_or_hangs_costs_its_file(folder: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("merges badly.mp4", "merges never.mp4", "merges well.mp4")):
        render_clip(folder / name, seed=50 + seed, seconds=5.0)
    summary = extract_on_ray(folder, out=divided(tmp_path / "out"), deadline_factor=0.0)
    assert (summary.exit_code, summary.files_failed) == (3, 2)
    guilty = dict.fromkeys(("merges badly.mp4", "merges never.mp4"), "quarantined")
    assert failures(tmp_path / "out") == {(name, "*"): status for name, status in guilty.items()}
    assert len(statuses(tmp_path / "out")) == 7
    tables = tables_of(tmp_path / "out")
    extract(*(path for path in folder.iterdir() if path.name not in guilty), out=divided(tmp_path / "other"))
    assert {**tables, "errors": []} == {**tables_of(tmp_path / "other"), "errors": []}


def test_what_concerns_the_run_ends_it_with_its_own_exit_code(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "0.mp4").rename(folder / "without credentials.mp4")
    for small in (ray_pipeline.SMALL_BYTES, -1):
        monkeypatch.setattr(ray_pipeline, "SMALL_BYTES", small)
        with pytest.raises(SetupError, match="no credentials for s3://: set AWS_PROFILE"):
            extract_on_ray(folder, out=tmp_path / "out")


def test_a_task_may_take_longer_than_ray_has_patience(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.data

    (folder / "0.mp4").rename(folder / "slow.mp4")
    context = ray.data.DataContext.get_current()
    monkeypatch.setattr(context, "execution_no_progress_timeout_s", 0.5)
    assert extract_on_ray(folder / "slow.mp4", out=tmp_path / "out").exit_code == 0


def test_a_file_that_no_worker_tells_of_is_left_to_the_next_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        real = ray_run.run_actors
        patch.setattr(ray_run, "run_actors", lambda tasks, *rest: real(tasks.limit(5), *rest))
        summary = extract_on_ray(folder, out=tmp_path / "out")
    assert (summary.exit_code, summary.files_failed) == (3, 1)
    assert ["no worker told" in row["message"] for row in rows_of(tmp_path / "out", "errors")] == [True]
    assert extract_on_ray(folder, out=tmp_path / "out").exit_code == 0
    check_only({}, folder, tmp_path / "out")


def test_a_model_that_is_missing_ends_the_run_at_once(clips: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(SetupError, match=r"yolox_nano"):
        extract_on_ray(clips, out=tmp_path / "out", ops=("objects",), models={"objects": "yolox_nano"})
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("name", "raised"),
    [("DatasetError", DatasetError), ("MemoryError", FramemillError), ("ValueError", FramemillError)],
)
def test_storage_that_refuses_ends_the_run_and_the_next_goes_on(
    clips: Path, tmp_path: Path, name: str, raised: type[FramemillError]
) -> None:
    out = tmp_path / "out"
    extract_on_ray(clips / "a.mp4", out=out)
    tables = tables_of(out)
    (out / "_framemill" / "refuse").write_text(name)
    with pytest.raises(raised, match=r"no space left on device|ran out of memory") as told:
        extract_on_ray(clips, out=out)
    assert told.value.exit_code == 1
    (out / "_framemill" / "refuse").unlink()
    assert tables_of(out) == tables
    assert extract_on_ray(clips, out=out).exit_code == 0
    extract(clips, out=tmp_path / "fresh")
    assert tables_of(out) == tables_of(tmp_path / "fresh")
