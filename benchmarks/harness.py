"""Runs commands in turn (A B A B ...), checks what they did, and measures what they cost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import descendants, proportional_bytes

REPOSITORY = Path(__file__).resolve().parent.parent
LAUNCH = Path(__file__).with_name("launch.py")
TIMEOUT_SECONDS = 1800
SAMPLING_SECONDS = 0.1


class BenchmarkError(Exception):
    """A command failed or produced something else than it should: its time means nothing."""


class SkippedError(Exception):
    """A benchmark cannot run here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where inputs come from and how often to run.

    Attributes:
        media, models: folders of real clips and of weights. cache: where made inputs are kept.
        runs: measured runs of each command. cores: CPU cores this process may use.
    """

    media: Path
    models: Path
    cache: Path
    runs: int
    cores: int

    def scratch(self, name: str) -> Path:
        """A path for output that does not exist yet."""
        path = self.cache / "scratch" / name
        remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def remove(path: Path) -> None:
    """Deletes a file or folder if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One program with its arguments.

    Attributes:
        arguments: as given to the system, without a shell.
        prepare: run before each start, unmeasured (removes old output).
        check: given stdout after each run, raises BenchmarkError if the output is wrong.
        environment: added to that of this process.
        watch_memory: whether to sample the memory of all its processes together.
    """

    arguments: Sequence[str | Path]
    prepare: Callable[[], None] = lambda: None
    check: Callable[[str], None] = lambda stdout: None
    environment: Mapping[str, str] = field(default_factory=dict)
    watch_memory: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run cost.

    Attributes:
        seconds: wall clock. cpu_seconds: user and system, children included.
        peak_bytes: resident memory of the largest process.
        peak_sum_bytes: of all its processes together (shared pages counted once); 0 where not watched.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    peak_sum_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_bytes, other.peak_bytes),
            max(self.peak_sum_bytes, other.peak_sum_bytes),
        )


def run_once(command: Command) -> Cost:
    """Runs the command to its end and checks exit code and output."""
    command.prepare()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "cost.json"
        with (Path(folder) / "stderr").open("w+b") as stderr, (Path(folder) / "stdout").open("w+b") as stdout:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", LAUNCH, report, *map(str, command.arguments)],
                cwd=REPOSITORY,
                env={**os.environ, **command.environment},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            with _memory_watch(process.pid, command.watch_memory) as peak:
                try:
                    process.wait(TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    raise BenchmarkError(f"no end after {TIMEOUT_SECONDS} s: {command.arguments}") from None
            stderr.seek(0)
            stdout.seek(0)
            told, said = stderr.read().decode(errors="replace"), stdout.read().decode(errors="replace")
        if not report.exists():
            raise BenchmarkError(f"could not start {command.arguments}:\n{told[-2000:]}")
        cost = json.loads(report.read_text(encoding="utf-8"))
    code = cost.pop("exit_code")
    if code != 0:
        words = " ".join(map(str, command.arguments))
        raise BenchmarkError(f"exit code {code}: {told[-1000:] or said[-1000:]} (from {words})")
    command.check(said)
    return Cost(**cost, peak_sum_bytes=peak[0])


def run_in_turn(runs: int, *sides: Command | Sequence[Command]) -> list[list[Cost]]:
    """Costs by side, then by run. A side of several commands runs them one after another.

    One unmeasured round comes first, so that no side pays for cold caches.
    """
    costs: list[list[Cost]] = [[] for _ in sides]
    for turn in range(runs + 1):
        for side, commands in enumerate(sides):
            sequence = [commands] if isinstance(commands, Command) else commands
            total = sum((run_once(command) for command in sequence), start=Cost(0.0, 0.0, 0))
            if turn:
                costs[side].append(total)
    return costs


def summary(costs: Sequence[Cost]) -> dict[str, float]:
    """Medians of each figure, for the record."""
    return {
        name: statistics.median(getattr(cost, name) for cost in costs)
        for name in ("seconds", "cpu_seconds", "peak_bytes", "peak_sum_bytes")
    }


@contextmanager
def _memory_watch(root: int, wanted: bool) -> Iterator[list[int]]:
    """While inside, [0] of what it yields grows to the peak of the memory of `root`'s descendants."""
    peak = [0]
    if not wanted or not Path("/proc/self/smaps_rollup").exists():
        yield peak
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLING_SECONDS):
            peak[0] = max(peak[0], sum(map(proportional_bytes, descendants(root) - {root})))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def time_until(command: Command, happened: Callable[[], bool]) -> float:
    """Seconds from the start of the command until the event; the command then runs to its end."""
    command.prepare()
    started = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command.arguments)),
        cwd=REPOSITORY,
        env={**os.environ, **command.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds = None
    while seconds is None and time.perf_counter() - started < TIMEOUT_SECONDS:
        running = process.poll() is None
        if happened():
            seconds = time.perf_counter() - started
        elif not running:
            break
        time.sleep(0.002)
    if process.wait(TIMEOUT_SECONDS) != 0 or seconds is None:
        raise BenchmarkError(f"failed, or nothing appeared: {command.arguments}")
    return seconds
