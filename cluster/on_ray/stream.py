"""Results of a Ray Data pipeline as they come, without ever being stuck in it."""

from __future__ import annotations

import queue
import threading
import time
from typing import cast

import pyarrow as pa
import ray.data

# Tasks that nobody has begun for so long are worth a word: a full cluster, or one that still grows.
STALL_SECONDS = 120.0
# Results that wait to be looked at; more and the pipeline pauses.
MOST_WAITING = 1024


class ResultStream:
    """Runs a pipeline in a thread of its own, for iterating over it cannot be interrupted.

    Args:
        results: a dataset with a column `result` of text.

    Attributes:
        is_done: whether every result was taken.
    """

    def __init__(self, results: ray.data.Dataset) -> None:
        self.is_done = False
        self._results = results
        self._waiting: queue.Queue[list[str] | BaseException | None] = queue.Queue(MOST_WAITING)
        threading.Thread(target=self._read, name="ray-results", daemon=True).start()

    def take(self, timeout_seconds: float) -> list[str]:
        """The next results; none when none came in time, or none is left.

        Raises:
            Exception: what ended the pipeline.
        """
        try:
            taken = self._waiting.get(timeout=timeout_seconds)
        except queue.Empty:
            return []
        if isinstance(taken, BaseException):
            raise taken
        if taken is None:
            self.is_done = True
            return []
        return taken

    def _read(self) -> None:
        try:
            for batch in self._results.iter_batches(batch_size=None, batch_format="pyarrow"):
                self._waiting.put(cast(pa.Table, batch)["result"].to_pylist())
            self._waiting.put(None)
        except BaseException as error:  # crosses to the thread that takes
            self._waiting.put(error)


class StallWatch:
    """Notices when nothing happens for long."""

    def __init__(self, seconds: float = STALL_SECONDS) -> None:
        self._seconds = seconds
        self._since = time.monotonic()

    def note(self) -> None:
        """Something happened."""
        self._since = time.monotonic()

    def waited(self, num_at_work: int) -> float:
        """Seconds without anything happening, told once in every such stretch; otherwise 0.

        Args:
            num_at_work: tasks begun and not finished: they have deadlines of their own.
        """
        now = time.monotonic()
        waited = now - self._since
        if num_at_work or waited >= self._seconds:
            self._since = now
        return 0.0 if num_at_work or waited < self._seconds else waited
