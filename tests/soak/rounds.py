"""Rounds of a soak: files come and go, one run is disturbed or not, and what there is gets measured."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.lease import STALE_SECONDS, read_holder
from tests.faults.cases import FORESEEN, UNFORESEEN, assert_whole
from tests.soak.arrivals import Arrivals
from tests.soak.processes import RUN_SECONDS, Commands, Held, OpenViewer, end, look

KINDS = ("undisturbed", "worker killed", "supervisor killed")
ORPHAN_SECONDS = 15.0
STATUS_EVERY = 4  # rounds


class Soak:
    """One result folder through all of it.

    Attributes:
        happened: how often what was done. misses: what went wrong, in lines.
        supervisor, viewer: what they held, in order. status_seconds: of `framemill status`, in order.
        most_parts: of a table at once.
    """

    def __init__(self, base: Path, moments: random.Random) -> None:
        self.base, self.out = base, base / "out"
        self.moments = moments
        self.commands = Commands(base)
        self.arrivals = Arrivals(base, moments)
        self.happened: Counter[str] = Counter()
        self.misses: list[str] = []
        self.supervisor: list[Held] = []
        self.viewer: list[Held] = []
        self.status_seconds: list[float] = []
        self.most_parts = 0
        self._view: OpenViewer | None = None
        self._run_seconds = 2.0

    def close(self) -> None:
        """Closes the viewer."""
        if self._view is not None:
            self._view.close()

    def start(self, count: int) -> None:
        """One run over so many files, whose supervisor is watched."""
        self.arrivals.arrive(4, in_whole=True)
        self._expect(self.commands.extract(self.arrivals.folder, self.out), "the first run")
        self._view = OpenViewer(self.commands, self.out)
        self.arrivals.arrive(count, in_whole=True)
        run = self.commands.extract(self.arrivals.folder, self.out)
        while run.poll() is None:
            num_files = len(Dataset.open(self.out, create=False).state.sources)
            if (held := look(run.pid, num_files, family=False)) is not None:
                self.supervisor.append(held)
            self._ask()
            time.sleep(0.5)
        self._expect(run, f"the run over {count} files")

    def round(self, kind: str) -> None:
        """Files come and go, before a run and while it works; it is disturbed as `kind` says."""
        self.happened[kind] += 1
        self.arrivals.grow()
        self.arrivals.vanish(self.moments.randint(0, 6))
        self.arrivals.arrive(self.moments.randint(2, 12))
        started = time.monotonic()
        run = self.commands.extract(self.arrivals.folder, self.out)
        time.sleep(self.moments.uniform(0.1, 0.9) * self._run_seconds)
        if self.moments.random() < 0.3:
            self.arrivals.vanish(2)
            self.arrivals.arrive(1)
        if kind == "takeover":
            self._take_over(run)
        elif kind != "undisturbed":
            self._kill(run, kind)
        else:
            self._expect(run, "a run")
            self._run_seconds = 0.7 * self._run_seconds + 0.3 * (time.monotonic() - started)
        self._ask()
        self._measure()

    def compact(self) -> None:
        """Joins parts by the command."""
        self.happened["compaction"] += 1
        code, said, _ = self.commands.run("compact", self.out)
        self._check("`framemill compact`", code, said)

    def _kill(self, run: subprocess.Popen[str], kind: str) -> None:
        try:
            workers = [child.pid for child in psutil.Process(run.pid).children()]
        except psutil.NoSuchProcess:
            workers = []
        for pid in [run.pid] if kind == "supervisor killed" else workers:
            if run.poll() is None and psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        code, said = end(run)
        self._check(f"a run whose {kind.replace(' ', ' was ')}", code, said, signal.SIGKILL)
        deadline = time.monotonic() + ORPHAN_SECONDS
        while any(map(_is_alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if any(map(_is_alive, workers)):
            self.misses.append("a worker outlived its supervisor")

    def _take_over(self, run: subprocess.Popen[str]) -> None:
        """The holder of the lease is stopped until another run takes it, and then goes on."""
        if not _stop_holder(run, self.out / "_framemill"):
            self.happened["takeover"] -= 1  # it ended before it could be stopped
            return self._expect(run, "a run that could not be stopped")
        started = time.monotonic()
        other = self.commands.extract(self.arrivals.folder, self.out)
        while other.poll() is None and time.monotonic() < started + STALE_SECONDS + RUN_SECONDS:
            self._ask()
            time.sleep(2.0)
        code, said = end(other)
        self._check("the run that took over", code, said)
        if "waits for run" not in said:
            self.misses.append(f"the lease of a stopped run was not waited for: {said[-300:]}")
        os.kill(run.pid, signal.SIGCONT)
        code, said = end(run)
        self._check("the run that was taken over from", code, said)
        # It may have been stopped between its last commit and its end: then nothing was taken from it.
        if code != 0 and "lost its lease" not in said:
            self.misses.append(f"a run that lost its lease ended with {code}: {said[-300:]}")

    def _expect(self, run: subprocess.Popen[str], what: str) -> None:
        code, said = end(run)
        # Files that vanish while it works, and such as are half written, have failed.
        if code not in (0, 3):
            self.misses.append(f"{what} ended with {code}: {said.strip()[-500:]}")

    def _check(self, what: str, code: int | None, said: str, killed_by: int = 0) -> None:
        if code is None:
            self.misses.append(f"{what} did not end in {RUN_SECONDS:g} s")
        elif any(word in said for word in UNFORESEEN) or code not in (*FORESEEN, -killed_by):
            self.misses.append(f"{what} ended with {code}: {said.strip()[-500:]}")

    def _ask(self) -> None:
        assert self._view is not None
        self.misses += self._view.ask()
        held = look(self._view.process.pid, self._num_files())
        if held is None:
            self.misses.append("the viewer ended")
        else:
            self.viewer.append(held)

    def _num_files(self) -> int:
        return len(Dataset.open(self.out, create=False).state.sources)

    def _measure(self) -> None:
        state = Dataset.open(self.out, create=False).state
        parts = Counter(part.table for part in state.parts.values())
        self.most_parts = max(self.most_parts, *parts.values())
        if self.happened.total() % STATUS_EVERY == 0:
            took = [self.commands.run("status", self.out, "--json") for _ in range(2)]
            self.misses += [f"`framemill status` ended with {code}" for code, _, _ in took if code]
            self.status_seconds.append(min(seconds for _, _, seconds in took))
            try:
                assert_whole(str(self.out))
            except Exception as error:
                self.misses.append(f"the folder: {type(error).__name__}: {error}")


def _stop_holder(run: subprocess.Popen[str], system: Path) -> bool:
    """Stops a run that holds the lease, at a moment when it does not hold the lock of its file, too."""
    while run.poll() is None:
        holder = read_holder(system)
        if holder is None or holder.pid != run.pid:
            time.sleep(0.01)
            continue
        os.kill(run.pid, signal.SIGSTOP)
        with (system / "lease.lock").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                now = read_holder(system)
                if now is not None and now.pid == run.pid:
                    return True
            except BlockingIOError:
                pass
        os.kill(run.pid, signal.SIGCONT)
        time.sleep(0.02)
    return False


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.NoSuchProcess:
        return False
