"""The viewer's own table of shots: a DuckDB database in the user's cache folder, kept current.

It holds nothing that the result folder does not say, and is made anew where it cannot be used. It is one
viewer's at a time: a second one on the same folder works in a file of its own, which goes with it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from framemill import __version__
from framemill.cluster.results import layout
from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.dataset import advance_state
from framemill.cluster.results.shots import SHOTS_SCHEMA
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.view.curation import curation_digest, read_person_names, read_tags
from framemill.cluster.view.index_files import delete_file, drop_unused, is_damage, take_lock
from framemill.cluster.view.index_plan import batches, fingerprints, first_uris, rows_of
from framemill.cluster.view.index_tables import (
    STATEMENTS,
    create_tables,
    replace_curation,
    replace_sources,
)
from framemill.cluster.view.shot_table import (
    CURATED,
    READ_TABLES,
    read_shots,
)
from framemill.cluster.view.shot_worker import ShotWorker
from framemill.errors import DatasetError
from framemill.models.store import cache_folder

FORMAT = 3  # raised where what is read for the tables below changes
MEMORY = "96MB"
SMALL_ROWS = 20_000  # so many are read in this process
_ATTEMPTS = 5  # a compaction may replace parts while they are read


class ShotIndex:
    """The table, and the thread that keeps it current.

    Attributes:
        generation: grows whenever the rows have changed.
        problem: why it could not be brought up to date; "" where nothing is known to be wrong.
    """

    def __init__(self, root: ResultPath, folder: Path | None = None) -> None:
        """Opens the table of a result folder, or makes an empty one.

        Args:
            root: of the result folder.
            folder: where tables are kept; None for the user's cache folder.
        """
        self.generation = 0
        self.problem = ""
        self._root = root
        self._made_by = _identity(root)
        self._lock = threading.Condition()
        self._wanted: DatasetState | None = None
        self._sequence = -1
        self._done = self._total = 0
        self._thread: threading.Thread | None = None
        self._worker: ShotWorker | None = None
        self._started = 0.0
        self._closing = False
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._held: int | None = None
        self._file = self._take(folder or cache_folder() / "view")
        self._fresh = self._file.with_name(f"{self._file.name}.fresh")
        self._connection = self._open()
        self._is_mended = False

    def _take(self, folder: Path) -> Path:
        """A file that is ours alone: the kept one, or where another viewer has it, one of our own."""
        name = hashlib.blake2b(str(self._root).encode(), digest_size=12).hexdigest()
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            self._held = take_lock(folder / f"{name}.lock")
            os.utime(self._held)
            drop_unused(folder)
            return folder / f"{name}.duckdb"
        self._own = tempfile.TemporaryDirectory(prefix="framemill-view-")
        return Path(self._own.name) / f"{name}.duckdb"

    def _open(self) -> duckdb.DuckDBPyConnection:
        with suppress(duckdb.Error):  # of another version, damaged, or new
            connection = self._connect()
            with suppress(duckdb.Error, ValueError):
                ((made_by, sequence),) = connection.execute("FROM held.about").fetchall()
                if made_by == self._made_by:
                    self._sequence = sequence
                    ((self._total,),) = connection.execute("SELECT count(*) FROM held.sources").fetchall()
                    self._done = self._total
                    return connection
            connection.close()
        return self._make(self._file)

    def _make(self, file: Path) -> duckdb.DuckDBPyConnection:
        delete_file(self._file)
        connection = self._connect(file)
        create_tables(connection, self._made_by)
        return connection

    def _mend(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Makes a damaged table anew, under another name, since others may still read this one.

        Only once: what is damaged again lies on a disk that wants looking at.

        Args:
            connection: what the damage was found by.
        """
        with self._lock:
            if self._is_mended or connection is not self._connection:
                return
            self._connection = self._make(self._fresh)
            self._is_mended = True
            self._sequence = -1
            self._done = 0
            self.generation += 1

    def _connect(self, file: Path | None = None) -> duckdb.DuckDBPyConnection:
        # Locked from the start: a reader's condition runs here.
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "threads": str(min(4, os.cpu_count() or 1)),
            "enable_external_access": "false",
            "python_enable_replacements": "false",
            "preserve_insertion_order": "false",
        }
        connection = duckdb.connect(str(file or self._file), config=settings)
        connection.execute("SET lock_configuration = true")
        return connection

    def close(self) -> None:
        """Ends the thread, and lets the table go; its file stays for the next viewer."""
        with self._lock:
            self._closing = True
            thread, worker = self._thread, self._worker
        if worker is not None:
            worker.end()
        if thread is not None:
            thread.join()
        self._connection.close()
        if self._is_mended:
            with suppress(OSError):
                self._fresh.replace(self._file)
        if self._held is not None:
            os.close(self._held)
            self._held = None
        if self._own is not None:
            self._own.cleanup()

    def progress(self) -> dict[str, Any]:
        """How many sources of how many are up to date, whether all are, and `problem` where there is one."""
        with self._lock:
            ready = self._wanted is not None and self._sequence == self._wanted.sequence
            told = {"ready": ready, "done": self._done, "total": self._total}
            return told | {"problem": self.problem} if self.problem else told

    def is_at(self, state: DatasetState) -> bool:
        """Whether the table says what this state says."""
        return self._sequence == state.sequence

    def follow(self, state: DatasetState, wait_seconds: float = 0.0) -> None:
        """Brings the table to a state of the log, in the background.

        Args:
            wait_seconds: how long to wait for it at most, from when it was begun: what takes minutes is not
                waited for.
        """
        with self._lock:
            if self._wanted is None or self._wanted.sequence != state.sequence:
                self._wanted = state
                self.problem = ""
            if self._sequence != self._wanted.sequence and not self.problem and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shots of the viewer", daemon=True)
                self._started = time.monotonic()
                self._thread.start()
            left = self._started + wait_seconds - time.monotonic()
            if left > 0:
                self._lock.wait_for(lambda: self._thread is None, left)

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor that can change nothing.

        Raises:
            DatasetError: the table cannot be read; where that is for damage, it is made anew from now on.
        """
        connection = self._connection
        cursor = connection.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield cursor
        except duckdb.Error as exc:
            if is_damage(exc):
                self._mend(connection)
                if connection is not self._connection:
                    raise DatasetError(
                        f"the viewer's table {self._file} was damaged, and is made anew: ask again"
                    ) from exc
            raise DatasetError(
                f"the viewer's table {self._file} cannot be read: {exc}; end `framemill view`, "
                "delete the file, and start it again"
            ) from exc
        finally:
            with suppress(duckdb.Error):
                cursor.execute("ROLLBACK")
            cursor.close()

    def _work(self) -> None:
        try:
            while True:
                with self._lock:
                    state = self._wanted
                    if state is None or self._closing or state.sequence == self._sequence:
                        return
                connection = self._connection
                try:
                    self._bring_to(state)
                except duckdb.Error as exc:
                    if is_damage(exc):
                        self._mend(connection)
                    if connection is self._connection:
                        raise
        except (duckdb.Error, DatasetError, OSError) as exc:
            with self._lock:
                self.problem = str(exc)
        finally:
            with self._lock:
                self._thread = None
                self._lock.notify_all()

    def _bring_to(self, state: DatasetState) -> None:
        wanted = fingerprints(state)
        connection = self._connection
        cursor = connection.cursor()
        with cursor:
            held = dict(cursor.execute("SELECT source_id, fingerprint FROM held.sources").fetchall())
            gone = sorted(held.keys() - wanted.keys())
            if gone:
                replace_sources(cursor, dict.fromkeys(gone), None)
                self.generation += 1
            uris = first_uris(state)
            todo = sorted((s for s in wanted if held.get(s) != wanted[s]), key=lambda s: uris[s])
            with self._lock:
                self._total = len(wanted)
                self._done = len(wanted) - len(todo)
            counts = {source: rows_of(state, source, uris[source]) for source in todo}
            with ShotWorker(self._root) as worker:
                self._worker = worker
                # To start a process takes longer than to read a few files.
                is_small = sum(counts.values()) <= SMALL_ROWS
                for batch in batches(counts):
                    if self._closing:
                        return
                    rows = self._read(state, batch, None if is_small else worker)
                    replace_sources(cursor, {source: wanted[source] for source in batch}, rows)
                    self.generation += 1
                    with self._lock:
                        self._done += len(batch)
            digest = curation_digest(state)
            if gone or todo or cursor.execute("SELECT digest FROM held.curated").fetchall() != [(digest,)]:
                tags, names = read_tags(self._root, state), read_person_names(self._root, state)
                has = {column: table in state.keys for column, table in CURATED.items()}
                replace_curation(
                    cursor, digest, tags if has["tags"] else None, names if has["names"] else None
                )
                self.generation += 1
            cursor.execute("UPDATE held.about SET sequence = ?", [state.sequence])
        with self._lock:
            if connection is self._connection:  # else this one is made anew
                self._sequence = state.sequence

    def _read(
        self, state: DatasetState, batch: Sequence[str], worker: ShotWorker | None
    ) -> tuple[pa.Table, pa.Table]:
        for attempt in range(_ATTEMPTS):
            narrow = state.narrowed(READ_TABLES, batch)
            try:
                return read_shots(self._root, narrow) if worker is None else worker.read_shots(narrow)
            except DatasetError:
                if attempt + 1 == _ATTEMPTS or self._closing:
                    raise
                state = advance_state(self._root, state)
        raise AssertionError("the last attempt returns or raises")


def _identity(root: ResultPath) -> str:
    """Changes where a kept table says nothing of this folder any more."""
    marker = layout.dataset_file(root)
    made = str(marker.stat().st_mtime_ns) if isinstance(marker, Path) else ""
    versions = (str(FORMAT), __version__, duckdb.__version__, str(SHOTS_SCHEMA))
    text = "\n".join((*versions, *STATEMENTS, str(root), made))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
