"""How a run shows itself: a live bar on a terminal, a line now and then without one, nothing when quiet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from framemill.cluster.cli.output import as_flags, duration, printable, report

if TYPE_CHECKING:
    from rich.progress import Progress

    from framemill.cluster.request import Reporter, Snapshot

SECONDS_BETWEEN_LINES = 5.0
FAR_MORE = 1.25
# While a file is left, so much is left at least.
LEAST_LEFT = 1.0


@contextmanager
def open_reporter(verbosity: int) -> Iterator[Reporter]:
    """The reporter that suits where stderr goes."""
    if verbosity < 0 or not is_live():
        yield LineReporter(verbosity)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False)
    # Four times a second: more is not read, and each refresh takes time from the work.
    with Progress(
        TextColumn("{task.fields[stage]}", markup=False),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[state]}", markup=False),
        console=console,
        refresh_per_second=4,
        transient=True,
        redirect_stdout=False,
    ) as bar:
        yield BarReporter(bar, verbosity)


def seconds_left(snapshot: Snapshot) -> float | None:
    """Estimated from the work done, from the length of media where that is not weighed, or else from files.

    None where nothing can be said yet.
    """
    done, total = snapshot.work_done, snapshot.work_total
    if total is None:
        done, total = snapshot.media_seconds_done, snapshot.media_seconds_total
        if total <= 0:
            done, total = float(snapshot.files_done), float(snapshot.files_total)
    if done <= 0 or total < done:
        return None
    return snapshot.elapsed_seconds * (total - done) / done


class TimeLeft:
    """The time left as it is shown: it never climbs.

    Where the estimate rises, what is shown stands still until the work has caught up, and where it rises far,
    it is shown as the least that is left.
    """

    def __init__(self) -> None:
        self._shown = float("inf")

    def show(self, snapshot: Snapshot) -> str:
        """Such as "4:10 left"; empty where nothing can be said."""
        left = seconds_left(snapshot)
        if left is None or snapshot.files_done >= snapshot.files_total:
            return ""
        self._shown = max(LEAST_LEFT, min(self._shown, left))
        return f"{'more than ' if left > FAR_MORE * self._shown else ''}{duration(self._shown)} left"


def describe(snapshot: Snapshot, left: str = "") -> str:
    """Files, frames a second, rows, errors and the time left, on one line."""
    rate = snapshot.frames / snapshot.elapsed_seconds if snapshot.elapsed_seconds > 0 else 0.0
    parts = [
        f"{snapshot.files_done}/{snapshot.files_total} files",
        f"{rate:.0f} frames/s",
        f"{snapshot.rows} rows",
        f"{snapshot.files_failed} errors",
    ]
    return ", ".join([*parts, left] if left else parts)


def at_work(snapshot: Snapshot) -> str:
    """The file that takes longest and the operation that does; empty while nothing is known."""
    if not snapshot.file or snapshot.files_done >= snapshot.files_total:
        return ""
    name = printable(snapshot.file.rstrip("/").rpartition("/")[2])
    return f"{name}, mostly {snapshot.slowest}" if snapshot.slowest else name


class LineReporter:
    """Plain lines on stderr."""

    def __init__(self, verbosity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._verbosity = verbosity
        self._clock = clock
        self._last = clock()
        self._left = TimeLeft()

    def progress(self, snapshot: Snapshot) -> None:
        now = self._clock()
        left = self._left.show(snapshot)
        if self._verbosity >= 0 and now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            report(
                "; ".join(filter(None, (f"{snapshot.stage}: {describe(snapshot, left)}", at_work(snapshot))))
            )

    def message(self, level: int, text: str) -> None:
        if level <= self._verbosity:
            report(text)


class BarReporter:
    """A live bar on stderr; messages scroll by above it."""

    def __init__(self, bar: Progress, verbosity: int) -> None:
        self._bar = bar
        self._verbosity = verbosity
        self._left = TimeLeft()
        self._task = bar.add_task("", total=None, stage="starting", state="")

    def progress(self, snapshot: Snapshot) -> None:
        self._bar.update(
            self._task,
            completed=snapshot.files_done,
            total=snapshot.files_total or None,
            stage=printable(snapshot.stage),
            state="\n".join(filter(None, (describe(snapshot, self._left.show(snapshot)), at_work(snapshot)))),
        )

    def message(self, level: int, text: str) -> None:
        if level <= self._verbosity:
            for line in as_flags(text).splitlines():
                self._bar.console.print(printable(line), markup=False, soft_wrap=True)


def is_live() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


@contextmanager
def counting(stage: str, unit: str, verbosity: int) -> Iterator[Callable[[int, int], None]]:
    """Shows how many of something are done: a bar on a terminal, a line now and then elsewhere."""
    if verbosity >= 0 and is_live():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, highlight=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn(f"{{task.completed}}/{{task.total}} {unit}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, refresh_per_second=4, transient=True) as bar:
            task = bar.add_task(stage, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if verbosity >= 0 and now - last >= SECONDS_BETWEEN_LINES:
            last = now
            report(f"{stage}: {done}/{total} {unit}")

    yield line
