"""Shots of a result folder, as the view `shots` has them, by a condition in SQL."""

from __future__ import annotations

import os

from framemill.cluster.results.answers import QueryResult
from framemill.cluster.results.queries import query
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.shots import SHOTS_SCHEMA

# All but the picture, which is larger than the rest together.
COLUMNS = tuple(name for name in SHOTS_SCHEMA.names if name != "still")


def find_shots(
    root: str | os.PathLike[str] | RemotePath,
    where: str | None = None,
    limit: int | None = None,
    columns: tuple[str, ...] = COLUMNS,
) -> QueryResult:
    """Rows of the view `shots`, by uri and position.

    Args:
        root: a result folder.
        where: a condition on the view's columns in DuckDB's SQL; None for all shots.
        limit: rows at most; None for all.
        columns: of the view.

    Raises:
        UsageError: no scenes were extracted, or DuckDB refuses the condition.
        DatasetError: a part cannot be read.
    """
    # On lines of its own, a condition that ends in a comment leaves the rest of the statement alone.
    condition = f"WHERE (\n{where}\n)" if where else ""
    rows = f"LIMIT {int(limit)}" if limit is not None else ""
    sql = f"SELECT {', '.join(columns)} FROM shots {condition} ORDER BY uri, source_id, scene_index {rows}"
    return query(root, sql)
