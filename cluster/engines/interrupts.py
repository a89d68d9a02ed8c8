"""Ctrl-C, SIGTERM and SIGHUP as something to be noticed between two steps, instead of an end anywhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# What asks a run to end: Ctrl-C; `kill`, a batch system or `ray job stop`; a terminal that is closed.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """A signal ended the run at once.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code_of(number: int) -> int:
    """What a shell reports for a program that this signal ended."""
    return 128 + number


@contextmanager
def noticing_interrupts(notice: Callable[[int], None]) -> Iterator[None]:
    """Calls `notice` with the number of each signal of `ENDING`; what it raises ends the block where it is.

    Does nothing outside the main thread, where Python handles no signals; nor with a signal that is ignored,
    as SIGHUP is under nohup, or that is handled by something outside of Python.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        notice(number)

    before = {number: signal.getsignal(number) for number in ENDING}
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in ours.items():
            signal.signal(number, old)
