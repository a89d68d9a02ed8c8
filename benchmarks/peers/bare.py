"""Counts the CPU seconds that a script spends in its libraries alone: decoding and inference."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec, TypeVar

import onnxruntime

P = ParamSpec("P")
T = TypeVar("T")


class Bare:
    """CPU seconds of this process, all its threads, within what was asked to be counted."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def of_call(self, call: Callable[P, T]) -> Callable[P, T]:
        """The same call, counted."""

        def counted(*args: P.args, **kwargs: P.kwargs) -> T:
            started = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - started

        return counted

    def of_each(self, items: Iterable[T]) -> Iterator[T]:
        """The same items, counted while they are made."""
        following = self.of_call(iter(items).__next__)
        while True:
            try:
                item = following()
            except StopIteration:
                return
            yield item

    def of_sessions(self) -> None:
        """Counts each run of a session of ONNX Runtime, from now on, whoever opened it."""
        session: Any = onnxruntime.InferenceSession
        session.run = self.of_call(session.run)
