"""The viewer's own table of shots: a DuckDB database in the user's cache folder, kept current.

It holds nothing that the result folder does not say, and is made anew where it cannot be used. It is one
viewer's at a time: a second one on the same folder works in a file of its own, which goes with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from framemill import __version__
from framemill.cluster.results import layout
from framemill.cluster.results.commits import OWNED_BY_URI, WHOLE_SOURCE, DatasetState, Entry
from framemill.cluster.results.dataset import advance_state
from framemill.cluster.results.shots import SHOTS_SCHEMA, VIEW
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.view.curation import curation_digest, read_person_names, read_tags
from framemill.cluster.view.shot_filters import FACETS
from framemill.cluster.view.shot_table import (
    COLUMNS,
    CURATED,
    FILES_SCHEMA,
    READ_TABLES,
    STORED,
    read_shots,
)
from framemill.cluster.view.shot_worker import ShotWorker
from framemill.cluster.view.source_tables import narrow_state
from framemill.errors import DatasetError
from framemill.models.store import cache_folder

FORMAT = 2  # raised where what is read for the tables below changes
MEMORY = "128MB"
BATCH_ROWS, BATCH_SOURCES = 120_000, 500
SMALL_ROWS = 20_000  # so many are read in this process
_ATTEMPTS = 5  # a compaction may replace parts while they are read
OWN_NUMBER = "framemill_shot"  # a column that the view has beside those of `shots`
_VALUES = {
    "tags": """CASE WHEN (SELECT has_tags FROM held.curated) THEN coalesce(
        (SELECT list(value ORDER BY value) FROM held.tags t WHERE t.number = s.number), []) END AS tags""",
    "names": """CASE WHEN people IS NOT NULL AND (SELECT has_names FROM held.curated) THEN coalesce(
        (SELECT list(name ORDER BY place, name) FROM (
            SELECT name, min(place) AS place FROM held.people p JOIN held.names ON p.value = person
            WHERE p.number = s.number GROUP BY 1)), []) END AS names""",
}
_TABLES = f"""
CREATE SCHEMA held;
CREATE TABLE held.about (made_by VARCHAR);
CREATE TABLE held.sources (source_id VARCHAR, fingerprint VARCHAR);
CREATE SEQUENCE held.file_numbers;
CREATE SEQUENCE held.shot_numbers;
CREATE TABLE held.files AS SELECT 0::INTEGER AS file, * FROM files;
CREATE TABLE held.shots AS SELECT 0::INTEGER AS number, 0::INTEGER AS file, *, '' AS searched,
    {", ".join(f"'' AS facet_{name}" for name, facet in FACETS.items() if facet.value)} FROM shots;
CREATE TABLE held.cards (number INTEGER, card VARCHAR);
CREATE INDEX card_numbers ON held.cards (number);
CREATE TABLE held.labels (number INTEGER, value VARCHAR);
CREATE TABLE held.people (number INTEGER, value VARCHAR, place INTEGER);
CREATE TABLE held.curated (digest VARCHAR, has_tags BOOLEAN, has_names BOOLEAN);
CREATE TABLE held.tags (number INTEGER, value VARCHAR);
CREATE TABLE held.names (person VARCHAR, name VARCHAR);
CREATE VIEW {VIEW} AS SELECT {", ".join(_VALUES.get(name, name) for name in COLUMNS)}, number AS {OWN_NUMBER}
    FROM held.shots s;
"""
# Small letters, as what is looked for; what is on different lines does not run together.
_LINES = "array_to_string(text, chr(10)), array_to_string(labels, chr(10))"
_SEARCHED = f"lower(concat_ws(chr(10), words, {_LINES}, name))"


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
        self._connection = self._open()

    def _take(self, folder: Path) -> Path:
        """A file that is ours alone: the kept one, or where another viewer has it, one of our own."""
        name = hashlib.blake2b(str(self._root).encode(), digest_size=12).hexdigest()
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise
            self._held = lock
            return folder / f"{name}.duckdb"
        self._own = tempfile.TemporaryDirectory(prefix="framemill-view-")
        return Path(self._own.name) / f"{name}.duckdb"

    def _open(self) -> duckdb.DuckDBPyConnection:
        with suppress(duckdb.Error):  # of another version, damaged, or new
            connection = self._connect()
            with suppress(duckdb.Error):
                if connection.execute("SELECT made_by FROM held.about").fetchall() == [(self._made_by,)]:
                    return connection
            connection.close()
        for path in self._file.parent.glob(f"{self._file.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        connection = self._connect()
        connection.register("files", FILES_SCHEMA.empty_table())
        connection.register("shots", SHOTS_SCHEMA.empty_table().select(STORED))
        connection.execute("BEGIN")
        for statement in _TABLES.split(";\n"):
            connection.execute(statement)
        connection.execute("INSERT INTO held.about VALUES (?)", [self._made_by])
        connection.execute("COMMIT")
        return connection

    def _connect(self) -> duckdb.DuckDBPyConnection:
        # Locked from the start: a reader's condition runs here.
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "threads": str(min(4, os.cpu_count() or 1)),
            "enable_external_access": "false",
            "python_enable_replacements": "false",
            "preserve_insertion_order": "false",
        }
        connection = duckdb.connect(str(self._file), config=settings)
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
            DatasetError: the table cannot be read.
        """
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield cursor
        except duckdb.Error as exc:
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
                self._bring_to(state)
        except (duckdb.Error, DatasetError, OSError) as exc:
            with self._lock:
                self.problem = str(exc)
        finally:
            with self._lock:
                self._thread = None
                self._lock.notify_all()

    def _bring_to(self, state: DatasetState) -> None:
        wanted = _fingerprints(state)
        cursor = self._connection.cursor()
        with cursor:
            held = dict(cursor.execute("SELECT source_id, fingerprint FROM held.sources").fetchall())
            gone = sorted(held.keys() - wanted.keys())
            if gone:
                self._replace(cursor, gone, {}, None)
            uris = _first_uris(state)
            todo = sorted((s for s in wanted if held.get(s) != wanted[s]), key=lambda s: uris[s])
            with self._lock:
                self._total = len(wanted)
                self._done = len(wanted) - len(todo)
            counts = {source: _rows_of(state, source, uris[source]) for source in todo}
            with ShotWorker(self._root) as worker:
                self._worker = worker
                # To start a process takes longer than to read a few files.
                is_small = sum(counts.values()) <= SMALL_ROWS
                for batch in _batches(counts):
                    if self._closing:
                        return
                    rows = self._read(state, batch, None if is_small else worker)
                    self._replace(cursor, batch, wanted, rows)
                    with self._lock:
                        self._done += len(batch)
            digest = curation_digest(state)
            if gone or todo or cursor.execute("SELECT digest FROM held.curated").fetchall() != [(digest,)]:
                self._curate(cursor, state, digest)
        with self._lock:
            self._sequence = state.sequence

    def _curate(self, cursor: duckdb.DuckDBPyConnection, state: DatasetState, digest: str) -> None:
        """Writes tags and names anew: they are few."""
        cursor.register("incoming_tags", read_tags(self._root, state))
        cursor.register("incoming_names", read_person_names(self._root, state))
        cursor.execute("BEGIN")
        for table in ("curated", "tags", "names"):
            cursor.execute(f"DELETE FROM held.{table}")
        cursor.execute(
            """INSERT INTO held.tags SELECT number, tag FROM incoming_tags
            JOIN held.shots USING (source_id, scene_index)"""
        )
        cursor.execute("INSERT INTO held.names FROM incoming_names")
        has = [table in state.keys for table in (CURATED["tags"], CURATED["names"])]
        cursor.execute("INSERT INTO held.curated VALUES (?, ?, ?)", [digest, *has])
        cursor.execute("COMMIT")
        cursor.unregister("incoming_tags")
        cursor.unregister("incoming_names")
        self.generation += 1

    def _read(
        self, state: DatasetState, batch: Sequence[str], worker: ShotWorker | None
    ) -> tuple[pa.Table, pa.Table]:
        for attempt in range(_ATTEMPTS):
            narrow = narrow_state(state, READ_TABLES, batch)
            try:
                return read_shots(self._root, narrow) if worker is None else worker.read_shots(narrow)
            except DatasetError:
                if attempt + 1 == _ATTEMPTS or self._closing:
                    raise
                state = advance_state(self._root, state)
        raise AssertionError("the last attempt returns or raises")

    def _replace(
        self,
        cursor: duckdb.DuckDBPyConnection,
        sources: Sequence[str],
        fingerprints: Mapping[str, str],
        rows: tuple[pa.Table, pa.Table] | None,
    ) -> None:
        ids = pa.table(
            {
                "source_id": pa.array(sources, pa.string()),
                "fingerprint": pa.array([fingerprints.get(source) for source in sources], pa.string()),
            }
        )
        cursor.register("incoming", ids)
        cursor.execute("BEGIN")
        mine = "source_id IN (SELECT source_id FROM incoming)"
        if cursor.execute(f"SELECT count(*) FROM held.sources WHERE {mine}").fetchall() != [(0,)]:
            numbers = f"SELECT number FROM held.shots WHERE {mine}"
            for table in ("cards", "labels", "people"):
                cursor.execute(f"DELETE FROM held.{table} WHERE number IN ({numbers})")
            for table in ("shots", "files", "sources"):
                cursor.execute(f"DELETE FROM held.{table} WHERE {mine}")
        if rows is not None:
            _insert(cursor, *rows)
        cursor.execute("COMMIT")
        cursor.unregister("incoming")
        self.generation += 1


def _insert(cursor: duckdb.DuckDBPyConnection, files: pa.Table, shots: pa.Table) -> None:
    """Adds the rows of the sources in `incoming`."""
    cursor.register("incoming_files", files)
    cursor.register("incoming_shots", shots)
    cursor.execute("INSERT INTO held.sources FROM incoming")
    cursor.execute(
        """INSERT INTO held.files BY NAME
        SELECT nextval('held.file_numbers')::INTEGER AS file, * FROM incoming_files"""
    )
    facets = ", ".join(f"{facet.value} AS facet_{name}" for name, facet in FACETS.items() if facet.value)
    cursor.execute(
        """CREATE TEMP TABLE added AS SELECT nextval('held.shot_numbers')::INTEGER AS number, s.*, f.file,
            coalesce(f.video_codec, f.audio_codec) AS codec, f.height, f.status
        FROM incoming_shots s JOIN held.files f USING (source_id)"""
    )
    columns = ", ".join(STORED)
    cursor.execute(
        f"""INSERT INTO held.shots BY NAME SELECT number, file, {columns}, {_SEARCHED} AS searched, {facets}
        FROM added"""
    )
    cursor.execute("INSERT INTO held.cards SELECT number, card FROM added")
    cursor.execute("INSERT INTO held.labels SELECT number, unnest(labels) FROM added")
    cursor.execute(
        "INSERT INTO held.people SELECT number, unnest(people), unnest(range(len(people))) FROM added"
    )
    cursor.execute("DROP TABLE added")
    cursor.unregister("incoming_files")
    cursor.unregister("incoming_shots")


def _identity(root: ResultPath) -> str:
    """Changes where a kept table says nothing of this folder any more."""
    marker = layout.dataset_file(root)
    made = str(marker.stat().st_mtime_ns) if isinstance(marker, Path) else ""
    versions = (str(FORMAT), __version__, duckdb.__version__, str(SHOTS_SCHEMA))
    text = "\n".join((*versions, _TABLES, _SEARCHED, repr(FACETS), str(root), made))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _first_uris(state: DatasetState) -> dict[str, str]:
    first: dict[str, str] = {}
    for uri, record in state.sources.items():
        if record.source_id:
            first[record.source_id] = min(uri, first.get(record.source_id, uri))
    return first


def _entries(state: DatasetState) -> dict[str, list[Entry]]:
    """Content id -> what is known of its tables that the rows of shots are made of."""
    found: dict[str, list[Entry]] = {}
    for (table, owner), entry in state.entries.items():
        if table in READ_TABLES or table == WHOLE_SOURCE:
            record = state.sources.get(owner) if table in (*OWNED_BY_URI, WHOLE_SOURCE) else None
            found.setdefault(record.source_id if record else owner, []).append(entry)
    return found


def _fingerprints(state: DatasetState) -> dict[str, str]:
    """Content id -> a digest that changes whenever its rows may."""
    uris: dict[str, list[str]] = {}
    for uri, record in sorted(state.sources.items()):
        if record.source_id:
            uris.setdefault(record.source_id, []).append(uri)
    entries = _entries(state)
    found = {}
    for source, own in uris.items():
        told = sorted(
            (entry.table, entry.owner, entry.rows_key, entry.rows, entry.status)
            for entry in entries.get(source, ())
        )
        found[source] = hashlib.blake2b(repr((own, told)).encode(), digest_size=12).hexdigest()
    return found


def _rows_of(state: DatasetState, source: str, uri: str) -> int:
    """How many rows are read of a source."""
    keys = [(table, uri if table in OWNED_BY_URI else source) for table in READ_TABLES]
    return sum(state.entries[key].rows for key in keys if key in state.entries)


def _batches(counts: Mapping[str, int]) -> Iterator[list[str]]:
    """Sources of about as many rows.

    Args:
        counts: source -> rows that are read of it.
    """
    batch: list[str] = []
    rows = 0
    for source, own in counts.items():
        if batch and (len(batch) == BATCH_SOURCES or rows + own > BATCH_ROWS):
            yield batch
            batch, rows = [], 0
        batch.append(source)
        rows += own
    if batch:
        yield batch
