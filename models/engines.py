"""Engines that TensorRT builds of a model: built once for each kind of device, kept, and reused.

An engine takes minutes to build. It fits one model, one architecture, one version of each runtime and one
precision, so all of these are in the name of its folder. Builds go one at a time, since each times its
kernels on the device, and a folder appears under its name only when its engine is complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Session = TypeVar("Session")
Tell = Callable[[str], None]
_UNFINISHED = ".building-"


def tell_nobody(text: str) -> None:
    """Takes what nobody wants to hear."""


def engine_folder(root: Path, parts: Sequence[str]) -> Path:
    """Where the engine made from all of `parts` lies; any other part gives another folder."""
    return root / "engines" / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def timing_folder(root: Path, parts: Sequence[str]) -> Path:
    """Where measured times of kernels lie, which every later build for the same runtimes reuses."""
    return root / "timing" / "-".join(parts)


def open_with_engine(
    folder: Path, open_: Callable[[Path], Session], tell: Tell = tell_nobody, name: str = "a model"
) -> tuple[Session, float]:
    """Opens a session on the engine in `folder`, which is built first where it is not there.

    Args:
        folder: as `engine_folder` gives it.
        open_: opens a session that keeps its engine in the folder given, building what is missing.
        tell: is told when a build begins, or waits for another process that builds, and when it has ended.
        name: of the model, for `tell`.

    Returns:
        The session, and the seconds that building took; 0 where the engine was there.
    """
    if folder.is_dir():
        return open_(folder), 0.0
    with _one_at_a_time(folder.parent, lambda: tell(f"engine of {name}: waiting for another that is built")):
        _remove_unfinished(folder.parent)
        seconds = 0.0
        if not folder.is_dir():  # while this one waited, another may have built it
            started = time.monotonic()
            tell(f"engine of {name}: TensorRT builds it, which takes minutes, once for this kind of GPU")
            unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
            try:
                open_(unfinished)
                os.replace(unfinished, folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            seconds = time.monotonic() - started
            tell(f"engine of {name}: built in {seconds:.0f} s, and kept in {folder}")
    return open_(folder), seconds


@contextmanager
def _one_at_a_time(root: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)  # let go by the system, also when this process is killed
        yield


def _remove_unfinished(root: Path) -> None:
    """Removes what processes left that were killed while they built: who holds the lock is alone."""
    for folder in root.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(folder, ignore_errors=True)
