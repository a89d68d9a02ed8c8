"""Columns of a dataset's tables as arrays, with the rows of each source side by side and in order of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows
from framemill.cluster.results.queries import dataset_tables
from framemill.errors import DatasetError
from framemill.ops.chunks import BoolArray, Float32Array, Int64Array

Column = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """Some columns of one table, sorted by source, then by the first column asked for.

    Attributes:
        source: int64 [n], position of each row's source in `SourceColumns.sources`.
        values: column -> array [n].
    """

    source: Int64Array
    values: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, name: str) -> Column:
        return self.values[name]


class SourceColumns:
    """Reads tables of some sources.

    Attributes:
        sources: content ids, sorted.

    Args:
        sources: whose rows are read.
        is_part: whether the tables hold far more sources, so that the others' rows are better left on disk.
    """

    def __init__(self, dataset: Dataset, sources: Iterable[str], is_part: bool = False) -> None:
        self.sources = sorted(sources)
        self._ids = pa.array(self.sources, pa.string())
        self._filter = pc.field("source_id").isin(self._ids) if is_part else None
        self._tables = dataset_tables(dataset)
        self._dataset = dataset

    def has(self, table: str) -> BoolArray:
        """bool [sources], whether the operation is done for each."""
        entries = self._dataset.state.entries
        return np.array([(table, source) in entries for source in self.sources], np.bool_)

    def durations(self) -> dict[str, float]:
        """Content id -> length in seconds."""
        return {record.source_id: record.duration_seconds for record in self._dataset.state.sources.values()}

    def read(self, table: str, names: Sequence[str], **more: pc.Expression) -> Columns | None:
        """Columns of a table. None where it was never extracted.

        Args:
            names: of columns; the first one sorts the rows of a source.
            more: name -> what to compute from a row.

        Raises:
            DatasetError: a part is gone or damaged.
        """
        if table not in self._tables:
            return None
        chosen = {name: pc.field(name) for name in ("source_id", *names)} | more
        try:
            found = self._tables[table].to_table(columns=chosen, filter=self._filter)
        except (pa.ArrowException, OSError) as exc:
            raise DatasetError(f"table {table} cannot be read: {exc}; run the command again") from exc
        source, ours = self._numbers(found["source_id"])
        arrays = {name: _plain(found[name]) for name in (*names, *more)}
        order = np.lexsort((arrays[names[0]], source))
        order = order[ours[order]]
        return Columns(source[order], {name: values[order] for name, values in arrays.items()})

    def vectors(self, table: str) -> Iterator[tuple[int, Int64Array, Float32Array]]:
        """Vectors of frames, source by source; memory holds one part of the table at a time.

        Yields:
            Position of the source, its frame indices in order, and their vectors, float32 [n, d].
        """
        for part in self._dataset.state.parts_of(table):
            rows = read_rows(self._dataset.root, table, [part])
            if rows is None:
                continue
            source, ours = self._numbers(rows["source_id"])
            frames = rows["frame_index"].to_numpy()
            order = np.lexsort((frames, source))
            order = order[ours[order]]
            cuts = np.flatnonzero(np.diff(source[order])) + 1
            for own in np.split(order, cuts):
                if len(own):
                    # Only those of one source are sure to be of one model, and so of one length.
                    flat = pc.list_flatten(rows["vector"].take(pa.array(own))).to_numpy()
                    yield int(source[own[0]]), frames[own], flat.reshape(len(own), -1)

    def _numbers(self, ids: pa.ChunkedArray) -> tuple[Int64Array, BoolArray]:
        number = pc.index_in(ids.cast(pa.string()), self._ids)
        ours = pc.is_valid(number).to_numpy()
        return pc.fill_null(number, -1).to_numpy().astype(np.int64), ours


def _plain(column: pa.ChunkedArray) -> Column:
    """Numbers as they are, null as NaN; text as objects; booleans as bool."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count and (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        column = pc.fill_null(column.cast(pa.float64()), float("nan"))
    values: Column = column.to_numpy()
    return values


def match_frames(rows: Columns, source: Int64Array, frame_index: Int64Array) -> Int64Array:
    """For each row of a table the position of its frame among `source` and `frame_index`, or -1.

    Args:
        rows: with the column `frame_index`.
        source, frame_index: int64 [n], sorted by source, then frame.
    """
    shift = np.int64(1 << 40)  # frames of a file are fewer: a century at 300 frames a second
    ours = source * shift + frame_index
    theirs = rows.source * shift + rows["frame_index"]
    at = np.searchsorted(ours, theirs)
    inside = at < len(ours)
    at[inside] = np.where(ours[at[inside]] == theirs[inside], at[inside], -1)
    at[~inside] = -1
    return at.astype(np.int64)


def pieces(source: Int64Array, num_sources: int) -> Int64Array:
    """Where the rows of each source begin, and the end: int64 [num_sources + 1] of sorted numbers."""
    return np.searchsorted(source, np.arange(num_sources + 1)).astype(np.int64)
