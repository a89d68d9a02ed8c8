"""What holds for every row of every table, whatever the file says that it came from.

One place for all of it: rows are held against these before they are written, and `framemill check` holds a
whole folder against them. In every table

- values fit the columns: names and types of the schema, no null where none is allowed, no number that is NaN
  or infinite;
- ids refer: a source_id is that of a known source, a stream_index that of one of its streams, and what names
  a row of another table names one that is there (`references`);
- times lie within the source: 0 <= start <= end <= its length, which may be passed by `ROUNDING_SECONDS`;
- boxes and outlines lie within its picture, and boxes are not turned inside out;
- frames exist: 0 <= frame index < number of frames, and ranges of them likewise;
- positions and counts are not negative;
- rows come in order: frame indices ascend, no key is there twice, and ranks have no gaps (`keys`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.cluster.results.broken import Broken, Sources, Told, read_numbers
from framemill.cluster.results.keys import broken_order
from framemill.cluster.results.references import broken_references
from framemill.cluster.results.rules import Bound, Column, Level, rules_of
from framemill.cluster.results.tables import SOURCE_ID
from framemill.errors import InvariantError
from framemill.ops import load_op
from framemill.ops.at_first_use import pc
from framemill.ops.operation import Op

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a source reaches; None where that is unknown.

    Attributes:
        duration_seconds: length of the presentation. num_frames: presented frames.
        width, height: display size in pixels. num_streams: of the container.
    """

    duration_seconds: float | None = None
    num_frames: int | None = None
    width: int | None = None
    height: int | None = None
    num_streams: int | None = None


def find_broken(
    table: str,
    rows: pa.Table,
    extents: Mapping[str, Extent],
    schema: pa.Schema | None = None,
    upstream: Mapping[str, pa.Table] | None = None,
) -> list[Broken]:
    """All that does not hold in these rows.

    Args:
        table: its name.
        rows: all rows of some sources, in their order, with source_id.
        extents: source_id -> how far it reaches, for every source that is known.
        schema: what the table should look like, source_id included; None where nobody says.
        upstream: table -> its rows of the same sources; references to other tables are not looked at.
    """
    if schema is not None:
        wrong = misfits(table, rows.schema, schema)
        if wrong:
            return wrong
    return _broken_rows(table, rows, extents, rules_of(table, rows.schema), upstream or {})


def require_unbroken(
    op: str,
    rows: pa.Table,
    extents: Mapping[str, Extent],
    upstream: Mapping[str, pa.Table] | None = None,
) -> None:
    """Refuses rows of an operation, source_id included, that break anything.

    Args:
        upstream: table -> its rows of the same sources, of those that rows may refer to.

    Raises:
        InvariantError: says what first, and how much more.
    """
    schema, rules = _of_operation(load_op(op))
    broken = misfits(op, rows.schema, schema) or _broken_rows(op, rows, extents, rules, upstream or {})
    if broken:
        more = f"; {len(broken) - 1} more columns are like that" if len(broken) > 1 else ""
        raise InvariantError(
            f"the rows of {op} break what its table promises, so none of them is kept: {broken[0]}{more}"
        )


@lru_cache(maxsize=256)
def _of_operation(op: type[Op]) -> tuple[pa.Schema, Level]:
    """What rows of an operation look like; worked out once, since every file asks for it."""
    schema = pa.schema([SOURCE_ID, *op.schema])
    return schema, rules_of(op.name, schema)


def _broken_rows(
    table: str,
    rows: pa.Table,
    extents: Mapping[str, Extent],
    rules: Level,
    upstream: Mapping[str, pa.Table],
) -> list[Broken]:
    if not rows.num_rows:
        return []
    sources = Sources.of(rows)
    return [
        *_Check(table, rows, extents, sources).run(rules),
        *broken_order(table, rows, sources),
        *broken_references(table, rows, upstream),
    ]


def broken_values(table: str, rows: pa.Table, extents: Mapping[str, Extent]) -> list[Broken]:
    """What does not hold of single rows; the rows of a source may be given in several lots."""
    if not rows.num_rows:
        return []
    return _Check(table, rows, extents, Sources.of(rows)).run(rules_of(table, rows.schema))


def misfits(table: str, found: pa.Schema, wanted: pa.Schema) -> list[Broken]:
    """Where names or types of columns are not those of the table.

    Vectors may have a fixed size, which depends on the model.
    """
    if found.equals(wanted):
        return []
    if found.names != wanted.names:
        text = f"the columns are {', '.join(found.names)} instead of {', '.join(wanted.names)}"
        return [Broken(table, "*", "", 1, text)]
    return [
        Broken(
            table, field.name, "", 1, f"its type is {found.field(field.name).type} instead of {field.type}"
        )
        for field in wanted
        if not _fits(found.field(field.name).type, field.type)
    ]


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(found) and pa.types.is_list(wanted):
        return bool(found.value_type == wanted.value_type)
    return bool(found == wanted)


class _Check:
    """Holds the rows of one table against all that speaks of single rows.

    Most files break nothing, so each rule first asks whether any value breaks it, and finds out which ones
    only then. Rows of one source are held against numbers, those of several against one number for each row.
    """

    def __init__(self, table: str, rows: pa.Table, extents: Mapping[str, Extent], sources: Sources) -> None:
        self._rows = rows
        self._known = extents
        self._sources = sources
        self._extents = [extents.get(id_, Extent()) for id_ in sources.ids]
        self._told = Told(table, sources)

    def run(self, rules: Level) -> list[Broken]:
        told = self._told
        if rules.refers_to_sources and not all(id_ in self._known for id_ in self._sources.ids):
            unknown = np.array([id_ not in self._known for id_ in self._sources.ids])
            told.note("source_id", None, unknown[self._sources.codes], lambda _: "no such source is known")
        self._level(rules, [_whole(column) for column in self._rows.columns], None)
        return told.found

    def _level(self, level: Level, columns: list[pa.Array], at: Rows | None) -> None:
        """One struct, or the table itself; `at` has the row of each value, None where they are the same."""
        numbers: dict[str, npt.NDArray[Any]] = {}
        free: list[tuple[str, npt.NDArray[Any]]] = []
        for column, array in zip(level.columns, columns, strict=True):
            nulls = None
            if array.null_count:
                nulls = array.is_null().to_numpy(zero_copy_only=False)
                if not column.is_nullable:
                    self._told.note(column.path, at, nulls, lambda _: "it is null, which it never is")
            if column.is_number:
                values = read_numbers(array)
                numbers[column.name] = values
                if column.bound is not None:
                    self._bounded(column.path, column.bound, values, at, nulls)
                elif column.is_floating and nulls is None:
                    free.append((column.path, values))
                elif column.is_floating:
                    self._finite(column.path, values, at, nulls)
            elif column.inner is not None or column.item is not None:
                if nulls is None:
                    self._inside(column, array, at)
                else:
                    self._inside(column, array.drop_null(), _where(at, ~nulls))
        if free and not np.isfinite(np.concatenate([values for _, values in free])).all():
            for path, values in free:
                self._finite(path, values, at, None)
        for low, high, path, say in level.pairs:
            first, last = numbers[low], numbers[high]
            turned = last < first
            if turned.any():
                self._told.note(path, at, turned, _of_two(say, last, first))

    def _inside(self, column: Column, array: pa.Array, at: Rows | None) -> None:
        if column.inner is not None:
            self._level(column.inner, array.flatten(), at)
            return
        item = column.item
        assert item is not None
        if column.is_map:  # a list of pairs, told as such
            kind = array.type
            array = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        inner = pc.list_flatten(array)
        if not len(inner):
            return
        parents = pc.list_parent_indices(array).to_numpy()
        at = parents if at is None else at[parents]
        if item.is_number:
            values = read_numbers(inner)
            nulls = inner.is_null().to_numpy(zero_copy_only=False) if inner.null_count else None
            if column.corners is not None:
                for start, bound in enumerate(column.corners):
                    lot = None if nulls is None else nulls[start::2]
                    self._bounded(column.path, bound, values[start::2], at[start::2], lot)
            elif item.is_floating:
                self._finite(column.path, values, at, nulls)
        elif item.inner is not None or item.item is not None:
            if inner.null_count:
                at, inner = at[inner.is_valid().to_numpy(zero_copy_only=False)], inner.drop_null()
            self._inside(item, inner, at)

    def _finite(self, path: str, values: Any, at: Rows | None, nulls: Any) -> None:
        odd = ~np.isfinite(values) if nulls is None else ~np.isfinite(values) & ~nulls
        self._told.note(path, at, odd, lambda i: f"{values[i]} is no finite number")

    def _bounded(self, path: str, bound: Bound, values: Any, at: Rows | None, nulls: Any) -> None:
        """Finite and within; in one comparison where all is well, since NaN is neither above nor below."""
        limit = self._limit(bound.limit, at)
        high = limit + bound.slack
        sound = (values >= bound.low) & (values <= high)
        if values.dtype.kind == "f":
            sound &= values != np.inf  # where no limit is known
        if nulls is not None:
            sound |= nulls
        if sound.all():
            return
        self._finite(path, values, at, nulls)
        limits = np.broadcast_to(limit, values.shape)
        self._told.note(path, at, values < bound.low, lambda i: bound.below.format(values[i], limits[i]))
        self._told.note(path, at, values > high, lambda i: bound.above.format(values[i], limits[i]))

    def _limit(self, name: str | None, at: Rows | None) -> Any:
        """What values are held against: a number, or one for each value; infinite where it is unknown."""
        if name is None:
            return np.float64(np.inf)
        values = [getattr(extent, name) for extent in self._extents]
        limits = np.array([np.inf if value is None else value for value in values], np.float64)
        if len(limits) == 1:
            return limits[0]
        codes = self._sources.codes
        return limits[codes if at is None else codes[at]]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _where(at: Rows | None, is_chosen: Any) -> Rows:
    return np.flatnonzero(is_chosen) if at is None else at[is_chosen]


def _of_two(say: str, last: Any, first: Any) -> Callable[[int], str]:
    return lambda at: say.format(last[at], first[at])
