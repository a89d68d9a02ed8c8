"""Files that make the worker crash, hang or eat memory: one row each, and no innocent pays for it."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from framemill.cluster.engines.local import process as workerprocess
from framemill.cluster.engines.local import run as local_run
from framemill.cluster.run.messages import WorkerConfig
from framemill.errors import SetupError
from tests.cluster.extraction import (
    RecordingReporter,
    check_only,
    extract,
    failures,
    patch_worker,
    render_clip,
    rows_of,
    six_alike,
)

# Reading a file does what its name says.
MISBEHAVE = """
import ctypes, os, time
import framemill.actors.shard_processor as shard_processor
real = shard_processor.read_shard
def read_shard(path, *rest):
    name = os.path.basename(path)
    if name.startswith('crash'):
        os.kill(os.getpid(), 11)
    if name.startswith('hang'):
        # With the interpreter's lock held, as a decoder in an endless loop of its own.
        ctypes.PyDLL(None).sleep(600)
    if name.startswith('eat'):
        held = []
        while True:
            held.append(bytearray(b'x') * (16 << 20))
            time.sleep(0.01)
    if name.startswith('once') and not os.path.exists(path + '.died'):
        open(path + '.died', 'w').close()
        os.kill(os.getpid(), 9)
    yield from real(path, *rest)
shard_processor.read_shard = read_shard
"""


@pytest.fixture
def folder(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six innocent clips of different content, some to start before and some after what is to come."""
    patch_worker(monkeypatch, tmp_path, MISBEHAVE)
    return six_alike(tmp_path / "videos", clips / "b.mp4")


def _add(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        render_clip(folder / name, seed=20 + seed, seconds=3.0)


def test_crashing_files_are_quarantined(folder: Path, clips: Path, tmp_path: Path) -> None:
    _add(folder, "crash1.mp4", "crash2.mp4")
    shutil.copy(folder / "crash1.mp4", folder / "crash3.mp4")
    summary = extract(folder, out=tmp_path / "out")
    assert (summary.exit_code, summary.files_failed) == (3, 3)
    guilty = dict.fromkeys(("crash1.mp4", "crash2.mp4", "crash3.mp4"), "quarantined")
    assert "SIGSEGV" in rows_of(tmp_path / "out", "errors")[0]["message"]
    check_only(guilty, folder, tmp_path / "out")


def test_a_hanging_file_is_quarantined(
    folder: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_run, "DEADLINE_SECONDS", 2.0)
    _add(folder, "hang.mp4")
    summary = extract(folder, out=tmp_path / "out", deadline_factor=0.0)
    assert summary.exit_code == 3
    assert "took longer than" in rows_of(tmp_path / "out", "errors")[0]["message"]
    monkeypatch.undo()
    check_only({"hang.mp4": "quarantined"}, folder, tmp_path / "out")


def test_a_file_that_eats_memory_is_quarantined(folder: Path, clips: Path, tmp_path: Path) -> None:
    _add(folder, "eat.mp4")
    summary = extract(folder, out=tmp_path / "out", memory_bytes=700 << 20)
    assert summary.exit_code == 3
    assert "700 MiB" in rows_of(tmp_path / "out", "errors")[0]["message"]
    check_only({"eat.mp4": "quarantined"}, folder, tmp_path / "out")


def test_one_death_is_forgiven(folder: Path, clips: Path, tmp_path: Path) -> None:
    _add(folder, "once.mp4")
    reporter = RecordingReporter()
    summary = extract(folder, out=tmp_path / "out", reporter=reporter)
    assert summary.exit_code == 0
    assert any("SIGKILL" in said for said in reporter.said)
    check_only({}, folder, tmp_path / "out")


def test_a_worker_killed_from_outside_costs_nothing(
    folder: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    real = workerprocess.WorkerProcess.configure

    def configure(self: workerprocess.WorkerProcess, config: WorkerConfig) -> None:
        started.append(self.pid)
        real(self, config)

    monkeypatch.setattr(workerprocess.WorkerProcess, "configure", configure)

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out").glob("media/*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(started[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = extract(folder, out=tmp_path / "out")
    killer.join()
    assert summary.exit_code == 0
    monkeypatch.undo()
    check_only({}, folder, tmp_path / "out")


def test_a_large_file_in_the_page_cache_is_not_memory_of_the_worker(clips: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    shutil.copy(clips / "a.mp4", large)
    os.truncate(large, 1500 << 20)  # sparse: zeros after the last box
    summary = extract(large, clips, out=tmp_path / "out", memory_bytes=700 << 20)
    assert summary.exit_code in (0, 3)
    assert "quarantined" not in failures(tmp_path / "out").values()


def test_a_worker_that_cannot_start_is_a_setup_error(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_worker(monkeypatch, tmp_path, "import os\nos.write(2, b'no such library')\nos._exit(3)")
    with pytest.raises(SetupError, match=r"exit code 3(.|\n)*doctor(.|\n)*no such library"):
        extract(clips, out=tmp_path / "out")


def test_a_worker_that_dies_while_writing_ends_the_run(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_worker(
        monkeypatch,
        tmp_path,
        "import os, framemill.cluster.results.parts as parts\n"
        "def write_part(*a, **k): os.kill(os.getpid(), 9)\n"
        "parts.write_part = write_part\n",
    )
    with pytest.raises(SetupError, match="SIGKILL"):
        extract(clips / "a.mp4", out=tmp_path / "out")
    monkeypatch.undo()
    assert extract(clips / "a.mp4", out=tmp_path / "out").exit_code == 0
