"""SQL over a result folder.

The tables are handed to DuckDB as Arrow datasets made from the commit log's list of parts, so the engine
itself needs no file at all and gets none. Letting it open the parts would let it write them: with
`allowed_paths`, DuckDB 2.0 runs `WITH x AS (COPY ... TO 'part' (use_tmp_file false)) SELECT ...` as a SELECT
and truncates the part (measured).
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from itertools import chain, islice
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from framemill.cluster.results import layout
from framemill.cluster.results.answers import QueryResult, QueryStream
from framemill.cluster.results.commits import DatasetState, Part
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import unify_parts
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.shot_rows import READ
from framemill.cluster.results.shots import SHOTS_SCHEMA, VIEW, create_shots
from framemill.cluster.results.sql_hints import explain
from framemill.cluster.results.statements import answering
from framemill.cluster.results.storage import (
    REQUESTS_AT_ONCE,
    file_system,
)
from framemill.cluster.results.tables import ERRORS_SCHEMA, RUNS_SCHEMA, SOURCE_ID, SOURCES_SCHEMA
from framemill.errors import DatasetError
from framemill.ops import OPS, PLUGINS, load_op

# Tables that commands make -> module and schema; imported only where a folder has the table.
CORPUS_TABLES = {
    "people": "framemill.cluster.corpus.people:PEOPLE_SCHEMA",
    "duplicates": "framemill.cluster.corpus.duplicates:DUPLICATES_SCHEMA",
    "thumbnails": "framemill.cluster.editing.thumbnails:THUMBNAILS_SCHEMA",
    "highlights": "framemill.cluster.editing.highlights:HIGHLIGHTS_SCHEMA",
    "clips": "framemill.cluster.clips.table:CLIPS_SCHEMA",
    "captions": "framemill.cluster.corpus.captions:CAPTIONS_SCHEMA",
    "summaries": "framemill.cluster.corpus.summaries:SUMMARIES_SCHEMA",
    "recall": "framemill.cluster.corpus.recall:RECALL_SCHEMA",
    "tags": "framemill.cluster.corpus.tags:TAGS_SCHEMA",
    "person_names": "framemill.cluster.corpus.names:NAMES_SCHEMA",
}
_ATTEMPTS = 20  # a compaction may replace parts while they are read
# What may read tables that a statement does not name: DuckDB's own tables and functions.
_MAY_READ_ALL = re.compile(r"show|describe|schema|duckdb_|pg_|sqlite_|pragma|query", re.IGNORECASE)
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


# View -> the tables that it is made from.
_VIEWS: Mapping[str, Collection[str]] = {"spoken": ("transcript", "speakers"), VIEW: ("sources", *READ)}
_T = TypeVar("_T")


def query(root: str | os.PathLike[str] | RemotePath, sql: str, limit: int | None = None) -> QueryResult:
    """Runs one reading statement over the tables of a result folder; each table is a view.

    Beside the tables there is `sources`, a row for each content with the files that hold it, from the commit
    log; where there are a transcript and speakers, `spoken`: who says each segment; and where there are
    scenes, `shots`: what all tables know of each shot (`framemill.cluster.results.shots`).

    The answer is exact whatever commits or compacts meanwhile: it is that of one state of the log. Statements
    of users go through `framemill.cluster.results.sql_process`.

    Args:
        limit: most rows to give, 0 or more, and to hold; None for all.

    Raises:
        UsageError: no results at `root`, or DuckDB refuses the statement (its own message is passed on).
        DatasetError: a part cannot be read.
    """

    return ask(Dataset.open(root, create=False), sql, limit)


def ask(dataset: Dataset, sql: str, limit: int | None = None) -> QueryResult:
    """As `query`, of a folder that is open, whose state is taken as it is.

    Where it is narrowed (`Dataset.narrowed`), parts of other sources are not opened; the statement has to
    name the sources all the same, since a part holds several.
    """

    def collect(dataset: Dataset) -> QueryResult:
        with _answering(dataset, sql) as stream:
            return QueryResult(stream.columns, list(islice(stream.rows, limit)))

    return _of_one_state(dataset, collect)


@contextmanager
def stream_query(
    root: str | os.PathLike[str] | RemotePath, sql: str, memory: int = 0
) -> Iterator[QueryStream]:
    """As `query`, with rows as they come, inside of the block.

    Args:
        memory: bytes that DuckDB may hold before it spills; 0 for a share of the machine's.

    Raises:
        DatasetError: a part cannot be read; also where a compaction replaces one after the first row.
    """

    def begin(dataset: Dataset) -> tuple[ExitStack, QueryStream]:
        with ExitStack() as stack:
            stream = stack.enter_context(_answering(dataset, sql, memory))
            rows = chain(list(islice(stream.rows, 1)), stream.rows)
            return stack.pop_all(), QueryStream(stream.columns, rows)

    stack, stream = _of_one_state(Dataset.open(root, create=False), begin)
    with stack:
        try:
            yield stream
        except DatasetError as exc:
            raise DatasetError(
                f"a part was replaced while rows were read ({exc}): they are not all; run the command again"
            ) from exc


def _of_one_state(dataset: Dataset, read: Callable[[Dataset], _T]) -> _T:
    """What is read of the newest state whose parts stay there meanwhile."""
    failure: DatasetError | None = None
    for _ in range(_ATTEMPTS):
        paths = live_paths(dataset)
        try:
            return read(dataset)
        except DatasetError as exc:
            failure = exc
            dataset.reload()
            if paths == live_paths(dataset):
                break
    raise DatasetError(
        f"a part of {dataset.root} cannot be read: {failure}; restore it, or delete it and extract again"
    ) from failure


def table_names(state: DatasetState) -> list[str]:
    """The tables of a folder, sorted: those with rows, and those that were asked for."""
    known = {name for name in state.keys if name in OPS or name in PLUGINS or name in CORPUS_TABLES}
    return sorted({"errors", "runs", *known, *state.tables()})


def dataset_tables(
    dataset: Dataset, names: Collection[str] | None = None
) -> dict[str, pyarrow.dataset.Dataset]:
    """Every table as an Arrow dataset over its live parts. Asked-for tables without rows are there, empty.

    Args:
        names: of those that are wanted, as far as they are there; None for all.

    Raises:
        DatasetError: a part is gone or damaged; or the state is out of date: reload and try again.
    """
    state = dataset.state
    tables = {name: _empty(schema) for name, schema in known_schemas(state, names).items()}
    files = file_system(dataset.root)
    for name in [name for name in state.tables() if names is None or name in names]:
        parts = state.parts_of(name)
        paths = _live_files(dataset, parts)
        try:
            # Later versions may add fields: older parts answer null for them.
            schema = unify_parts(_read_schemas(_one_of_each(parts, paths), files))
            tables[name] = pyarrow.dataset.dataset(paths, schema=schema, format="parquet", filesystem=files)
        except (pa.ArrowException, OSError) as exc:
            raise DatasetError(f"table {name}: {exc}") from exc
    return tables


def _one_of_each(parts: Sequence[Part], paths: Sequence[str]) -> list[str]:
    """Of parts with the same columns the path of one: to open thousands takes seconds."""
    return list({part.schema or part.name: path for part, path in zip(parts, paths, strict=True)}.values())


def _read_schemas(paths: Sequence[str], files: Any) -> list[pa.Schema]:
    if files is None:
        return [pq.read_schema(path) for path in paths]
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return list(pool.map(lambda path: pq.read_schema(path, filesystem=files), paths))


def live_paths(dataset: Dataset) -> set[str]:
    """Compared instead of the parts: publishing moves a file without a new commit."""
    state = dataset.state
    return {path for table in state.tables() for path in _live_files(dataset, state.parts_of(table))}


def _live_files(dataset: Dataset, parts: Sequence[Part]) -> list[str]:
    return layout.live_files(dataset.root, parts[0].table, [part.name for part in parts])


def known_schemas(state: DatasetState, names: Collection[str] | None = None) -> dict[str, pa.Schema]:
    """Table -> schema, source_id included, of every table of a folder that this version knows.

    Args:
        names: of those that are wanted; None for all.
    """
    schemas = {"errors": ERRORS_SCHEMA, "runs": RUNS_SCHEMA}
    for name in state.keys:
        if names is not None and name not in names:
            continue  # to load an operation takes time
        if name in OPS or name in PLUGINS:
            schemas[name] = pa.schema([SOURCE_ID, *load_op(name).schema])
        elif name in CORPUS_TABLES:
            schemas[name] = corpus_schema(name)
    return {name: schema for name, schema in schemas.items() if names is None or name in names}


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


def _answering(dataset: Dataset, sql: str, memory: int = 0) -> AbstractContextManager[QueryStream]:
    state = dataset.state
    there = ["sources", *table_names(state)]
    tables: dict[str, pyarrow.dataset.Dataset] = {}

    def prepare(connection: duckdb.DuckDBPyConnection, is_select: bool) -> None:
        wanted = _named(sql, there)
        if "sources" in wanted:
            tables["sources"] = _sources(state)
        tables.update(dataset_tables(dataset, wanted))
        for name, table in tables.items():
            connection.register(name, table)
        if {"transcript", "speakers"} <= tables.keys():
            connection.execute(_SPOKEN)
        if "sho" in sql.lower():  # `shots`, or SHOW: making the view costs more than a simple query
            create_shots(connection, tables, state, sql if is_select else None)

    def explained(text: str) -> str:
        columns = {name: tables[name].schema.names if name in tables else [] for name in there}
        if "scenes" in there:
            columns[VIEW] = SHOTS_SCHEMA.names
        if {"transcript", "speakers"} <= tables.keys():
            columns["spoken"] = [*columns["transcript"], "speaker"]
        return explain(text, sql, columns, str(dataset.root))

    return answering(sql, prepare, explained, memory)


def _named(sql: str, there: Collection[str]) -> set[str]:
    """The tables that a statement may read: all whose names, or those of views over them, stand in it."""
    if _MAY_READ_ALL.search(sql):
        return set(there)
    text = sql.lower()
    behind = {table for view, tables in _VIEWS.items() if view in text for table in tables}
    return {name for name in there if name.lower() in text or name in behind}
