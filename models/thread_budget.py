"""The CPU threads that everything in this process shares."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class ThreadBudget:
    """The CPU threads that everything in this process shares: shards that are decoded, and models.

    Attributes:
        threads: how many they are.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._num_free = threads
        self._turns: deque[object] = deque()  # of those that wait, in the order in which they came
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(threads, "model")
        self._lock = threading.Lock()
        self._num_shards = 0

    @property
    def num_idle(self) -> int:
        """Cores that no shard works on.

        Threads beyond the cores only take caches from each other. Measured on 2 cores, objects in four
        clips: 26.3 s of CPU time with one thread a shard, 28.9 s with model and reading threads beside.
        """
        return max(0, self.threads - self._num_shards)

    @contextmanager
    def reserve(self, count: int = 1) -> Iterator[None]:
        """Held by each call of a model that computes on `count` threads: no more work than there are cores.

        Whoever comes first is served first, or calls on many threads would wait behind those on one for ever.
        """
        count = min(count, self.threads)
        turn = object()
        with self._changed:
            self._turns.append(turn)
            try:
                self._changed.wait_for(lambda: self._turns[0] is turn and self._num_free >= count)
                self._num_free -= count
            finally:
                self._turns.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._num_free += count
                self._changed.notify_all()

    @contextmanager
    def shard(self) -> Iterator[None]:
        """Held while a shard is worked on."""
        with self._lock:
            self._num_shards += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_shards -= 1

    def map(self, work: Callable[[Item], Result], items: Sequence[Item], helpers: int) -> list[Result]:
        """`work` of each item in order, done by the caller and up to `helpers` threads of the pool."""
        results: dict[int, Result] = {}
        waiting = iter(range(len(items)))

        def take() -> None:
            # The iterator is advanced under the interpreter's lock: each index is handed out once.
            for index in waiting:
                results[index] = work(items[index])

        helping = [self._pool.submit(take) for _ in range(helpers)]
        try:
            take()
        finally:
            for helper in helping:
                helper.result()
        return [results[index] for index in range(len(items))]


@cache
def shared_thread_budget(threads: int) -> ThreadBudget:
    """The one `ThreadBudget` of the process."""
    return ThreadBudget(threads)
