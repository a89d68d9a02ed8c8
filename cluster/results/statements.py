"""One statement in DuckDB over tables that are handed to it, with rows as they come.

The engine gets no file at all, half of the machine's memory, and a folder of its own for what does not fit.
Its functions do not keep to that, and heed no interrupt: what a user wrote runs in a process that can be
ended (`framemill.cluster.results.sql_process`).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import duckdb

from framemill.cluster.machine import memory_bytes, usable_cores
from framemill.cluster.results.answers import ENGINE_MEMORY_SHARE, MOST_SPILLED_BYTES, QueryStream, Row
from framemill.errors import DatasetError, UsageError

_ROWS_AT_ONCE = 2048  # as many as DuckDB makes at a time
_READING = frozenset({"SELECT", "EXPLAIN", "MULTI"})  # MULTI: a PIVOT
_ZONED = re.compile(r"TIMESTAMP(_NS)? WITH TIME ZONE")


@contextmanager
def answering(
    sql: str,
    prepare: Callable[[duckdb.DuckDBPyConnection, bool], None],
    explain: Callable[[str], str],
    memory: int = 0,
) -> Iterator[QueryStream]:
    """Runs one reading statement; its rows can be had inside of the block.

    Args:
        prepare: registers tables and makes views on a connection; told whether the statement is a SELECT.
        explain: turns what DuckDB says against a statement into words for a person.
        memory: bytes that DuckDB may hold before it spills; 0 for a share of the machine's.

    Raises:
        UsageError: it is not one statement, does not read, or DuckDB refuses it: also while rows come.
        DatasetError: a table cannot be read.
    """
    with (
        tempfile.TemporaryDirectory(prefix="framemill-sql-") as spill,
        duckdb.connect(":memory:") as connection,
        _own_errors(explain),
    ):
        # Large sorts spill; the default place would be a folder in the user's current one.
        connection.execute("SET temp_directory = ?", [spill])
        held = memory or int(ENGINE_MEMORY_SHARE * memory_bytes())
        connection.execute(f"SET memory_limit = '{held}B'")
        connection.execute(f"SET max_temp_directory_size = '{MOST_SPILLED_BYTES}B'")
        connection.execute(f"SET threads = {usable_cores()}")
        connection.execute("SET TimeZone = 'UTC'")  # the same answer wherever it is asked
        connection.execute("SET enable_external_access = false")
        connection.execute("SET autoload_known_extensions = false")
        connection.execute("SET python_enable_replacements = false")
        if not _is_text(sql):  # DuckDB ends the process over such
            raise UsageError("the statement holds half of a character: give text in UTF-8")
        statements = connection.extract_statements(sql)
        kinds = [statement.type.name for statement in statements]
        if len(kinds) != 1 or kinds[0] not in _READING:
            raise UsageError(
                f"sql takes one statement that reads, not {' and '.join(kinds) or 'an empty one'}: "
                "use SELECT, FROM, PIVOT, DESCRIBE, SUMMARIZE, SHOW TABLES or EXPLAIN"
            )
        prepare(connection, kinds[0] == "SELECT")
        connection.execute("SET lock_configuration = true")
        cursor = connection.execute(statements[0])
        description = cursor.description or []
        types = [str(column[1]) for column in description]
        if any(map(_ZONED.search, types)):
            cursor = connection.execute(_without_zones(sql, types))
        rows = _rows(cursor, [n for n, kind in enumerate(types) if _ZONED.fullmatch(kind)])
        yield QueryStream(tuple(str(column[0]) for column in description), _telling(rows, explain))


def _is_text(sql: str) -> bool:
    try:
        sql.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_zones(sql: str, types: Sequence[str]) -> str:
    """The statement with times in UTC instead of times with a zone, inside of lists and structs as text.

    DuckDB's way to Python values wants a package for those that Python itself no longer needs; its way over
    Arrow knows no infinite dates, and takes numbers of 128 bits for decimals.
    """
    text = sql.encode()  # places of tokens are counted in bytes
    is_end = duckdb.token_type.operator
    ends = [at for at, kind in duckdb.tokenize(sql) if text[at : at + 1] == b";" and kind == is_end]
    asked = text[: ends[0]].decode() if ends else sql
    columns = [
        f"CAST(c{n} AS TIMESTAMP)"
        if _ZONED.fullmatch(kind)
        else f"CAST(c{n} AS {_ZONED.sub('VARCHAR', kind)})"
        if _ZONED.search(kind)
        else f"c{n}"
        for n, kind in enumerate(types)
    ]
    names = ", ".join(f"c{n}" for n in range(len(types)))
    return f"SELECT {', '.join(columns)} FROM ({asked}\n) AS answer({names})"


def _rows(cursor: duckdb.DuckDBPyConnection, zoned: Sequence[int]) -> Iterator[Row]:
    while batch := cursor.fetchmany(_ROWS_AT_ONCE):
        if not zoned:
            yield from batch
            continue
        for row in map(list, batch):
            for n in zoned:
                if isinstance(row[n], datetime):  # those beyond the years of Python come as text
                    row[n] = row[n].replace(tzinfo=UTC)
            yield tuple(row)


def _telling(rows: Iterator[Row], explain: Callable[[str], str]) -> Iterator[Row]:
    """Rows are asked for outside of the block in which the statement was run: errors come there too."""
    with _own_errors(explain):
        yield from rows


@contextmanager
def _own_errors(explain: Callable[[str], str]) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as exc:
        text = str(exc).strip()
        if "reading the stream registered as" in text:
            raise DatasetError(text) from exc
        raise UsageError(explain(text)) from exc
