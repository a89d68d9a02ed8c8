"""SQL over a result folder.

The tables are handed to DuckDB as Arrow datasets made from the commit log's list of parts, so the engine
itself needs no file at all and gets none. Letting it open the parts would let it write them: with
`allowed_paths`, DuckDB 2.0 runs `WITH x AS (COPY ... TO 'part' (use_tmp_file false)) SELECT ...` as a SELECT
and truncates the part (measured).
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from framemill.cluster.results import layout
from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.invariants import SOURCE_ID
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.shots import SHOTS_SCHEMA, VIEW, create_shots
from framemill.cluster.results.sql_hints import explain
from framemill.cluster.results.storage import (
    REQUESTS_AT_ONCE,
    ResultPath,
    arrow_path,
    file_system,
)
from framemill.cluster.results.tables import ERRORS_SCHEMA, RUNS_SCHEMA, SOURCES_SCHEMA
from framemill.errors import DatasetError, UsageError
from framemill.ops import OPS, PLUGINS, load_op

# Tables that commands make -> module and schema; imported only where a folder has the table.
CORPUS_TABLES = {
    "people": "framemill.cluster.corpus.people:PEOPLE_SCHEMA",
    "duplicates": "framemill.cluster.corpus.duplicates:DUPLICATES_SCHEMA",
    "thumbnails": "framemill.cluster.editing.thumbnails:THUMBNAILS_SCHEMA",
    "highlights": "framemill.cluster.editing.highlights:HIGHLIGHTS_SCHEMA",
    "recall": "framemill.cluster.corpus.recall:RECALL_SCHEMA",
    "tags": "framemill.cluster.corpus.tags:TAGS_SCHEMA",
    "person_names": "framemill.cluster.corpus.names:NAMES_SCHEMA",
}
_ATTEMPTS = 20  # a compaction may replace parts while they are read
_READING = frozenset({"SELECT", "EXPLAIN", "MULTI"})  # MULTI: a PIVOT
# The speaker of a segment is the one who speaks longest in it.
_SPOKEN = """
CREATE VIEW spoken AS
SELECT t.*, (
    SELECT s.speaker FROM speakers s
    WHERE s.source_id = t.source_id AND s.start_seconds < t.end_seconds AND s.end_seconds > t.start_seconds
    GROUP BY s.speaker
    ORDER BY sum(least(s.end_seconds, t.end_seconds) - greatest(s.start_seconds, t.start_seconds)) DESC,
        s.speaker
    LIMIT 1
) AS speaker
FROM transcript t
"""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Rows as Python values, in the order DuckDB gives them, and the names of their columns."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def query(root: str | os.PathLike[str] | RemotePath, sql: str) -> QueryResult:
    """Runs one reading statement over the tables of a result folder; each table is a view.

    Beside the tables there is `sources`, a row for each content with the files that hold it, from the commit
    log; where there are a transcript and speakers, `spoken`: who says each segment; and where there are
    scenes, `shots`: what all tables know of each shot (`framemill.cluster.results.shots`).

    The answer is exact whatever commits or compacts meanwhile: it is that of one state of the log.

    Raises:
        UsageError: no results at `root`, or DuckDB refuses the statement (its own message is passed on).
        DatasetError: a part cannot be read.
    """
    dataset = Dataset.open(root, create=False)
    failure: DatasetError | None = None
    for _ in range(_ATTEMPTS):
        paths = live_paths(dataset)
        try:
            tables = {"sources": _sources(dataset.state), **dataset_tables(dataset)}
            return _run(tables, dataset.state, sql, str(dataset.root))
        except DatasetError as exc:
            failure = exc
            dataset.reload()
            if paths == live_paths(dataset):
                break
    raise DatasetError(
        f"a part of {dataset.root} cannot be read: {failure}; restore it, or delete it and extract again"
    ) from failure


def dataset_tables(dataset: Dataset) -> dict[str, pyarrow.dataset.Dataset]:
    """Every table as an Arrow dataset over its live parts. Asked-for tables without rows are there, empty.

    Raises:
        DatasetError: a part is gone or damaged; or the state is out of date: reload and try again.
    """
    state = dataset.state
    tables = {name: _empty(schema) for name, schema in known_schemas(state).items()}
    files = file_system(dataset.root)
    for name in state.tables():
        paths = [arrow_path(layout.live_path(dataset.root, name, part.name)) for part in state.parts_of(name)]
        try:
            # Later versions may add fields: older parts answer null for them.
            schema = pa.unify_schemas(_read_schemas(paths, files))
            tables[name] = pyarrow.dataset.dataset(paths, schema=schema, format="parquet", filesystem=files)
        except (pa.ArrowException, OSError) as exc:
            raise DatasetError(f"table {name}: {exc}") from exc
    return tables


def _read_schemas(paths: Sequence[str], files: Any) -> list[pa.Schema]:
    if files is None:
        return [pq.read_schema(path) for path in paths]
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return list(pool.map(lambda path: pq.read_schema(path, filesystem=files), paths))


def live_paths(dataset: Dataset) -> set[ResultPath]:
    """Compared instead of the parts: publishing moves a file without a new commit."""
    return {layout.live_path(dataset.root, table, name) for table, name in dataset.state.parts}


def known_schemas(state: DatasetState) -> dict[str, pa.Schema]:
    """Table -> schema, source_id included, of every table of a folder that this version knows."""
    schemas = {"errors": ERRORS_SCHEMA, "runs": RUNS_SCHEMA}
    for name in state.keys:
        if name in OPS or name in PLUGINS:
            schemas[name] = pa.schema([SOURCE_ID, *load_op(name).schema])
        elif name in CORPUS_TABLES:
            schemas[name] = corpus_schema(name)
    return schemas


def corpus_schema(name: str) -> pa.Schema:
    """The schema behind a key of `CORPUS_TABLES`, source_id included."""
    module, _, schema = CORPUS_TABLES[name].partition(":")
    return getattr(importlib.import_module(module), schema)


def _sources(state: DatasetState) -> pyarrow.dataset.Dataset:
    """A row for each content, whatever the number of its copies: a join with it multiplies no row."""
    uris: dict[str, list[str]] = {}
    for uri, record in sorted(state.sources.items()):
        if record.source_id:
            uris.setdefault(record.source_id, []).append(uri)
    rows = [
        {**asdict(state.sources[of[0]]), "source_id": source_id, "uris": of} for source_id, of in uris.items()
    ]
    return pyarrow.dataset.dataset(pa.Table.from_pylist(rows, schema=SOURCES_SCHEMA))


def _empty(schema: pa.Schema) -> pyarrow.dataset.Dataset:
    return pyarrow.dataset.dataset(schema.empty_table())


def _run(
    tables: Mapping[str, pyarrow.dataset.Dataset], state: DatasetState, sql: str, root: str
) -> QueryResult:
    with (
        tempfile.TemporaryDirectory(prefix="framemill-sql-") as spill,
        duckdb.connect(":memory:") as connection,
    ):
        # Large sorts spill; the default place would be a folder in the user's current one.
        connection.execute("SET temp_directory = ?", [spill])
        connection.execute("SET enable_external_access = false")
        connection.execute("SET python_enable_replacements = false")
        for name, table in tables.items():
            connection.register(name, table)
        if {"transcript", "speakers"} <= tables.keys():
            connection.execute(_SPOKEN)
        try:
            statements = connection.extract_statements(sql)
            kinds = [statement.type.name for statement in statements]
            if len(kinds) != 1 or kinds[0] not in _READING:
                raise UsageError(
                    f"sql takes one statement that reads, not {' and '.join(kinds) or 'an empty one'}: "
                    "use SELECT, FROM, PIVOT, DESCRIBE, SUMMARIZE, SHOW TABLES or EXPLAIN"
                )
            if "sho" in sql.lower():  # `shots`, or SHOW: making the view costs more than a simple query
                create_shots(connection, tables, state, sql if kinds == ["SELECT"] else None)
            connection.execute("SET lock_configuration = true")
            cursor = connection.execute(statements[0])
            return QueryResult(tuple(column[0] for column in cursor.description or ()), cursor.fetchall())
        except duckdb.Error as exc:
            text = str(exc).strip()
            if "reading the stream registered as" in text:
                raise DatasetError(text) from exc
            columns = {name: table.schema.names for name, table in tables.items()}
            if "scenes" in tables:
                columns[VIEW] = SHOTS_SCHEMA.names
            if {"transcript", "speakers"} <= tables.keys():
                columns["spoken"] = [*columns["transcript"], "speaker"]
            raise UsageError(explain(text, sql, columns, root)) from exc
