"""Ctrl-C as something to be noticed between two steps, instead of an exception anywhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def noticing_interrupts(notice: Callable[[], None]) -> Iterator[None]:
    """Calls `notice` at each Ctrl-C inside the block; what it raises ends the block where it is.

    Does nothing outside the main thread, where Python handles no signals, and where Ctrl-C is ignored.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        notice()

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
