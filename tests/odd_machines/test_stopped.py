"""Processes that are stopped for longer than a lease holds, and wake up again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.lease import Lease
from tests.cluster.extraction import command, extract, render_clip, six_alike, tables_of

SECONDS = 60.0  # beyond which a machine of today is not slow but stuck


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return six_alike(folder / "six", render_clip(folder / "clip.mp4", seed=5, seconds=12.0))


@pytest.fixture
def run(corpus: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command over six files, in a session of its own that is gone after the test."""
    process = command(corpus, "-o", tmp_path / "out", "--sample", "every:0.2")
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + SECONDS
    while not what():
        assert process.poll() is None and time.monotonic() < until, "it ended, or never came so far"
        time.sleep(0.01)


def worker_of(process: subprocess.Popen[str]) -> psutil.Process:
    """The process that opens media."""
    return next(
        child
        for child in psutil.Process(process.pid).children()
        if "framemill.cluster.engines.local.worker" in child.cmdline()
    )


def commits(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "_framemill" / "commits").glob("*.json"))


@pytest.mark.slow
def test_a_stopped_supervisor_that_wakes_without_its_lease_commits_nothing(
    run: subprocess.Popen[str], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wait_for((out / "_framemill" / "lease.json").exists, run)
    os.kill(run.pid, signal.SIGSTOP)
    taken = Lease.acquire(out / "_framemill", "other", wait_seconds=SECONDS, stale_seconds=1.5)
    before = commits(out)
    os.kill(run.pid, signal.SIGCONT)
    _, said = run.communicate(timeout=SECONDS)
    assert run.returncode == 1 and "lost its lease" in said and "run the same command again" in said
    assert commits(out) == before
    taken.check()
    taken.release()
    assert extract(corpus, out=out, sample="every:0.2").exit_code == 0
    extract(corpus, out=tmp_path / "undisturbed", sample="every:0.2")
    assert tables_of(out) == tables_of(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_worker_that_is_stopped_for_a_while_costs_no_row(
    run: subprocess.Popen[str], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wait_for((out / "_framemill" / "in_flight.json").exists, run)
    worker = worker_of(run)
    worker.suspend()
    time.sleep(3)
    assert run.poll() is None
    worker.resume()
    _, said = run.communicate(timeout=SECONDS)
    assert run.returncode == 0, said
    extract(corpus, out=tmp_path / "undisturbed", sample="every:0.2")
    assert tables_of(out) == tables_of(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_second_interrupt_ends_a_run_whose_worker_is_stopped_and_leaves_no_process(
    run: subprocess.Popen[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wait_for((out / "_framemill" / "in_flight.json").exists, run)
    worker = worker_of(run)
    worker.suspend()
    os.kill(run.pid, signal.SIGINT)
    time.sleep(1)
    os.kill(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=SECONDS)
    assert run.returncode == 130, said
    psutil.wait_procs([worker], timeout=10)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    Dataset.open(out, create=False)
