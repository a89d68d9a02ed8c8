"""The worker processes of a run, one for each GPU where models run."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from framemill.cluster.engines.local.process import WorkerProcess
from framemill.cluster.run.sandbox import describe, require_whole

if TYPE_CHECKING:
    from framemill.cluster.engines.local.process import Died
    from framemill.cluster.request import Reporter
    from framemill.cluster.run.jobs import Job
    from framemill.cluster.run.messages import Reply, WorkerConfig


class Workers:
    """Worker processes, which may have been started ahead and are not configured yet.

    Args:
        processes: one at least; their messages come out of one queue.
        config: of the whole run. Each gets its part of threads and memory; the first writes the trace.

    Attributes:
        room: shards that each works on at once. memory_bytes: limit of each.
        ready: names of those that said so.
        patience: name -> monotonic time until which one is waited for, whatever it was sent: it prepares.
    """

    def __init__(self, processes: Sequence[WorkerProcess], config: WorkerConfig) -> None:
        self._all = list(processes)
        self._homes: dict[str, WorkerProcess] = {}
        self._config = config
        self.room = max(1, config.in_flight // len(self._all))
        self.memory_bytes = config.memory_bytes // len(self._all)
        self.ready: set[str] = set()
        self.patience: dict[str, float] = {}
        self._told = ""

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def configure(self) -> None:
        """Sends each what it has to know."""
        for number, process in enumerate(self._all):
            part = msgspec.structs.replace(
                self._config,
                threads=max(1, self._config.threads // len(self)),
                in_flight=self.room,
                memory_bytes=self.memory_bytes,
                profile="" if number else self._config.profile,
            )
            process.configure(part)

    def begun(self, process: WorkerProcess, layers: Mapping[str, str], reporter: Reporter) -> None:
        """One is ready, and these layers of its sandbox hold: told once, to everybody where one does not.

        Raises:
            SetupError: one does not, and all are to.
        """
        require_whole(self._config.sandbox.mode, layers)
        text = describe(layers)
        if text != self._told:
            is_whole = bool(layers) and not any(layers.values())
            reporter.message(1 if is_whole else 0, text)
            self._told = text
        self.ready.add(process.name)
        self.patience.pop(process.name, None)

    def home(self, job: Job) -> WorkerProcess:
        """Who opened a source, and has its rows; of one that nobody opened, the first."""
        return self._homes.get(job.file.uri, self._all[0])

    def settle(self, job: Job, process: WorkerProcess) -> None:
        """A source is opened there."""
        self._homes[job.file.uri] = process

    def forget(self, job: Job) -> None:
        """A source is through."""
        self._homes.pop(job.file.uri, None)

    def receive(self, timeout_seconds: float) -> tuple[WorkerProcess, Died | Reply | None]:
        """The next message and who sent it; None when none came in time, or from one that was replaced."""
        try:
            process, message = self._all[0].messages.get(timeout=timeout_seconds)
        except queue.Empty:
            return self._all[0], None
        return process, message if process in self._all else None

    def kill(self) -> None:
        """Ends all at once."""
        for process in self._all:
            process.kill()

    def close(self) -> None:
        """Lets all end."""
        for process in self._all:
            process.close()

    def renew(self) -> None:
        """Starts each anew, after `kill`; what they had is forgotten."""
        self.close()
        started: list[WorkerProcess] = []
        for process in self._all:
            started.append(WorkerProcess(process.gpu, started[0] if started else None))
        self._all = started
        self._homes.clear()
        self.ready.clear()
        self.patience.clear()
        self.configure()
