"""SIGTERM and SIGHUP end a run as Ctrl-C does: what is finished is committed, and nobody stays behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from framemill.cluster.engines.interrupts import noticing_interrupts
from framemill.cluster.results.dataset import Dataset
from tests.cluster.extraction import command, extract, patch_worker, rows_of, tables_of

NUM_FILES = 16
OPS = ("media", "frames")
# Reading a file takes so long that some are left after the first commit.
SLOW = """
import time
import framemill.actors.shard_processor as shard_processor
real = shard_processor.read_shard
def read_shard(*asked):
    time.sleep(0.5)
    yield from real(*asked)
shard_processor.read_shard = read_shard
"""


def _wait(is_so: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    """Files of the same pictures and other bytes."""
    (tmp_path / "videos").mkdir()
    for number in range(NUM_FILES):
        content = (clips / "c.mkv").read_bytes() + b"\xec\x81\0" * number  # void elements
        (tmp_path / "videos" / f"{number}.mkv").write_bytes(content)
    return tmp_path / "videos"


@pytest.mark.parametrize(
    ("number", "code", "to_all"),
    [
        pytest.param(signal.SIGTERM, 143, False, marks=pytest.mark.slow),
        (signal.SIGTERM, 143, True),
        (signal.SIGHUP, 129, True),
    ],
)
def test_what_is_finished_is_committed_and_the_worker_ends(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int, to_all: bool
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patch_worker(patched, tmp_path, SLOW)
        run = command(folder, "-o", out, ops=OPS)
    _wait(lambda: any(out.glob("media/*.parquet")))
    workers = psutil.Process(run.pid).children(recursive=True)
    assert workers
    # A batch system and a service manager tell every process of a job.
    for pid in [run.pid, *(worker.pid for worker in workers if to_all)]:
        os.kill(pid, number)
    _, said = run.communicate(timeout=60)
    assert (run.returncode, "interrupted" in said, "Traceback" in said) == (code, True, False), said
    psutil.wait_procs(workers, timeout=5)
    assert not any(worker.is_running() for worker in workers)
    done = len(rows_of(out, "media"))
    assert 0 < done < NUM_FILES
    assert [row["exit_code"] for row in rows_of(out, "runs")] == [code]
    resumed = extract(folder, out=out, ops=OPS)
    assert (resumed.exit_code, resumed.files_cached, resumed.files_computed) == (0, done, NUM_FILES - done)
    extract(folder, out=tmp_path / "fresh", ops=OPS)
    assert tables_of(out) == tables_of(tmp_path / "fresh")


def test_a_run_that_waits_for_another_ends_at_once(folder: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "out", create=True)
    with dataset.hold("the other"):
        run = command(folder, "-o", tmp_path / "out", ops=OPS)
        assert run.stderr is not None
        assert "the other" in run.stderr.readline()
        os.kill(run.pid, signal.SIGTERM)
        _, said = run.communicate(timeout=20)
        assert (run.returncode, "interrupted" in said) == (143, True), said
        dataset.checkpoint()  # it is still held


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    noticed: list[int] = []
    try:
        with noticing_interrupts(noticed.append):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            _wait(lambda: bool(noticed), 5.0)
        assert noticed == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
