"""What holds for every row of every table, whatever the file says that it came from.

One place for all of it: rows are held against these before they are written, and `framemill check` holds a
whole folder against them. In every table

- values fit the columns: names and types of the schema, no null where none is allowed, no number that is NaN
  or infinite;
- ids refer: a source_id is that of a known source;
- times lie within the source: 0 <= start <= end <= its length, which may be passed by `ROUNDING_SECONDS`;
- boxes and outlines lie within its picture, and boxes are not turned inside out;
- frames exist: 0 <= frame index < number of frames, and ranges of them likewise;
- positions and counts are not negative;
- rows come in order: frame indices ascend, and no key is there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from framemill.errors import InvariantError
from framemill.ops import OPS, load_op

# Containers round the times of packets to as much as a millisecond, at both ends of a row.
ROUNDING_SECONDS = 0.002
# Boxes are float32: at 16384 pixels a step is a thousandth.
ROUNDING_PIXELS = 0.01

SOURCE_ID = pa.field("source_id", pa.string(), False, metadata={"doc": "content id of the source"})

_INSTANTS = ("start_seconds", "end_seconds", "time_seconds", "pts_seconds")
_FRAMES = ("frame_index", "start_frame", "peak_frame", "stand_in_frame")
# Beside frame_index, what tells the rows of one frame apart.
_ITEMS = ("table", "object_index", "face_index", "text_index", "person_index", "item_index")
# Columns that rise from row to row of a source in tables without frame_index.
_RISING = {"scenes": "scene_index", "audio_levels": "start_seconds", "beats": "time_seconds"}
# Tables that say something else by the same names: container times, and rows of no source.
_WITHOUT_TIMES = ("media", "runs", "errors")

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a source reaches; None where that is unknown.

    Attributes:
        duration_seconds: length of the presentation. num_frames: presented frames.
        width, height: display size in pixels.
    """

    duration_seconds: float | None = None
    num_frames: int | None = None
    width: int | None = None
    height: int | None = None


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


def find_broken(
    table: str, rows: pa.Table, extents: Mapping[str, Extent], schema: pa.Schema | None = None
) -> list[Broken]:
    """All that does not hold in these rows.

    Args:
        table: its name.
        rows: all rows of some sources, in their order, with source_id.
        extents: source_id -> how far it reaches, for every source that is known.
        schema: what the table should look like, source_id included; None where nobody says.
    """
    if schema is not None:
        wrong = misfits(table, rows.schema, schema)
        if wrong:
            return wrong
    return [*broken_values(table, rows, extents), *broken_order(table, rows)]


def require_unbroken(op: str, rows: pa.Table, extents: Mapping[str, Extent]) -> None:
    """Refuses rows of an operation, source_id included, that break anything.

    Raises:
        InvariantError: says what first, and how much more.
    """
    schema = pa.schema([SOURCE_ID, *load_op(op).schema])
    broken = find_broken(op, rows, extents, schema)
    if broken:
        more = f"; {len(broken) - 1} more columns are like that" if len(broken) > 1 else ""
        raise InvariantError(
            f"the rows of {op} break what its table promises, so none of them is kept: {broken[0]}{more}"
        )


def broken_values(table: str, rows: pa.Table, extents: Mapping[str, Extent]) -> list[Broken]:
    """What does not hold of single rows; the rows of a source may be given in several lots."""
    if not rows.num_rows:
        return []
    return _Check(table, rows, extents).run()


def order_columns(table: str, names: Sequence[str]) -> list[str]:
    """The columns that `broken_order` looks at; empty where it has nothing to say."""
    if table not in OPS:  # those of others may have any number of rows a frame
        return []
    if table in _RISING:
        return ["source_id", _RISING[table]]
    if "frame_index" not in names or "source_id" not in names:
        return []
    # Among labels each frame has a row per rank; a preview ranks some frames, once each.
    items = [name for name in (*_ITEMS, *(["rank"] if table == "labels" else [])) if name in names]
    return ["source_id", "frame_index", *items, *(["pts_seconds"] if "pts_seconds" in names else [])]


def broken_order(table: str, rows: pa.Table) -> list[Broken]:
    """What does not hold of the order of rows; of each source all rows of the table, or none, are given."""
    columns = order_columns(table, rows.column_names)
    if not columns or not rows.num_rows:
        return []
    ids, codes = _sources(rows)
    keys = [_codes(rows[name]) for name in columns[1:] if name != "pts_seconds"]
    if len(keys) == 1:
        # The rows of a source follow each other: it rises from each to the next.
        same = codes[1:] == codes[:-1]
        falls = same & (keys[0][1:] <= keys[0][:-1])
        found = _tell(table, columns[1], ids, codes[1:], falls, lambda at: _not_rising(keys[0], at))
        if "pts_seconds" in columns and not found:
            times = _numbers(rows["pts_seconds"])
            falls = same & (times[1:] < times[:-1])
            found = _tell(table, "pts_seconds", ids, codes[1:], falls, lambda at: _not_rising(times, at))
        return found
    order = np.lexsort([*reversed(keys), codes])
    twice = np.zeros(rows.num_rows, bool)
    equal = np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in (codes, *keys)])
    twice[order[1:][equal]] = True
    name = ", ".join(name for name in columns[1:] if name != "pts_seconds")
    return _tell(table, name, ids, codes, twice, lambda at: f"row {at} repeats the key of another row")


def misfits(table: str, found: pa.Schema, wanted: pa.Schema) -> list[Broken]:
    """Where names or types of columns are not those of the table."""
    if found.names != wanted.names:
        text = f"the columns are {', '.join(found.names)} instead of {', '.join(wanted.names)}"
        return [Broken(table, "*", "", 1, text)]
    return [
        Broken(
            table, field.name, "", 1, f"its type is {found.field(field.name).type} instead of {field.type}"
        )
        for field in wanted
        if found.field(field.name).type != field.type
    ]


class _Check:
    """Holds the rows of one table against all that speaks of single rows."""

    def __init__(self, table: str, rows: pa.Table, extents: Mapping[str, Extent]) -> None:
        self._table = table
        self._rows = rows
        self._found: list[Broken] = []
        self._ids, self._codes = _sources(rows)
        self._known = extents
        of = [extents.get(id_, Extent()) for id_ in self._ids]

        def limit(values: list[Any]) -> npt.NDArray[np.float64]:
            return np.array([np.inf if value is None else value for value in values], np.float64)[self._codes]

        self._length = limit([extent.duration_seconds for extent in of])
        self._num_frames = limit([extent.num_frames for extent in of])
        self._size = {
            "x": limit([extent.width for extent in of]),
            "y": limit([extent.height for extent in of]),
        }

    def run(self) -> list[Broken]:
        if self._table not in ("errors", "runs") and "source_id" in self._rows.column_names:
            unknown = np.array([id_ not in self._known for id_ in self._ids])[self._codes]
            self._note("source_id", np.arange(len(self._codes)), unknown, lambda _: "no such source is known")
        columns = {name: self._rows[name].combine_chunks() for name in self._rows.column_names}
        fields = {field.name: field for field in self._rows.schema}
        self._level("", fields, columns, np.arange(self._rows.num_rows))
        return self._found

    def _level(self, path: str, fields: Mapping[str, pa.Field], columns: Mapping[str, Any], at: Rows) -> None:
        """One struct, or the table itself; `at` has the row of each value."""
        for name, column in columns.items():
            if not fields[name].nullable and column.null_count:
                nulls = column.is_null().to_numpy(zero_copy_only=False)
                self._note(path + name, at, nulls, lambda _: "it is null, which it never is")
            self._finite(path + name, column, at)
        present = {name: _numbers(columns[name]) for name in columns if _is_number(columns[name].type)}
        if self._table not in _WITHOUT_TIMES:
            self._times(path, present, at)
        self._frames(path, present, at)
        for axis in "xy":
            if {f"{axis}0", f"{axis}1"} <= present.keys():
                self._box(path, axis, present[f"{axis}0"], present[f"{axis}1"], at)
        for name, values in present.items():
            if name.endswith("_index") or name.startswith("num_") or name in ("rank", "width", "height"):
                self._note(path + name, at, values < 0, _of(values, "{:g} is below 0"))
        for name, column in columns.items():
            self._inside(path + name, column, at)

    def _inside(self, path: str, column: Any, at: Rows) -> None:
        kind = column.type
        if pa.types.is_struct(kind):
            if column.null_count:
                at, column = at[column.is_valid().to_numpy(zero_copy_only=False)], column.drop_null()
            children = dict(zip((field.name for field in kind), column.flatten(), strict=True))
            self._level(path + ".", {field.name: field for field in kind}, children, at)
        elif pa.types.is_map(kind) or _is_list(kind):
            if pa.types.is_map(kind):
                column = column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
            inner, parents = pc.list_flatten(column), pc.list_parent_indices(column).to_numpy()
            if path == "polygon" and _is_number(inner.type) and len(inner) % 2 == 0:
                for start, axis in enumerate("xy"):
                    values = _numbers(inner)[start::2]
                    self._within(path, axis, values, at[parents[start::2]])
            self._finite(path, inner, at[parents])
            self._inside(path, inner, at[parents])

    def _finite(self, path: str, column: Any, at: Rows) -> None:
        if pa.types.is_floating(column.type):
            if column.null_count:
                column = pc.fill_null(column, 0.0)
            values = column.to_numpy()  # vectors are many: no copy as float64
            self._note(path, at, ~np.isfinite(values), lambda i: f"{values[i]} is no finite number")

    def _times(self, path: str, present: Mapping[str, Any], at: Rows) -> None:
        length = self._length[at]
        for name in _INSTANTS:
            if name in present:
                values = present[name]
                self._note(path + name, at, values < 0, _of(values, "{:g} s is before the start"))
                late = values > length + ROUNDING_SECONDS
                text = "{:.6g} s is after the end of the source, {:.6g} s"
                self._note(path + name, at, late, _of(values, text, length))
        if {"start_seconds", "end_seconds"} <= present.keys():
            start, end = present["start_seconds"], present["end_seconds"]
            self._note(
                path + "end_seconds",
                at,
                end < start,
                lambda i: f"{end[i]:.6g} s is before the row's own start, {start[i]:.6g} s",
            )

    def _frames(self, path: str, present: Mapping[str, Any], at: Rows) -> None:
        num_frames = self._num_frames[at]
        for name in (*_FRAMES, "end_frame"):
            if name in present:
                values = present[name]
                last = num_frames if name == "end_frame" else num_frames - 1
                outside = (values < 0) | (values > last)
                self._note(path + name, at, outside, _of(values, "{:.0f} is no frame of {:.0f}", num_frames))
        if {"start_frame", "end_frame"} <= present.keys():
            start, end = present["start_frame"], present["end_frame"]
            turned = end < start
            self._note(path + "end_frame", at, turned, lambda i: f"{end[i]:.0f} is before {start[i]:.0f}")

    def _box(self, path: str, axis: str, low: Any, high: Any, at: Rows) -> None:
        self._within(path + f"{axis}0", axis, low, at)
        self._within(path + f"{axis}1", axis, high, at)
        self._note(path + f"{axis}1", at, high < low, lambda i: f"{high[i]:g} is below {low[i]:g}")

    def _within(self, path: str, axis: str, values: Any, at: Rows) -> None:
        size = self._size[axis][at]
        outside = (values < -ROUNDING_PIXELS) | (values > size + ROUNDING_PIXELS)
        self._note(path, at, outside, lambda i: f"{values[i]:g} is not within the picture, 0 to {size[i]:g}")

    def _note(self, column: str, at: Rows, is_broken: Mask, say: Callable[[int], str]) -> None:
        if is_broken.any():
            self._found += _tell(self._table, column, self._ids, self._codes[at], is_broken, say)


def _tell(
    table: str, column: str, ids: list[str], codes: Rows, is_broken: Mask, say: Callable[[int], str]
) -> list[Broken]:
    """One `Broken` for each source with something broken, which the first of it describes."""
    at = np.flatnonzero(is_broken)
    sources, first, counts = np.unique(codes[at], return_index=True, return_counts=True)
    return [
        Broken(table, column, ids[source], int(count), say(int(at[start])))
        for source, start, count in zip(sources.tolist(), first.tolist(), counts.tolist(), strict=True)
    ]


def _of(values: Any, text: str, limits: Any = None) -> Callable[[int], str]:
    """Says `text` of one of some values, and of the limit that it is held against."""
    return lambda at: text.format(values[at], None if limits is None else limits[at])


def _sources(rows: pa.Table) -> tuple[list[str], Rows]:
    """The distinct sources, and for each row which of them it is of."""
    if "source_id" not in rows.column_names:
        return [""], np.zeros(rows.num_rows, np.int64)
    encoded = pc.fill_null(rows["source_id"].cast(pa.string()), "").combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def _codes(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Values that are equal where those of the column are, in the same order if they are numbers."""
    if _is_number(column.type):
        return _numbers(column.combine_chunks())
    encoded = column.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    codes: npt.NDArray[Any] = pc.fill_null(encoded.indices, -1).to_numpy()
    return codes


def _numbers(column: Any) -> npt.NDArray[Any]:
    """As float64; null as NaN, which is neither above nor below anything."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    column = column.cast(pa.float64(), safe=False)
    if column.null_count:
        column = pc.fill_null(column, np.nan)
    numbers: npt.NDArray[Any] = column.to_numpy()
    return numbers


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in kinds)


def _not_rising(values: npt.NDArray[Any], at: int) -> str:
    return f"{values[at + 1]:.10g} follows {values[at]:.10g}"
