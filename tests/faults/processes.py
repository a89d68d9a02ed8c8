"""The real command in real processes that are forked, with all imported: a run takes a tenth of a second.

Supervisor and worker are what they are otherwise, two processes with pipes between them, and can be killed;
only that neither begins by importing. Of workers some are forked ahead, since a process with threads, as the
supervisor soon is, should not be forked.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, ClassVar

from tests.faults.seam import Call, Fault, Seam

WORKERS = 3  # as often as a worker dies before a run gives up
DEADLINE_SECONDS = 120.0  # of a run that takes a tenth of a second, on a machine where ten others run
FORKED = multiprocessing.get_context("forkserver")
# Held by a thread that starts a process or asks for an exit code. `start` asks for those of all the others:
# of two threads that read one code the second finds nothing, and takes 255 for it.
ASKING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        code: exit code; None where it had to be killed, negative where a signal ended it.
        said: what it wrote to standard error. has_struck: whether its fault happened.
    """

    code: int | None
    said: str
    has_struck: bool


def start_server() -> None:
    """Has what a run needs imported by the process that runs are forked from."""
    FORKED.set_forkserver_preload(["tests.faults.preloaded"])


def run(
    arguments: Sequence[str], folder: Path, fault: Fault | None = None, *, log: Path | None = None,
    trace: Path | None = None,
) -> Ended:  # fmt: skip
    """Runs `framemill` with these arguments.

    Args:
        folder: calls on what lies in it are counted; what the run says lies beside it.
        fault: what happens at which of them.
        log: gets the calls of all processes, see `read_calls`. trace: gets their effects, see `power_loss`.
    """
    said, struck = folder.with_name(folder.name + ".said"), folder.with_name(folder.name + ".struck")
    environment = {**os.environ, "FRAMEMILL_CACHE_DIR": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    job = (list(arguments), str(folder), fault, log, trace, str(said), str(struck), environment)
    with ASKING:
        process = FORKED.Process(target=_supervise, args=job)
        process.start()
    connection.wait([process.sentinel], DEADLINE_SECONDS)
    with ASKING:
        process.join(0)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
    has_struck = struck.exists() and struck.read_bytes()[1] == 1
    struck.unlink(missing_ok=True)
    return Ended(code, said.read_text(errors="replace"), has_struck)


def read_calls(log: Path) -> list[Call]:
    """The calls that were logged, those of each process in its order."""
    return [Call(*line.split("\t")) for line in log.read_text().splitlines()]


def _supervise(
    arguments: list[str], folder: str, fault: Fault | None, log: Path | None, trace: Path | None,
    said: str, struck: str, environment: dict[str, str],
) -> None:  # fmt: skip
    os.environ.update(environment)
    os.setsid()
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    seam = Seam(folder, fault, struck, _appender(log), _tracer(trace))
    for number in range(WORKERS):
        ForkedWorker.spares.append(_Spare(seam, first=number == 0))
    from framemill.cluster.engines.local import process

    process.subprocess = SimpleNamespace(  # type: ignore[attr-defined]
        Popen=ForkedWorker, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    )
    from framemill.cluster.cli.main import main

    seam.install("supervisor")
    sys.exit(main(arguments))


def _appender(log: Path | None) -> Callable[[Call], None] | None:
    if log is None:
        return None
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    write = os.write
    return lambda call: (write(descriptor, f"{call.role}\t{call.name}\t{call.path}\n".encode()), None)[1]


def _tracer(trace: Path | None) -> Callable[..., None] | None:
    """One record a call, of both processes in one order: a write to the end of a file is in one piece."""
    if trace is None:
        return None
    descriptor = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    write = os.write

    def effect(*record: Any) -> None:
        data = pickle.dumps(record)
        write(descriptor, len(data).to_bytes(4, "big") + data)

    return effect


class _Spare:
    """A worker process that waits to be wanted."""

    def __init__(self, seam: Seam, first: bool) -> None:
        self.to_read, self._to_write = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            self._serve(seam, first, os.getppid())
        os.close(self.to_read[0])
        os.close(self._to_write[1])
        self.stdin: BinaryIO = os.fdopen(self.to_read[1], "wb")
        self.stdout: BinaryIO = os.fdopen(self._to_write[0], "rb")

    def _serve(self, seam: Seam, first: bool, supervisor: int) -> None:
        try:
            PR_SET_PDEATHSIG = 1
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            for other in ForkedWorker.spares:
                other.stdin.close()
                other.stdout.close()
            os.dup2(self.to_read[0], 0)
            os.dup2(self._to_write[1], 1)
            for end in (*self.to_read, *self._to_write):
                os.close(end)
            sys.stdin = os.fdopen(0)
            os.setsid()
            from framemill.cluster.engines.local import worker

            sys.argv = ["worker", str(supervisor)]
            # What a fault does is asked of the first run of the work, not of what repairs it.
            seam.install("worker" if first else "second worker")
            worker.main()
        finally:
            os._exit(1)


class ForkedWorker:
    """What the supervisor uses of `subprocess.Popen`."""

    spares: ClassVar[list[_Spare]] = []

    def __init__(self, *_: Any, **__: Any) -> None:
        spare = self.spares.pop(0)
        self.pid, self.stdin, self.stdout = spare.pid, spare.stdin, spare.stdout
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        with self._lock:
            if self._code is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or DEADLINE_SECONDS)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker", timeout or DEADLINE_SECONDS)
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
