"""The commands of a soak, the viewer that stays open, and what processes hold."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import psutil

from benchmarks.processes import descendants
from tests.cluster.extraction import PROJECT

OPS = "media,frames,scenes,audio_levels"
RUN_SECONDS = 300.0  # a run that takes longer hangs
MOST_SAMPLES = 400  # of which all pairs are looked at
QUESTIONS = ("sequence", "overview", "shots", "facets", "files", "runs", "errors", "people", "tags")


class Commands:
    """`framemill` in processes whose temporary files lie in `base`."""

    def __init__(self, base: Path) -> None:
        self.temporary = base / "tmp"
        self.temporary.mkdir()
        self._environment = {
            **os.environ,
            "FRAMEMILL_CACHE_DIR": str(base / "cache"),
            "TMPDIR": str(self.temporary),
        }

    def start(self, *arguments: Path | str, stdout: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
        """Starts one, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "framemill", *map(str, arguments)],
            cwd=PROJECT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def extract(self, sources: Path, out: Path) -> subprocess.Popen[str]:
        """Starts the command that a soak repeats."""
        return self.start("extract", sources, "-o", out, "--ops", OPS)

    def run(self, *arguments: Path | str) -> tuple[int | None, str, float]:
        """Exit code, what was said, and seconds of a command."""
        started = time.monotonic()
        code, said = end(self.start(*arguments))
        return code, said, time.monotonic() - started


def end(process: subprocess.Popen[str]) -> tuple[int | None, str]:
    """Waits for the end of a command; None where it had to be ended."""
    try:
        said, _ = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return None, process.communicate()[0]
    return process.returncode, said


class OpenViewer:
    """`framemill view`, with a browser that asks it everything again and again."""

    def __init__(self, commands: Commands, out: Path) -> None:
        self.process = commands.start("view", out, "-q")
        assert self.process.stdout is not None
        self._url = self.process.stdout.readline().strip()
        self._client = httpx.Client(trust_env=False, follow_redirects=True, timeout=60.0)
        assert self._client.get(self._url).status_code == 200, self._url

    def ask(self) -> list[str]:
        """Asks all; addresses that were not answered well."""
        bad = []
        for name in QUESTIONS:
            answer = self._client.get(httpx.URL(self._url).join(f"/api/{name}"))
            if answer.status_code != 200:
                bad.append(f"/api/{name}: {answer.status_code} {answer.text[:200]}")
        return bad

    def close(self) -> None:
        """Ends it."""
        self._client.close()
        self.process.terminate()
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


@dataclass(frozen=True, slots=True)
class Held:
    """What a process and those that it started hold: memory of their own in bytes, and descriptors."""

    num_files: int
    memory: int
    descriptors: int


def look(pid: int, num_files: int, *, family: bool = True) -> Held | None:
    """What a process holds now, beside how many files there are; None where it ended.

    Args:
        family: with the processes that it started.
    """
    memory = descriptors = 0
    for each in descendants(pid) if family else {pid}:
        try:
            process = psutil.Process(each)
            memory += process.memory_full_info().uss
            descriptors += process.num_fds()
        except psutil.Error:
            continue  # it ended meanwhile
    return Held(num_files, memory, descriptors) if memory else None


def megabytes_per_thousand(samples: Sequence[Held]) -> float:
    """How memory grows with files: the median of all slopes between two samples of the later two thirds."""
    late = _late(samples)
    slopes = [
        (b.memory - a.memory) / (b.num_files - a.num_files)
        for number, a in enumerate(late)
        for b in late[number + 1 :]
        if b.num_files != a.num_files
    ]
    return statistics.median(slopes) * 1000 / 1e6 if slopes else 0.0


def thousands(samples: Sequence[Held]) -> float:
    """How many thousand files came while these were taken."""
    late = _late(samples)
    return (late[-1].num_files - late[0].num_files) / 1000 if late else 0.0


def _late(samples: Sequence[Held]) -> Sequence[Held]:
    """Without the first third: a process comes to its size first. Some hundred samples say as much as all."""
    late = samples[len(samples) // 3 :]
    return late[:: max(1, len(late) // MOST_SAMPLES)]
