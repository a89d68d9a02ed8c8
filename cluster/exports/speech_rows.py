"""Rows of `transcript` and `speakers`, source by source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_groups
from framemill.cluster.results.queries import query
from framemill.errors import DatasetError
from framemill.ops import load_op

Row = Mapping[str, Any]
# What tells a row of a table from all others of its source.
_KEYS = {
    "transcript": ("origin", "stream_index", "segment_index"),
    "speakers": ("start_seconds", "end_seconds", "speaker"),
}


class Condition:
    """Which rows a condition in SQL takes.

    Args:
        root: a result folder.
        tables: those read, of which `transcript` or else `speakers` is asked.
        where: a condition on the view `spoken`, which is `transcript` with `speaker`, where there are
            speakers; else on `transcript`; of speakers alone on `speakers`. Each has the column `uri` too.

    Raises:
        UsageError: DuckDB refuses the condition. DatasetError: a part cannot be read.
    """

    def __init__(self, root: str | os.PathLike[str], tables: Sequence[str], where: str) -> None:
        there = Dataset.open(root, create=False).state.keys
        self.table = "transcript" if "transcript" in tables else "speakers"
        is_spoken = self.table == "transcript" and {"transcript", "speakers"} <= set(there)
        view = "spoken" if is_spoken else self.table
        keys = _KEYS[self.table]
        # On lines of its own, a condition that ends in a comment leaves the rest of the statement alone.
        found = query(
            root,
            f"SELECT source_id, {', '.join(keys)} FROM (SELECT v.*, s.uri FROM "
            f"{view} v LEFT JOIN sources s USING (source_id)) "
            f"WHERE (\n{where}\n)",
        )
        self._taken = set(found.rows)

    def takes(self, source_id: str, row: Row) -> bool:
        """Whether a row of the table that was asked is one of those."""
        return (source_id, *(row[key] for key in _KEYS[self.table])) in self._taken


class Reader:
    """Reads one table source by source.

    Attributes:
        owners: source ids with rows, in the order in which the parts hold them. Taken in this order, only
            the rows of one row group are held; those of other sources met meanwhile are kept as columns.

    Args:
        columns: those to read; none: all.
    """

    def __init__(self, dataset: Dataset, table: str, columns: Sequence[str]) -> None:
        self.owners = dict.fromkeys(owner for part in dataset.state.parts_of(table) for owner in part.owners)
        self._names = [name for name in load_op(table).schema.names if not columns or name in columns]
        self._rows = self._read(dataset, table)
        self._passed: dict[str, pa.Table] = {}

    def take(self, source_id: str) -> list[Row]:
        """The rows of a source by time, each once."""
        while source_id in self.owners and source_id not in self._passed:
            found = next(self._rows, None)
            if found is None:
                raise DatasetError(f"rows of {source_id} are gone: restore their part, or extract again")
            self._passed[found[0]] = found[1]
        rows = self._passed.pop(source_id, None)
        if rows is None:
            return []
        rows = rows.sort_by([("start_seconds", "ascending"), ("end_seconds", "ascending")])
        # Parts of earlier versions lack fields.
        return [{name: row.get(name) for name in self._names} for row in rows.to_pylist()]

    def _read(self, dataset: Dataset, table: str) -> Iterator[tuple[str, pa.Table]]:
        """All rows of a source, which parts hold one after another."""
        for part in dataset.state.parts_of(table):
            found: dict[str, list[pa.Table]] = {}
            for rows in read_groups(dataset.root, part, ["source_id", *self._names]):
                for owner, piece in _pieces(rows):
                    found.setdefault(owner, []).append(piece)
                last = next(reversed(found), None)
                for owner in [owner for owner in found if owner != last]:
                    yield owner, pa.concat_tables(found.pop(owner))
            for owner, pieces in found.items():
                yield owner, pa.concat_tables(pieces)


def _pieces(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Consecutive rows of one source each."""
    ids = rows["source_id"].combine_chunks().dictionary_encode()
    codes = ids.indices.to_numpy()
    edges = np.flatnonzero(np.diff(codes, prepend=-1))
    plain = rows.drop_columns("source_id")
    for start, end in zip(edges, [*edges[1:], len(codes)], strict=True):
        yield ids.dictionary[int(codes[start])].as_py(), plain.slice(int(start), int(end - start))
