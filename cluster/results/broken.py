"""What does not hold of rows, told once for each source and column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.ops.at_first_use import pc

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Broken:
    """One thing that does not hold in one column of one source.

    Attributes:
        table, column, source_id: where. num_rows: how many values are like that, at least 1.
        message: what is wrong with the first of them.
    """

    table: str
    column: str
    source_id: str
    num_rows: int
    message: str

    def __str__(self) -> str:
        more = f" ({self.num_rows} values like it)" if self.num_rows > 1 else ""
        return f"{self.table}.{self.column}: {self.message}{more}"


@dataclass(frozen=True, slots=True)
class Sources:
    """Whose rows are looked at.

    Attributes:
        ids: the distinct source_ids, in order of appearance; "" for null, and where the table has none.
        codes: int64 [rows], which of them each row is of.
    """

    ids: list[str]
    codes: Positions

    @classmethod
    def of(cls, rows: pa.Table) -> Sources:
        if "source_id" not in rows.column_names:
            return cls([""], np.zeros(rows.num_rows, np.int64))
        column = rows["source_id"].combine_chunks()
        if column.type != pa.string():
            column = column.cast(pa.string())
        if column.null_count:
            column = pc.fill_null(column, "")
        encoded = column.dictionary_encode()
        return cls(encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64))


@dataclass(frozen=True, slots=True)
class Told:
    """Gathers what is broken in one table."""

    table: str
    sources: Sources
    found: list[Broken] = field(default_factory=list)

    def note(self, column: str, at: Positions | None, is_broken: Any, say: Callable[[int], str]) -> None:
        """One `Broken` for each source with something broken, which the first of it describes.

        Args:
            at: row of each value; None where they are the rows themselves.
            is_broken: bool, one for each value. say: what is wrong with the value at a position.
        """
        if not is_broken.any():
            return
        places = np.flatnonzero(is_broken)
        rows = places if at is None else at[places]
        codes, first, counts = np.unique(self.sources.codes[rows], return_index=True, return_counts=True)
        self.found.extend(
            Broken(self.table, column, self.sources.ids[code], int(count), say(int(places[start])))
            for code, start, count in zip(codes.tolist(), first.tolist(), counts.tolist(), strict=True)
        )


def read_numbers(column: pa.Array) -> npt.NDArray[Any]:
    """Numbers as they are; with nulls as floats, null as NaN, which is neither above nor below anything."""
    numbers: npt.NDArray[Any] = column.to_numpy(zero_copy_only=not column.null_count)
    return numbers


def is_number(kind: pa.DataType) -> bool:
    """Whether values of the type can be compared as numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
