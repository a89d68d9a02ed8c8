"""A run with a SIGKILL in it, what it left, and the same command once more."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from framemill.cluster.results.dataset import Dataset
from tests.cluster.extraction import OPS, render_clip, tables_of
from tests.faults.cases import FORESEEN, UNFORESEEN, assert_whole, leftovers

SUPERVISOR = "supervisor"
SHARED = "actor that runs share"  # of Ray Data; it stays when a run ends
RUN_SECONDS = 180.0  # of a run that takes seconds: one that takes longer hangs
ORPHAN_SECONDS = 30.0  # that a worker may outlive its supervisor
ATTEMPTS = 5  # a run may end before its moment comes
EVERYTHING = (*OPS, "speech")
CONSTANTS = {"shard_seconds": 3.0}

Tables = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Engine:
    """Where runs take place.

    Attributes:
        name: as the table shows it. start: starts `framemill` with these arguments.
        processes: those of a run that can be killed now, by what they do; the supervisor is one.
        keeps_processes: whether later runs find started what the first one started.
    """

    name: str
    start: Callable[[list[str]], subprocess.Popen[str]]
    processes: Callable[[subprocess.Popen[str]], Mapping[str, list[int]]]
    keeps_processes: bool = False


@dataclass(frozen=True, slots=True)
class Killed:
    """What came of a kill.

    Attributes:
        role: what the killed process did. at: seconds since the start.
        is_finished: whether the run ended as an undisturbed one, without its process.
        problem: what went wrong, in a line; empty where nothing did.
    """

    role: str
    at: float
    is_finished: bool
    problem: str


def make_corpus(folder: Path) -> Path:
    """Short clips, one that is divided, a copy, one cut off and one that is no video at all."""
    folder.mkdir()
    for number in range(4):
        render_clip(folder / f"{number}.mp4", seed=number, seconds=1.0 + number)
    long = render_clip(folder / "long.mkv", seed=30, seconds=9.0)
    (folder / "copy.mp4").write_bytes((folder / "2.mp4").read_bytes())
    (folder / "cut.mkv").write_bytes(long.read_bytes()[: long.stat().st_size * 2 // 3])
    (folder / "garbage.mp4").write_bytes(bytes(range(256)) * 40)
    return folder


class Chaos:
    """Kills of one engine over one corpus.

    Args:
        base: gets the result folders. expected: rows of an undisturbed run of any engine; None for those of
            this one.
    """

    def __init__(self, engine: Engine, corpus: Path, base: Path, expected: Tables | None = None) -> None:
        self.engine = engine
        self._corpus = corpus
        self._base = base
        self._code: int | None = 0
        self.seconds = self._undisturbed()
        if engine.keeps_processes:
            self.seconds = self._undisturbed()
        self.expected = tables_of(base / f"{engine.name} undisturbed") if expected is None else expected

    def _undisturbed(self) -> float:
        out = self._out(f"{self.engine.name} undisturbed")
        started = time.monotonic()
        self._code, said = _end(self._start(out))
        assert self._code == 3, said  # two of the files are damaged
        return time.monotonic() - started

    def _out(self, name: str) -> Path:
        """A new result folder in which short files are divided."""
        out = self._base / name
        if out.exists():
            out.rename(self._base / f"{name} {time.monotonic_ns()}")
        Dataset.open(out, create=True, constants=CONSTANTS)
        return out

    def _start(self, out: Path) -> subprocess.Popen[str]:
        asked = ["--sample", "every:0.5", "--ops", ",".join(EVERYTHING), "-q"]
        return self.engine.start(["extract", str(self._corpus), "-o", str(out), *asked])

    def kill_once(self, moments: random.Random, number: int) -> Killed:
        """One run, one kill, and the same command again."""
        out = self._base / f"{self.engine.name} {number}"
        for attempt in range(ATTEMPTS):
            out = self._out(f"{self.engine.name} {number}.{attempt}")
            run = self._start(out)
            at = moments.uniform(0.02, 1.0) * self.seconds
            time.sleep(at)
            role, others = self._kill(run, moments)
            code, said = _end(run)
            if role:
                break
        else:
            return Killed("none", at, False, f"{ATTEMPTS} runs ended before their moments came")
        problem = self._problem(role, code, said, others)
        try:
            assert_whole(str(out))
        except Exception as error:
            problem = problem or f"what the kill left: {type(error).__name__}: {error}"
        return Killed(role, at, code == self._code, problem or self._again(out))

    def _kill(self, run: subprocess.Popen[str], moments: random.Random) -> tuple[str, list[int]]:
        """Kills a process of the run; what it did, and the other processes of the run."""
        if run.poll() is not None:
            return "", []
        processes = self.engine.processes(run)
        roles = sorted(role for role, pids in processes.items() if pids)
        if not roles:
            return "", []
        role = moments.choice(roles)
        victim = moments.choice(processes[role])
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return "", []
        own = [pid for other, pids in processes.items() if other != SHARED for pid in pids]
        return role, [pid for pid in own if pid != victim]

    def _problem(self, role: str, code: int | None, said: str, others: list[int]) -> str:
        if code is None:
            return f"the run did not end in {RUN_SECONDS:g} s"
        if any(word in said for word in UNFORESEEN):
            return f"it said {said.strip()[-500:]}"
        if role == SUPERVISOR:
            deadline = time.monotonic() + ORPHAN_SECONDS
            while (left := [pid for pid in others if _is_alive(pid)]) and time.monotonic() < deadline:
                time.sleep(0.02)
            return f"the supervisor was outlived by {', '.join(map(_name, left))}" if left else ""
        if code not in FORESEEN:
            return f"exit code {code}, and it said {said.strip()[-500:]}"
        return ""

    def _again(self, out: Path) -> str:
        """Runs the same command; what is wrong with its rows."""
        code, said = _end(self._start(out))
        if code != self._code:
            return f"the same command ended with {code}: {said.strip()[-500:]}"
        try:
            assert_whole(str(out))
            assert not (left := leftovers(str(out))), left
            found = tables_of(out)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        names = {*found, *self.expected}
        different = sorted(name for name in names if found.get(name) != self.expected.get(name))
        return f"other rows than undisturbed in {', '.join(different)}" if different else ""


def _end(run: subprocess.Popen[str]) -> tuple[int | None, str]:
    """Waits for the end of a run; None where it had to be ended."""
    try:
        said, told = run.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        run.kill()
        said, told = run.communicate()
        return None, said + (told or "")
    return run.returncode, said + (told or "")


def _name(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return "a process that has ended since"


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.NoSuchProcess:
        return False
