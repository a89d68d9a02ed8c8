"""Rows of a result folder's tables as Python values, gathered by source."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import dataset_tables
from framemill.errors import DatasetError

Row = dict[str, Any]


class SourceRows:
    """Reads tables, for some sources only.

    Args:
        sources: content ids whose rows are read; None for all.
    """

    def __init__(self, dataset: Dataset, sources: Collection[str] | None = None) -> None:
        self._tables = dataset_tables(dataset)
        ids = None if sources is None else pa.array(sorted(sources), pa.string())
        self._filter = None if ids is None else pc.field("source_id").isin(ids)

    def __contains__(self, table: str) -> bool:
        return table in self._tables

    def by_source(self, table: str, columns: Sequence[str]) -> dict[str, list[Row]]:
        """Content id -> its rows in the order of the first column; {} where the table was never made.

        Raises:
            DatasetError: a part is gone or damaged.
        """
        found: dict[str, list[Row]] = {}
        for row in self.rows(table, ["source_id", *columns], order=columns[0]):
            found.setdefault(row.pop("source_id"), []).append(row)
        return found

    def rows(self, table: str, columns: Sequence[str], order: str) -> list[Row]:
        """Rows of `table` in the order of one column.

        Raises:
            DatasetError: a part is gone or damaged.
        """
        found = self.table(table, columns)
        rows: list[Row] = found.sort_by(order).to_pylist() if found.num_rows else []
        return rows

    def table(self, table: str, columns: Sequence[str]) -> pa.Table:
        """Columns of a table: null where an older version did not write them, empty where it was never made.

        Raises:
            DatasetError: a part is gone or damaged.
        """
        if table not in self._tables:
            return pa.table({name: pa.nulls(0) for name in columns})
        source = self._tables[table]
        there = [name for name in columns if name in source.schema.names]
        # Runs and errors are told whole: a file that failed has no other rows.
        own = None if table in ("runs", "errors") else self._filter
        try:
            found = source.to_table(columns=there, filter=own)
        except (pa.ArrowException, OSError) as exc:
            raise DatasetError(f"table {table} cannot be read: {exc}; run the command again") from exc
        nothing = pa.nulls(found.num_rows)
        held = {name: found[name] if name in there else nothing for name in columns}
        return pa.table(held)

    def images(self, table: str) -> Iterator[Row]:
        """Kept pictures, one after the other: source_id, frame_index and `image`, a JPEG."""
        if table not in self._tables or "image" not in self._tables[table].schema.names:
            return
        kept = pc.field("image").is_valid()
        wanted = kept if self._filter is None else kept & self._filter
        columns = ["source_id", "frame_index", "image"]
        for batch in self._tables[table].to_batches(columns=columns, filter=wanted, batch_size=64):
            yield from batch.to_pylist()
