"""Results of a Ray Data pipeline as they come, without ever being stuck in it."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import Any, cast

import pyarrow as pa
import ray.data
import ray.exceptions

from framemill.cluster.engines.ray.ray_logging import PipelineError, one_line

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
        self._is_closed = threading.Event()
        self._executor: Any = None
        # Ray Data hands its executor out with the first result, and a run may have to end before.
        create: Any = results._create_executor
        cast(Any, results)._create_executor = lambda: self._keep(create())
        self._thread = threading.Thread(target=self._read, name="ray-results", daemon=True)
        self._thread.start()

    def take(self, timeout_seconds: float) -> list[str]:
        """The next results; none when none came in time, or none is left.

        Raises:
            RayError: what ended the pipeline; a `PipelineError` where that is none of Ray's.
        """
        try:
            taken = self._waiting.get(timeout=timeout_seconds)
        except queue.Empty:
            return []
        if isinstance(taken, ray.exceptions.RayError):
            raise taken
        if isinstance(taken, BaseException):
            raise PipelineError(one_line(taken)) from taken
        if taken is None:
            self.is_done = True
            return []
        return taken

    def close(self, timeout_seconds: float) -> None:
        """Ends the pipeline and its actors, waiting for so long; what they are working on is lost.

        Else its thread would go on beside the end of the run: take the death of each actor for a failure
        and tell of it on the terminal, or start Ray anew after it was shut down.
        """
        self._is_closed.set()
        deadline = time.monotonic() + timeout_seconds
        # In a thread, for the executor waits without limit for tasks that it cancelled.
        end = threading.Thread(target=self._end, args=(deadline,), name="ray-results-end", daemon=True)
        end.start()
        while (self._thread.is_alive() or end.is_alive()) and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):  # the reader may wait for room in the queue
                self._waiting.get(timeout=0.05)

    def _end(self, deadline: float) -> None:
        while self._thread.is_alive() and time.monotonic() < deadline:
            if self._executor is not None:
                with contextlib.suppress(Exception):
                    self._executor.shutdown(force=True)  # does nothing before it has begun
            self._thread.join(0.1)

    def _keep(self, executor: Any) -> Any:
        self._executor = executor
        if self._is_closed.is_set():
            raise PipelineError("closed before it began")
        return executor

    def _read(self) -> None:
        try:
            # With prefetching, Ray Data keeps each result back until the next one is there: rows would be
            # committed late, and a failure that ends the run told late, by as long as a task takes.
            for batch in self._results.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                if self._is_closed.is_set():
                    return
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
