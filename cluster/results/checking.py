"""Holding a whole result folder against the invariants, one part at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.results.broken import Broken
from framemill.cluster.results.commits import Part
from framemill.cluster.results.corpus_tables import speaks_of_present_rows
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.invariants import Extent, broken_values, misfits
from framemill.cluster.results.keys import broken_order, order_columns
from framemill.cluster.results.parts import owners_of, read_groups, read_rows
from framemill.cluster.results.queries import CORPUS_TABLES, known_schemas
from framemill.cluster.results.references import broken_references, reference_columns, referred_tables
from framemill.errors import DatasetError

_EXTENT = ("source_id", "duration_seconds", "num_frames", "width", "height", "streams")


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
        seen: set[str] = set()
        for part in dataset.state.parts_of(table):
            num_rows += part.rows
            for broken in _check_part(dataset, part, schemas.get(table), extents):
                num_broken += 1
                on_broken(broken)
            for owner in sorted(seen.intersection(part.owners)):
                num_broken += 1
                on_broken(Broken(table, "*", "", 1, f"rows of {owner} are in more than one part"))
            seen.update(part.owners)
    return Checked(len(tables), num_rows, num_broken)


def _extents(dataset: Dataset) -> Iterator[tuple[str, Extent]]:
    """How far each source reaches: as the log knows it, or better its row of `media`."""
    for record in dataset.state.sources.values():
        yield record.source_id, Extent(record.duration_seconds)
    for part in dataset.state.parts_of("media"):
        try:
            for rows in read_groups(dataset.root, part, _EXTENT):
                for row in rows.to_pylist():
                    streams = row.pop("streams", None)
                    num_streams = None if streams is None else len(streams)
                    yield row.pop("source_id"), Extent(**row, num_streams=num_streams)
        except DatasetError:
            continue  # it is told of when its turn comes


def _is_present(dataset: Dataset, table: str) -> bool:
    """Whether rows of a table speak of what the others hold now; commands make theirs anew when asked to."""
    return table not in CORPUS_TABLES or speaks_of_present_rows(dataset.state, dataset.state.keys[table])


def _upstream(dataset: Dataset, part: Part, owners: Collection[str]) -> dict[str, pa.Table]:
    """The columns that rows of a part refer to, of the same sources."""
    found = {}
    for table, columns in referred_tables(part.table).items():
        if table != part.table and table in dataset.state.keys:
            parts = dataset.state.parts_of(table)
            rows = read_rows(dataset.root, table, parts, owners, columns)
            found[table] = known_schemas(dataset.state)[table].empty_table() if rows is None else rows
    return found


def _check_part(
    dataset: Dataset, part: Part, schema: pa.Schema | None, extents: dict[str, Extent]
) -> Iterator[Broken]:
    """Values by groups of rows; the order by the few columns that make it, of the whole part."""
    try:
        num_rows = 0
        owners: set[str] = set()
        keys: list[pa.Table] = []
        referring: list[pa.Table] = []
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
            if (columns := reference_columns(part.table)) and {*columns} <= {*rows.column_names}:
                referring.append(rows.select(columns))
        if keys:
            yield from broken_order(part.table, pa.concat_tables(keys))
        if referring and _is_present(dataset, part.table):
            upstream = _upstream(dataset, part, owners)
            yield from broken_references(part.table, pa.concat_tables(referring), upstream)
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
