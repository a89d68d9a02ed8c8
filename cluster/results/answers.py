"""What comes of a statement in SQL, and how much it may take; this module imports no engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Of a statement: seconds that its process may work, rows that are handed on and rows that are held.
SQL_SECONDS = 600.0
MOST_ROWS = 100_000_000
MOST_HELD_ROWS = 10_000_000
MOST_SQL_BYTES = 1 << 20
# Of the machine's memory, what the process may take, and what DuckDB may hold in it before it spills; its own
# default is most of the machine's. The rest is Python's, Arrow's, and what DuckDB's functions take unseen.
SQL_MEMORY_SHARE = 0.7
ENGINE_MEMORY_SHARE = 0.5
LEAST_SQL_BYTES = 1 << 29  # of memory: below, the tables cannot even be opened
# On the disk, in the folder of temporary files.
MOST_SPILLED_BYTES = 64 << 30

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class QueryStream:
    """Column names, and rows as they come: no more are held than DuckDB makes at a time."""

    columns: tuple[str, ...]
    rows: Iterator[Row]


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Rows as Python values, in the order DuckDB gives them, and the names of their columns.

    Times with a zone are in UTC; inside of lists and structs they are text.
    """

    columns: tuple[str, ...]
    rows: list[Row]
