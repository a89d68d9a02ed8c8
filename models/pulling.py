"""Fetches several models at once, and tells how far all of them are together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from framemill.errors import ModelError
from framemill.models.download import OnProgress
from framemill.models.entry import ModelEntry
from framemill.models.store import locate, pull

_AT_ONCE = 4  # the fewest that keep a fast line busy where each server sends slowly


def absent(entries: Iterable[ModelEntry]) -> list[ModelEntry]:
    """Those that would have to be downloaded, each once though it may serve several roles."""
    return [entry for entry in {entry.name: entry for entry in entries}.values() if is_absent(entry)]


def is_absent(entry: ModelEntry) -> bool:
    """Whether it would have to be downloaded."""
    try:
        return locate(entry) is None
    except ModelError:
        return False  # in a place that is wrong: nothing that a download would mend


def pull_models(
    entries: Iterable[ModelEntry], on_progress: OnProgress | None = None
) -> dict[str, Path | ModelError]:
    """Fetches what is not on this machine, several at a time, and checks all.

    What was fetched of a model when another fails, or a person interrupts, is kept and gone on with.

    Args:
        on_progress: called by one thread at a time with the bytes of all together.

    Returns:
        Name -> the model's file or folder, or why it cannot be had.
    """
    named = {entry.name: entry for entry in entries}
    progress = _Together(named.values(), on_progress)
    waiting: SimpleQueue[ModelEntry] = SimpleQueue()
    for entry in sorted(named.values(), key=lambda entry: -entry.num_bytes):  # the longest first
        waiting.put(entry)
    outcomes: SimpleQueue[tuple[str, Path | Exception]] = SimpleQueue()

    def work() -> None:
        while True:
            try:
                entry = waiting.get_nowait()
            except Empty:
                return
            try:
                outcomes.put((entry.name, pull(entry, partial(progress.tell, entry))))
            except Exception as exc:  # crosses to the thread that waits
                outcomes.put((entry.name, exc))

    # Daemons: a transfer that waits for a silent server must not keep an interrupted command from ending.
    for number in range(min(_AT_ONCE, len(named))):
        threading.Thread(target=work, name=f"pull-{number}", daemon=True).start()
    found: dict[str, Path | ModelError] = {}
    try:
        while len(found) < len(named):
            name, outcome = outcomes.get()
            if isinstance(outcome, Exception) and not isinstance(outcome, ModelError):
                raise outcome
            found[name] = outcome
    except BaseException:
        progress.stop()
        raise
    return {name: found[name] for name in named}


class _Together:
    """Adds up how far each of several transfers is."""

    def __init__(self, entries: Iterable[ModelEntry], on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._done: dict[str, int] = {}
        self._totals = {entry.name: entry.num_bytes for entry in absent(entries)}
        self._is_stopped = False

    def stop(self) -> None:
        """Ends all transfers at their next bytes."""
        self._is_stopped = True

    def tell(self, entry: ModelEntry, done: int, total: int, retry: str) -> None:
        """`OnProgress` of one of them."""
        if self._is_stopped:
            raise CancelledError
        with self._lock:
            if not retry:  # such a call says nothing of all the files of a model
                self._totals[entry.name] = entry.num_bytes or total
                self._done[entry.name] = min(done, self._totals[entry.name] or done)
            elif len(self._totals) > 1:
                retry = f"{entry.name}: {retry}"
            if self._on_progress:
                # One whose size is not known makes that of all unknown.
                all_bytes = sum(self._totals.values()) if all(self._totals.values()) else 0
                self._on_progress(sum(self._done.values()), all_bytes, retry)


def in_lines(what: str, report: Callable[[str], None]) -> OnProgress:
    """Reports how far a download is, at its first byte and at each fifth, and why it is tried again.

    Args:
        what: is fetched, such as "model yolox_nano".
    """
    fifths = [-1]

    def on_progress(done: int, total: int, retry: str) -> None:
        if retry:
            report(f"fetching {what}: {retry}")
            return
        fifth = 5 * done // max(total, done, 1) if total else 0
        if fifth > fifths[0]:
            fifths[0] = fifth
            of = f"{done / 1e6:.1f} of {total / 1e6:.1f}" if total else f"{done / 1e6:.1f}"
            report(f"fetching {what}: {of} MB")

    return on_progress


def name_of_all(entries: Iterable[ModelEntry]) -> str:
    """What a message calls several models that are fetched together."""
    names = [entry.name for entry in entries]
    return f"model {names[0]}" if len(names) == 1 else f"{len(names)} models"
