"""Results of Ray Data pipelines as they come, without ever being stuck in one.

Iterating over a pipeline cannot be interrupted, and Ray Data has no call that ends one from outside. So
pipelines run in an actor of their own: who kills it ends them, with their tasks and the actors they own.
"""

from __future__ import annotations

import importlib
import queue
import threading
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import ray
import ray.exceptions

from framemill.cluster.engines.ray.ray_logging import PipelineError, one_line

# Importing Ray Data takes a second of CPU: the driver starts this actor first.
if TYPE_CHECKING:
    import ray.data

# Results that wait to be looked at; more and the pipeline pauses.
MOST_WAITING = 1024
# The runner answers after so long, though there is nothing to tell.
ANSWER_SECONDS = 10.0


def settle_data() -> None:
    """How Ray Data is to behave in this process."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Else Ray ends the run when nothing is finished for half an hour, as happens where one long shard is
    # left. Tasks have deadlines of their own, and `StallWatch` tells when none is at work.
    context.execution_no_progress_timeout_s = -1


class PipelineRunner:
    """Runs pipelines, one after the other: an actor beside the driver."""

    def __init__(self) -> None:
        settle_data()
        # What pipelines are made of, while the driver looks at the nodes.
        importlib.import_module("framemill.cluster.engines.ray.pipeline")
        self._waiting: queue.Queue[list[str] | BaseException | None] = queue.Queue(MOST_WAITING)

    def begin(self, results: ray.data.Dataset) -> None:
        """Begins a pipeline, in a thread; the one before must be through.

        Args:
            results: a dataset with a column `result` of text.
        """
        threading.Thread(target=self._read, args=(results,), name="ray-results", daemon=True).start()

    def take(self) -> list[str] | None:
        """The results that wait, or else the next; none after `ANSWER_SECONDS`, None when all were taken.

        Raises:
            RayError: what ended the pipeline; a `PipelineError` where that is none of Ray's.
        """
        taken: list[str] = []
        try:
            while True:
                item = self._waiting.get(timeout=0.0 if taken else ANSWER_SECONDS)
                if isinstance(item, list):
                    taken += item
                elif taken:
                    # Told when these are taken. There is room: what ends a pipeline is the last of it.
                    self._waiting.put(item)
                    break
                elif item is None:
                    return None
                else:
                    raise _as_rays(item)
        except queue.Empty:
            pass
        return taken

    def _read(self, results: ray.data.Dataset) -> None:
        try:
            # With prefetching, Ray Data keeps each result back until the next one is there: rows would be
            # committed late, and a failure that ends the run told late, by as long as a task takes.
            for batch in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                self._waiting.put(cast(pa.Table, batch)["result"].to_pylist())
            self._waiting.put(None)
        except BaseException as error:  # crosses to the thread that takes
            self._waiting.put(error)


def _as_rays(error: BaseException) -> ray.exceptions.RayError:
    """The error, or a line of it: one of a task has a traceback for a text, and travels with it badly."""
    if isinstance(error, ray.exceptions.RayError) and not isinstance(error, ray.exceptions.RayTaskError):
        return error
    return PipelineError(one_line(error))


def open_runner(here: Any) -> Any:
    """Starts a `PipelineRunner`, and gives its handle; it holds no CPU.

    Args:
        here: the scheduling strategy that keeps it beside the driver.
    """
    runner: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(PipelineRunner)
    return runner.remote()


class ResultStream:
    """The driver's end of a pipeline.

    Args:
        runner: handle of a `PipelineRunner` in which no other pipeline runs.
        results: a dataset with a column `result` of text.

    Attributes:
        is_done: whether every result was taken.
    """

    def __init__(self, runner: Any, results: ray.data.Dataset) -> None:
        self.is_done = False
        self._runner = runner
        self._begun = runner.begin.remote(results)
        self._asked = runner.take.remote()

    def take(self, timeout_seconds: float) -> list[str]:
        """The next results; none when none came in time, or none is left.

        Raises:
            RayError: what ended the pipeline; a `PipelineError` where that is none of Ray's.
        """
        if not ray.wait([self._asked], timeout=timeout_seconds)[0]:
            return []
        try:
            ray.get(self._begun)
            taken = ray.get(self._asked)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, ray.exceptions.RayError) else error from None
        if taken is None:
            self.is_done = True
            return []
        self._asked = self._runner.take.remote()
        return cast(list[str], taken)
