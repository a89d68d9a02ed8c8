"""Killed at any moment and started again, a run ends with the tables of an undisturbed one.

`FRAMEMILL_KILLS` sets how often each kind of kill is tried; `FRAMEMILL_KILL_SEED` picks other moments.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from framemill.cluster.results.dataset import Dataset
from tests.cluster.extraction import OPS, command, render_clip, rows_of, tables_of

NUM_KILLS = int(os.environ.get("FRAMEMILL_KILLS", "4"))
SEED = int(os.environ.get("FRAMEMILL_KILL_SEED", "7"))
ALL_OPS = (*OPS, "speech")
CONSTANTS = {"shard_seconds": 3.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short clips, one that is cut into shards, a copy, one cut off and one that is no video at all."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(5):
        render_clip(folder / f"{number}.mp4", seed=number, seconds=1.0 + number)
    long = render_clip(folder / "long.mkv", seed=30, seconds=14.0)
    (folder / "copy.mp4").write_bytes((folder / "2.mp4").read_bytes())
    (folder / "cut.mkv").write_bytes(long.read_bytes()[: long.stat().st_size * 2 // 3])
    (folder / "garbage.mp4").write_bytes(bytes(range(256)) * 40)
    return folder


def _extract(corpus: Path, out: Path) -> float:
    """One undisturbed run of the command; how long it took."""
    started = time.monotonic()
    run = command(corpus, "-o", out, "--sample", "every:0.5", ops=ALL_OPS)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 3, said
    return time.monotonic() - started


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A result folder made in one go, and how long that took."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    Dataset.open(out, create=True, constants=CONSTANTS)
    return out, _extract(corpus, out)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def _children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]


@pytest.mark.parametrize("target", ["supervisor", "group", "all"])
def test_a_killed_run_is_finished_by_the_same_command(
    corpus: Path, undisturbed: tuple[Path, float], tmp_path: Path, target: str
) -> None:
    expected, seconds = undisturbed
    expected_tables = tables_of(expected)
    moments = random.Random(f"{SEED} {target}")
    out = tmp_path / "out"
    Dataset.open(out, create=True, constants=CONSTANTS)
    for _ in range(NUM_KILLS):
        run = command(corpus, "-o", out, "--sample", "every:0.5", ops=ALL_OPS)
        time.sleep(moments.uniform(0.1, 1.0) * seconds)
        workers = _children(run.pid)
        if run.poll() is None:
            if target == "group":
                os.killpg(run.pid, signal.SIGKILL)
            else:
                os.kill(run.pid, signal.SIGKILL)
            if target == "all":
                for worker in workers:
                    os.kill(worker, signal.SIGKILL)
        run.communicate(timeout=60)
        deadline = time.monotonic() + 10
        while any(map(_is_alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not any(map(_is_alive, workers)), "the worker outlived its supervisor"
        # What is there after a kill is whole: a reader that knows nothing of commits sees no torn part.
        for path in out.glob("*/*.parquet"):
            rows_of(out, path.parent.name)
    _extract(corpus, out)
    tables = tables_of(out)
    assert tables.keys() == expected_tables.keys()
    for name, rows in expected_tables.items():
        assert tables[name] == rows, name
    assert {row["status"] for row in rows_of(out, "errors")} == {"failed", "partial"}
