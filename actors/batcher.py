"""Joins the calls of many threads into batches of one model: how inference is batched across files."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from framemill.models.arrays import array_module, await_producer, is_on_host
from framemill.models.runner import Runner, run_in_place

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class BatchStats:
    """What a batcher did so far.

    Attributes:
        num_calls: pieces asked for, of at most `max_batch` rows each.
        num_batches, num_rows: calls of the model, and rows in them.
        num_retried: pieces run again alone because a batch failed.
        fill: mean share of a full batch, 0..1; 0 before the first.
        wait_seconds: mean wait of a piece for its batch; 0 before the first.
    """

    num_calls: int
    num_batches: int
    num_rows: int
    num_retried: int
    fill: float
    wait_seconds: float = 0.0


@dataclass(eq=False, slots=True)
class _Piece:
    """Rows of one caller, waiting; `stays`: for results that stay where they are made."""

    inputs: Arrays
    num_rows: int
    stays: bool = False
    arrived: float = field(default_factory=time.monotonic)
    result: Future[Arrays] = field(default_factory=Future)

    @property
    def kind(self) -> object:
        """Only rows of equal names, types and shapes fit one batch, of one memory and with results in one."""
        rows = {
            name: (array.dtype, array.shape[1:], is_on_host(array)) for name, array in self.inputs.items()
        }
        return self.stays, rows


class Batcher:
    """A `framemill.models.runner.Runner` in front of another, for models that gain from batches.

    A thread of its own takes what is waiting, up to `max_batch` rows, and waits for more at most
    `max_wait_seconds` after the first of them came. For a runner that keeps several calls under way
    (`in_flight`) there are as many threads, which take batches in turns. Pieces are never split over two
    batches, and each caller's future is tied to its rows, so that owners cannot be mixed up. When a batch
    fails, each of its callers is served alone, so that only the guilty one gets the error.
    """

    def __init__(self, runner: Runner, max_batch: int, max_wait_seconds: float) -> None:
        self.max_batch = max_batch
        self._runner = runner
        self._max_wait_seconds = max_wait_seconds
        self._waiting: deque[_Piece] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._num_calls = self._num_batches = self._num_rows = self._num_retried = self._num_pieces = 0
        self._waited_seconds = 0.0
        self._taking = threading.Lock()
        num_threads = getattr(runner, "in_flight", 1)
        self._threads = [
            threading.Thread(target=self._serve, name="batcher", daemon=True) for _ in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """See `Runner.run`. Outputs may be views of a batch that other callers share: do not write to them.

        Raises:
            RuntimeError: the batcher is closed.
            ValueError: there is no row, or the inputs differ in their number.
            Exception: whatever the model raised for these very rows.
        """
        return self._run_pieces(inputs, stays=False)

    def run_in_place(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `InPlaceRunner.run_in_place`; raises what `run` does."""
        return self._run_pieces(inputs, stays=True)

    def _run_pieces(self, inputs: Mapping[str, Any], stays: bool) -> dict[str, Any]:
        counts = {len(array) for array in inputs.values()}
        if len(counts) != 1 or 0 in counts:
            raise ValueError(f"inputs need the same number of rows, at least 1, not {sorted(counts)}")
        (count,) = counts
        for array in inputs.values():
            await_producer(array)
        pieces = []
        for start in range(0, count, self.max_batch):
            stop = min(start + self.max_batch, count)
            pieces.append(_Piece({k: v[start:stop] for k, v in inputs.items()}, stop - start, stays))
        with self._changed:
            if self._closed:
                raise RuntimeError("this batcher is closed")
            self._waiting.extend(pieces)
            self._num_calls += len(pieces)
            self._changed.notify_all()
        results = [piece.result.result() for piece in pieces]
        if len(results) == 1:
            return results[0]
        return {
            name: array_module(first).concat([r[name] for r in results]) for name, first in results[0].items()
        }

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """See `Runner.run_whole`."""
        return self._runner.run_whole(inputs)

    def stats(self) -> BatchStats:
        """Counts so far."""
        with self._changed:
            room = self._num_batches * self.max_batch
            fill = self._num_rows / room if room else 0.0
            wait = self._waited_seconds / self._num_pieces if self._num_pieces else 0.0
            counts = (self._num_calls, self._num_batches, self._num_rows, self._num_retried)
            return BatchStats(*counts, fill, wait)

    def close(self) -> None:
        """Serves what is waiting, then ends; later calls of `run` are refused. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while True:
            with self._taking:
                batch = self._next_batch()
            if not batch:
                return
            self._complete(batch)

    def _next_batch(self) -> list[_Piece]:
        """The next batch, oldest pieces first; empty once closed and drained."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            deadline = self._waiting[0].arrived + self._max_wait_seconds
            while True:
                batch, full = self._fitting()
                left = deadline - time.monotonic()
                if full or left <= 0 or self._closed:
                    break
                self._changed.wait(left)
            taken = set(batch)
            self._waiting = deque(piece for piece in self._waiting if piece not in taken)
            return batch

    def _fitting(self) -> tuple[list[_Piece], bool]:
        """The waiting pieces that make a batch with the oldest, and whether waiting for more is vain."""
        batch: list[_Piece] = []
        kind, num_rows = self._waiting[0].kind, 0
        for piece in self._waiting:
            if piece.kind != kind:
                continue
            if num_rows + piece.num_rows > self.max_batch:
                return batch, True
            batch.append(piece)
            num_rows += piece.num_rows
        return batch, num_rows == self.max_batch

    def _complete(self, batch: list[_Piece]) -> None:
        try:
            results = self._run(batch)
        except Exception as exc:  # whatever it is, it belongs to a caller
            if len(batch) == 1:
                batch[0].result.set_exception(exc)
                return
            with self._changed:
                self._num_retried += len(batch)
            for piece in batch:
                self._complete([piece])
            return
        for piece, result in zip(batch, results, strict=True):
            piece.result.set_result(result)

    def _run(self, batch: list[_Piece]) -> list[Arrays]:
        num_rows = sum(piece.num_rows for piece in batch)
        with self._changed:
            self._num_batches += 1
            self._num_rows += num_rows
            self._num_pieces += len(batch)
            now = time.monotonic()
            self._waited_seconds += sum(now - piece.arrived for piece in batch)
        joined = batch[0].inputs
        if len(batch) > 1:
            joined = {
                k: array_module(v).concat([piece.inputs[k] for piece in batch]) for k, v in joined.items()
            }
        outputs = run_in_place(self._runner, joined) if batch[0].stays else self._runner.run(joined)
        if wrong := [name for name, array in outputs.items() if len(array) != num_rows]:
            raise ValueError(f"output {wrong[0]!r} has {len(outputs[wrong[0]])} rows for {num_rows} given")
        results, start = [], 0
        for piece in batch:
            results.append({k: v[start : start + piece.num_rows] for k, v in outputs.items()})
            start += piece.num_rows
        return results
