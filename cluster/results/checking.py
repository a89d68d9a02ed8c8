"""Holding a whole result folder against the invariants, one part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.results.commits import Part
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.invariants import (
    Broken,
    Extent,
    broken_order,
    broken_values,
    misfits,
    order_columns,
)
from framemill.cluster.results.parts import owners_of, read_groups
from framemill.cluster.results.queries import known_schemas
from framemill.errors import DatasetError

_EXTENT = ("source_id", "duration_seconds", "num_frames", "width", "height")


@dataclass(frozen=True, slots=True)
class Checked:
    """What was looked at, and how many things do not hold."""

    num_tables: int
    num_rows: int
    num_broken: int


def check_folder(dataset: Dataset, on_broken: Callable[[Broken], None]) -> Checked:
    """Holds every committed row against the invariants.

    Args:
        dataset: open; nothing is written.
        on_broken: called for each source and column in which something does not hold.
    """
    schemas = known_schemas(dataset.state)
    extents = dict(_extents(dataset))
    num_rows = num_broken = 0
    tables = dataset.state.tables()
    for table in tables:
        for part in dataset.state.parts_of(table):
            num_rows += part.rows
            for broken in _check_part(dataset, part, schemas.get(table), extents):
                num_broken += 1
                on_broken(broken)
    return Checked(len(tables), num_rows, num_broken)


def _extents(dataset: Dataset) -> Iterator[tuple[str, Extent]]:
    """How far each source reaches: as the log knows it, or better its row of `media`."""
    for record in dataset.state.sources.values():
        yield record.source_id, Extent(record.duration_seconds)
    for part in dataset.state.parts_of("media"):
        try:
            for rows in read_groups(dataset.root, part, _EXTENT):
                for row in rows.to_pylist():
                    yield row.pop("source_id"), Extent(**row)
        except DatasetError:
            continue  # it is told of when its turn comes


def _check_part(
    dataset: Dataset, part: Part, schema: pa.Schema | None, extents: dict[str, Extent]
) -> Iterator[Broken]:
    """Values by groups of rows; the order by the few columns that make it, of the whole part."""
    try:
        num_rows = 0
        owners: set[str] = set()
        keys: list[pa.Table] = []
        for rows in read_groups(dataset.root, part):
            if schema is not None and not num_rows:
                present = set(rows.column_names)
                # Versions add columns, which older parts lack.
                wanted = pa.schema([f for f in schema if f.name in present])
                yield from misfits(part.table, rows.schema, wanted)
            num_rows += rows.num_rows
            owners.update(pc.unique(owners_of(part.table, rows)).to_pylist())
            yield from broken_values(part.table, rows, extents)
            if columns := order_columns(part.table, rows.column_names):
                keys.append(rows.select(columns))
        if keys:
            yield from broken_order(part.table, pa.concat_tables(keys))
    except (DatasetError, KeyError) as exc:
        yield Broken(part.table, "*", "", 1, f"part {part.name} cannot be read: {exc}")
        return
    of_part = Broken(part.table, "*", "", 1, "")
    if num_rows != part.rows:
        yield replace(
            of_part, message=f"part {part.name} has {num_rows} rows, and {part.rows} were committed"
        )
    if owners != set(part.owners):
        odd = sorted(owners ^ set(part.owners))[0]
        text = f"part {part.name} and the commit log do not agree whose rows it holds: {odd}"
        yield replace(of_part, message=text)
