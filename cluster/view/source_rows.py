"""Rows of a result folder's tables as Python values, gathered by source."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.source_tables import source_tables
from framemill.errors import DatasetError

Row = dict[str, Any]


class SourceRows:
    """Reads tables, for some sources only.

    Args:
        sources: content ids whose rows are read; None for all.
    """

    def __init__(self, dataset: Dataset, sources: Collection[str] | None = None) -> None:
        self._dataset, self._sources = dataset, sources
        self._tables: dict[str, pyarrow.dataset.Dataset | None] = {}

    def __contains__(self, table: str) -> bool:
        return self._table(table) is not None

    def _table(self, name: str) -> pyarrow.dataset.Dataset | None:
        if name not in self._tables:
            # Runs and errors are told whole: a file that failed has no other rows.
            own = None if name in ("runs", "errors") else self._sources
            found = source_tables(self._dataset.root, self._dataset.state, [name], own)
            self._tables[name] = found.get(name)
        return self._tables[name]

    def by_source(self, table: str, columns: Sequence[str]) -> dict[str, list[Row]]:
        """Content id -> its rows in the order of the first column; {} where the table was never made.

        Raises:
            DatasetError: a part is gone or damaged.
        """
        found: dict[str, list[Row]] = {}
        for row in self.rows(table, ["source_id", *columns], order=columns[0]):
            found.setdefault(row.pop("source_id"), []).append(row)
        return found

    def rows(
        self, table: str, columns: Sequence[str], order: str, condition: pc.Expression | None = None
    ) -> list[Row]:
        """Rows of `table` in the order of one column.

        Args:
            condition: what the rows have to fulfil; None for all.

        Raises:
            DatasetError: a part is gone or damaged.
        """
        found = self.table(table, columns, condition)
        rows: list[Row] = found.sort_by(order).to_pylist() if found.num_rows else []
        return rows

    def table(self, table: str, columns: Sequence[str], condition: pc.Expression | None = None) -> pa.Table:
        """Columns of a table: null where an older version did not write them, empty where it was never made.

        Raises:
            DatasetError: a part is gone or damaged.
        """
        source = self._table(table)
        if source is None:
            return pa.table({name: pa.nulls(0) for name in columns})
        there = [name for name in columns if name in source.schema.names]
        try:
            found = source.to_table(columns=there, filter=condition)
        except (pa.ArrowException, OSError) as exc:
            raise DatasetError(f"table {table} cannot be read: {exc}; run the command again") from exc
        nothing = pa.nulls(found.num_rows)
        held = {name: found[name] if name in there else nothing for name in columns}
        return pa.table(held)

    def images(self, table: str) -> Iterator[Row]:
        """Kept pictures, one after the other: source_id, frame_index and `image`, a JPEG."""
        source = self._table(table)
        if source is None or "image" not in source.schema.names:
            return
        kept = pc.field("image").is_valid()
        columns = ["source_id", "frame_index", "image"]
        for batch in source.to_batches(columns=columns, filter=kept, batch_size=64):
            yield from batch.to_pylist()
