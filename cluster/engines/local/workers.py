"""The worker processes of a run: one for each GPU where models run, or as many as the cores need."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from framemill.cluster.engines.local.process import WorkerProcess
from framemill.cluster.engines.run import TICK_SECONDS
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
        room: shards that all together work on at once. memory_bytes: limit of each.
        ready: names of those that said so.
        patience: name -> monotonic time until which one is waited for, whatever it was sent: it prepares.
    """

    def __init__(self, processes: Sequence[WorkerProcess], config: WorkerConfig) -> None:
        self._all = list(processes)
        self._homes: dict[str, WorkerProcess] = {}
        self._config = config
        self._rooms = _parts(config.in_flight, len(self._all))
        self.room = sum(self._rooms)
        self.memory_bytes = config.memory_bytes // len(self._all)
        self.ready: set[str] = set()
        self.patience: dict[str, float] = {}
        self._told = ""
        self._next_look = 0.0

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def configure(self) -> None:
        """Sends each what it has to know."""
        threads = _parts(self._config.threads, len(self))
        for number, process in enumerate(self._all):
            part = msgspec.structs.replace(
                self._config,
                threads=threads[number],
                in_flight=self._rooms[number],
                memory_bytes=self.memory_bytes,
                profile="" if number else self._config.profile,
            )
            process.configure(part)

    def room_of(self, process: WorkerProcess) -> int:
        """Shards that one works on at once."""
        return self._rooms[self._all.index(process)]

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

    def free_for(self, job: Job, shards: Counter[str], is_one_stage: bool) -> WorkerProcess | None:
        """Who may work on the next shard of a job; None where they have no room.

        Args:
            shards: name of a worker -> how many it works on. is_one_stage: whether nothing builds on what
                comes of it: that lies with the worker that merged it.
        """

        def is_free(one: WorkerProcess) -> bool:
            return shards[one.name] < self.room_of(one)

        if len(job.shards) > 1 and is_one_stage:
            return min(filter(is_free, self._all), key=lambda one: shards[one.name], default=None)
        home = self.home(job)
        return home if is_free(home) else None

    def least_loaded(self, loads: Counter[str]) -> WorkerProcess:
        """Who has the least to do for its room.

        Args:
            loads: name of a worker -> what it has to do.
        """
        return min(self._all, key=lambda one: loads[one.name] / self.room_of(one))

    def too_large(self, limit_bytes: int, now: float) -> WorkerProcess | None:
        """One that takes more memory than this. Many short files answer so often that to look each time
        would be most of the work: it is done a few times a second.

        Args:
            now: monotonic time.
        """
        if now < self._next_look:
            return None
        self._next_look = now + TICK_SECONDS
        return next((one for one in self._all if one.memory_bytes() > limit_bytes), None)

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


def _parts(total: int, count: int) -> list[int]:
    """`total` in parts that differ by one at most, each at least 1."""
    return [max(1, total // count + (number < total % count)) for number in range(count)]
