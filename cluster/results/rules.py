"""What the columns of a table promise by their names and types, worked out once for many files."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from framemill.cluster.results.broken import is_number

# Containers round the times of packets to as much as a millisecond, at both ends of a row.
ROUNDING_SECONDS = 0.002
# Boxes are float32: at 16384 pixels a step is a thousandth.
ROUNDING_PIXELS = 0.01

# Tables that say something else by the same names: container times, and rows of no source.
_WITHOUT_TIMES = ("media", "runs", "errors")
_WITHOUT_SOURCES = ("runs", "errors")
# Tables of `curated.py`: what they speak of may have been extracted anew since, and have other limits.
_CURATED = ("tags", "person_names", "captions", "summaries")


@dataclass(frozen=True, slots=True)
class Bound:
    """What numbers have to lie between.

    Attributes:
        low: least value. limit: attribute of an extent that they are held against; None for none.
        slack: by how much the limit may be passed. below, above: what to say of a value and the limit.
    """

    low: float
    limit: str | None
    slack: float
    below: str
    above: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column, or a field of a struct.

    Attributes:
        name, path: its own, and with those of the structs around it. is_nullable: whether null is allowed.
        is_number, is_floating, is_map: what its values are. bound: of numbers.
        inner: of a struct. item: of a list. corners: bounds of every other number of a list, in turns.
    """

    name: str
    path: str
    is_nullable: bool
    is_number: bool = False
    is_floating: bool = False
    is_map: bool = False
    bound: Bound | None = None
    inner: Level | None = None
    item: Column | None = None
    corners: tuple[Bound, Bound] | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """The columns of a table, or the fields of a struct.

    Attributes:
        columns: in their order. pairs: names of numbers of which the second is never less than the first,
            the path of it and what to say of second and first.
        refers_to_sources: whether a source_id must be that of a known source.
    """

    columns: tuple[Column, ...]
    pairs: tuple[tuple[str, str, str, str], ...]
    refers_to_sources: bool = False


_INSTANT = Bound(
    0.0,
    "duration_seconds",
    ROUNDING_SECONDS,
    "{:g} s is before the start",
    "{:.6g} s is after the end of the source, {:.6g} s",
)
_COUNT = Bound(0.0, None, 0.0, "{:g} is below 0", "{:g} is no count")


def _position(limit: str, what: str, slack: float = -1.0) -> Bound:
    text = f"{{:.0f}} is no {what} of {{:.0f}}"
    return Bound(0.0, limit, slack, text, text)


def _side(limit: str) -> Bound:
    text = "{:g} is not within the picture, 0 to {:g}"
    return Bound(-ROUNDING_PIXELS, limit, ROUNDING_PIXELS, text, text)


_X, _Y = _side("width"), _side("height")
_FRAME = _position("num_frames", "frame")
_INSTANTS = dict.fromkeys(("start_seconds", "end_seconds", "time_seconds", "pts_seconds"), _INSTANT)
_BOUNDS = {
    **dict.fromkeys(("frame_index", "start_frame", "peak_frame", "stand_in_frame"), _FRAME),
    "end_frame": _position("num_frames", "frame", 0.0),
    "stream_index": _position("num_streams", "stream"),
    **dict.fromkeys(("rank", "width", "height"), _COUNT),
    **dict.fromkeys(("x0", "x1"), _X),
    **dict.fromkeys(("y0", "y1"), _Y),
}
_PAIRS = {
    ("start_frame", "end_frame"): "{:.0f} is before {:.0f}",
    ("x0", "x1"): "{:g} is below {:g}",
    ("y0", "y1"): "{:g} is below {:g}",
}
_SPAN = {("start_seconds", "end_seconds"): "{:.6g} s is before the row's own start, {:.6g} s"}


def rules_of(table: str, schema: pa.Schema) -> Level:
    """What the columns of a table promise."""
    level = _level(table, "", list(schema))
    refers = "source_id" in schema.names and table not in _WITHOUT_SOURCES
    return Level(level.columns, level.pairs, refers)


def _level(table: str, path: str, fields: list[pa.Field]) -> Level:
    columns = tuple(_column(table, path, field) for field in fields)
    numbers = {column.name for column in columns if column.is_number}
    wanted = _PAIRS if table in _WITHOUT_TIMES else _SPAN | _PAIRS
    pairs = [(low, high, path + high, say) for (low, high), say in wanted.items() if {low, high} <= numbers]
    return Level(columns, tuple(pairs))


def _column(table: str, path: str, field: pa.Field) -> Column:
    kind, name = field.type, field.name
    if pa.types.is_struct(kind):
        inner = _level(table, f"{path}{name}.", list(kind))
        return Column(name, path + name, field.nullable, inner=inner)
    if pa.types.is_map(kind):
        pair = [pa.field("key", kind.key_type), pa.field("value", kind.item_type)]
        item = Column(name, path + name, True, inner=_level(table, f"{path}{name}.", pair))
        return Column(name, path + name, field.nullable, is_map=True, item=item)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = _column(table, path, kind.value_field.with_name(name))
        corners = (_X, _Y) if name == "polygon" and item.is_number else None
        return Column(name, path + name, field.nullable, item=item, corners=corners)
    if not is_number(kind):
        return Column(name, path + name, field.nullable)
    is_floating = pa.types.is_floating(kind)
    bound = _bound(table, name)
    return Column(name, path + name, field.nullable, is_number=True, is_floating=is_floating, bound=bound)


def _bound(table: str, name: str) -> Bound | None:
    if table in _CURATED:
        return _COUNT
    if name in _INSTANTS:
        return None if table in _WITHOUT_TIMES else _INSTANT
    if name.endswith("_index") or name.startswith("num_"):
        return _BOUNDS.get(name, _COUNT)
    return _BOUNDS.get(name)
