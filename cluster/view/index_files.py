"""The files that tables of viewers are kept in: whose they are, when they go, which are damaged."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import duckdb

KEPT_DAYS = 30  # that the table of a folder stays which nobody looks at


def is_damage(error: duckdb.Error) -> bool:
    """Whether it says that a database file is damaged, or that nothing can be read of it any more."""
    # DuckDB has no class of its own for damage; what a condition says in an error has another class.
    is_told = type(error) in (duckdb.Error, duckdb.IOException) and "corrupt" in str(error).lower()
    return is_told or isinstance(
        error, duckdb.FatalException | duckdb.InternalException | duckdb.SerializationException
    )


def drop_unused(folder: Path) -> None:
    """Deletes tables that no viewer opened for `KEPT_DAYS`, as far as that can be done."""
    oldest = time.time() - KEPT_DAYS * 86_400
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                lock = take_lock(path)
                try:
                    delete_file(path.with_suffix(".duckdb"))
                    path.unlink()
                finally:
                    os.close(lock)


def take_lock(path: Path) -> int:
    """Takes a lock, until its descriptor is closed.

    Raises:
        OSError: another viewer has it, or just deleted it.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(lock), path.stat()):
            raise FileNotFoundError(path)
    except OSError:
        os.close(lock)
        raise
    return lock


def delete_file(file: Path) -> None:
    """A database, and all that lies beside it."""
    for path in file.parent.glob(f"{file.name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
