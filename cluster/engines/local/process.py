"""The supervisor's end of the pipe to the worker process."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from framemill.cluster.engines.local.own_folder import OwnFolder
from framemill.cluster.machine import import_root
from framemill.errors import SetupError

if TYPE_CHECKING:
    from framemill.cluster.run.messages import Message, Reply, WorkerConfig

# Products of matrices stay on the thread that asks: as many shards are at work as there are cores, and
# OpenBLAS's own threads spin between calls (measured: 210 ms of CPU a transcribed clip, 120 without).
# Arrow's jemalloc, which it does not use by default, would start a thread at once: outside the sandbox.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


@dataclass(frozen=True, slots=True)
class Died:
    """The worker process ended, with this return code."""

    code: int


class WorkerProcess:
    """One worker. Messages come out of `messages`, with who sent them; its last one is `Died`.

    Args:
        gpu: of several, the one that it uses; empty for all that there are.
        others: a worker whose messages come out of the same queue.

    It starts importing at once, and working when `configure` tells it what for. The messages' own module is
    imported after that start, since it takes about as long.

    Attributes:
        name: no other worker of this process has it. gpu: as it was given.
    """

    _numbers = itertools.count()

    def __init__(self, gpu: str = "", others: WorkerProcess | None = None) -> None:
        self.name = f"worker {next(self._numbers)}"
        self.gpu = gpu
        self.messages: queue.Queue[tuple[WorkerProcess, Died | Reply]] = (
            queue.Queue() if others is None else others.messages
        )
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        try:
            # Its sandbox leaves it no other: what lies in the common one is somebody else's.
            self._temporary = OwnFolder()
            self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115  closed by close()
        except OSError as exc:
            raise SetupError(
                f"no worker can be started without a temporary file ({exc.strerror or exc}): make room on "
                "the disk, or name a folder on another by TMPDIR"
            ) from exc
        # The worker must find our packages wherever the run was started.
        path = os.pathsep.join(filter(None, [str(import_root()), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "framemill.cluster.engines.local.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={
                **os.environ,
                **ENVIRONMENT,
                **({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}),
                "PYTHONPATH": path,
                "TMPDIR": self._temporary.path,
            },
            start_new_session=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._write, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def configure(self, config: WorkerConfig) -> None:
        """Sends the first line."""
        self.send(config)

    def send(self, message: Message) -> None:
        """Sends one message, without ever waiting; a dead worker takes none, and `messages` tells so."""
        from framemill.cluster.run.messages import encode

        self._outbox.put(encode(message) + b"\n")

    def kill(self) -> None:
        """Ends it at once, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._outbox.put(None)

    def close(self) -> None:
        """Lets it end; kills it if it does not within five seconds."""
        self._outbox.put(None)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._log.close()
        self._temporary.remove()

    def memory_bytes(self) -> int:
        """Memory of its own, 0 once it has ended.

        Pages of files do not count: the kernel takes them back when it needs them.
        """
        import psutil  # not needed before the first look at a worker

        try:
            memory = psutil.Process(self.pid).memory_info()
        except psutil.Error:
            return 0  # it ended
        return int(memory.rss - getattr(memory, "shared", 0))

    def last_output(self) -> str:
        """The end of what it wrote to its standard error."""
        self._log.seek(0)
        return self._log.read()[-2000:].decode(errors="replace").strip()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            from framemill.cluster.run.messages import decode_reply

            self.messages.put((self, decode_reply(line)))
        self.messages.put((self, Died(self._process.wait())))

    def _write(self) -> None:
        """A thread of its own writes: a worker that hangs leaves its pipe full, and must still be watched."""
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError), pipe:
            while (line := self._outbox.get()) is not None:
                pipe.write(line)
                pipe.flush()


def describe_death(code: int) -> str:
    """A return code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
