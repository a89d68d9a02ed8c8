"""Watching a job on Ray from outside: until something happens, or it ends, or it takes too long."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.machines import Machine
from tests.cluster.extraction import PROJECT, rows_of

MOST_SECONDS = 300


def wait(run: subprocess.Popen[str], happened: Callable[[], object], what: str) -> None:
    """Until it happened; the job must still run then."""
    deadline = time.monotonic() + MOST_SECONDS
    while not happened():
        assert run.poll() is None, f"{what}: the job ended first\n{run.communicate()[0]}"
        assert time.monotonic() < deadline, f"{what}: not in {MOST_SECONDS} s"
        time.sleep(0.05)


def finish(run: subprocess.Popen[str]) -> str:
    """What the job said until its end, which must come."""
    try:
        return run.communicate(timeout=MOST_SECONDS)[0]
    finally:
        run.kill()


def seconds_beyond_start(started: float) -> float:
    """Seconds since then, without those that this machine takes now to start Python and import Ray."""
    elapsed = time.monotonic() - started
    line = [
        sys.executable,
        "-c",
        "import framemill.cluster.extraction, framemill.cluster.engines.ray.connecting",
    ]
    before = time.monotonic()
    subprocess.run(line, cwd=PROJECT, check=True, timeout=MOST_SECONDS)
    return elapsed - (time.monotonic() - before)


def num_done(out: Path) -> int:
    """Files whose rows are published."""
    return len(rows_of(out, "media")) if (out / "media").is_dir() else 0


def find_actors(some: Sequence[Machine]) -> list[tuple[Machine, int]]:
    """Actors at work, each with the machine that it runs on."""
    return [(machine, pid) for machine in some for pid in machine.find("ray::", "ShardProcessorActor")]
