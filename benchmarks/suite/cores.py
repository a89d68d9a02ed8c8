"""Many cores: how long a worker holds the interpreter's lock, and what that leaves of 64 cores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract
from benchmarks.harness import (
    REPOSITORY,
    TIMEOUT_SECONDS,
    BenchmarkError,
    Command,
    Setting,
    SkippedError,
)
from benchmarks.inputs import cut_clips, small_clips
from benchmarks.processes import command_line, descendants
from benchmarks.suite.runs import SIX
from framemill.cluster.engines.local.worker_counts import (
    HELD_IN_FILES,
    HELD_IN_MEDIA,
    Load,
    efficiency,
    plan_workers,
)

IN_FLIGHT, CORES = 8, 64
SAMPLES_PER_SECOND = 200
# Fewer say little about a share of some hundredths.
LEAST_SAMPLES = 1000
# py-spy cannot look at an interpreter that has not come to itself yet.
START_SECONDS = 0.5
AMPLE_BYTES = 1 << 40


def lock_held(setting: Setting) -> Measured:
    """Per cent of the run in which a worker on all cores of this machine holds the lock."""
    folder = cut_clips(setting, 80)
    command = extract(setting, [folder], setting.scratch("lock"), *_options(SIX), expect=SIX)
    shares = [_held(command) for _ in range(setting.runs)]
    return Measured(
        [100 * share * setting.cores for share in shares],
        {"of_cpu_time": shares, "planned_with": HELD_IN_MEDIA, "cores": setting.cores},
    )


def lock_held_files(setting: Setting) -> Measured:
    folder = small_clips(setting, 1000)
    ops = ("media",)
    command = extract(setting, [folder], setting.scratch("lock_files"), *_options(ops), expect=ops)
    return Measured([100 * _held(command) for _ in range(setting.runs)])


def many_cores(setting: Setting) -> Measured:
    """By the planner and its model of the lock: the least of what runs of several kinds reach."""
    loads = {
        "a thousand hours": Load(shards=6000, media_seconds=40_000.0, file_seconds=50.0),
        "10,000 clips": Load(shards=10_000, media_seconds=2_000.0, file_seconds=500.0),
        "100,000 files, media alone": Load(shards=100_000, media_seconds=100.0, file_seconds=5_000.0),
    }
    details: dict[str, dict[str, float]] = {}
    for name, load in loads.items():
        num = plan_workers(load, CORES, AMPLE_BYTES, 0)
        rooms = [CORES // num + (number < CORES % num) for number in range(num)]
        reached = sum(room * efficiency(room, load.held) for room in rooms) / CORES
        details[name] = {"processes": num, "reached": reached, "with_one": efficiency(CORES, load.held)}
    return Measured([min(found["reached"] for found in details.values())], details)


def _options(ops: Sequence[str]) -> tuple[str, ...]:
    return ("--ops", ",".join(ops), "--threads", str(IN_FLIGHT))


def _held(command: Command) -> float:
    """Share of the CPU time of a run's worker in which it holds the lock.

    py-spy looks at it all the time, once for who holds the lock and once for who computes or waits for a
    core. Of both what imports is left out. Who waits for a core counts as if it had one: other programs slow
    down those that hold the lock as much as those that do not, so that the ratio of the two stays.
    """
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        raise SkippedError("needs py-spy beside this Python")
    command.prepare()
    process = subprocess.Popen(
        list(map(str, command.arguments)),
        cwd=REPOSITORY,
        env={**os.environ, **command.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = _worker_of(process)
    looks = [_look(spy, worker, options) for options in (["--gil"], [])]
    said, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    holding, active = (_count(look) for look in looks)
    if process.returncode != 0:
        raise BenchmarkError(f"exit code {process.returncode}: {command.arguments}")
    command.check(said)
    if active < LEAST_SAMPLES:
        raise BenchmarkError(f"py-spy found somebody at work only {active} times, of {LEAST_SAMPLES}")
    return holding / active


def _worker_of(process: subprocess.Popen[str]) -> int:
    while process.poll() is None:
        for pid in descendants(process.pid):
            if "framemill.cluster.engines.local.worker" in command_line(pid):
                time.sleep(START_SECONDS)
                return pid
        time.sleep(0.01)
    raise BenchmarkError("no worker was started")


def _look(spy: Path, worker: int, options: list[str]) -> subprocess.Popen[str]:
    rate = ["--rate", str(SAMPLES_PER_SECOND), "--nonblocking", "--format", "raw"]
    return subprocess.Popen(
        [spy, "record", *options, *rate, "--output", "/dev/stdout", "--pid", str(worker)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _count(look: subprocess.Popen[str]) -> int:
    """Samples, of lines that end in how often a stack was seen."""
    said, _ = look.communicate(timeout=TIMEOUT_SECONDS)
    stacks = [line.rpartition(" ") for line in said.splitlines() if ";" in line or ":" in line]
    return sum(int(count) for stack, _, count in stacks if count.isdecimal() and "importlib" not in stack)


BENCHMARKS = [
    Benchmark(
        name="lock_held",
        work="six operations on 80 clips, 8 shards in flight: the interpreter lock held by the worker",
        against="the run, by py-spy, with all cores of this machine at work",
        goal=10,
        unit="%",
        at_least=False,
        run=lock_held,
        runs=3,
    ),
    Benchmark(
        name="lock_held_files",
        work="`media` alone of 1,000 small files, 8 in flight: the interpreter lock held by the worker",
        against="its CPU time, by py-spy; the planner counts on so much",
        goal=100 * HELD_IN_FILES,
        unit="%",
        at_least=False,
        run=lock_held_files,
        runs=3,
    ),
    Benchmark(
        name="many_cores",
        work="worker processes as planned for 64 cores, by the model of the lock: the least of three runs",
        against="64 times one core",
        goal=0.9,
        unit="of 1",
        at_least=True,
        run=many_cores,
        runs=1,
    ),
]
