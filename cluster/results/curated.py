"""Tables of which the rows of a few sources change at a time, over and over: `tags`, and `captions`.

What a person said or a model was paid for is never outdated: no extraction replaces such rows, and they stay
while what they speak of is extracted anew. They go with their source.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.results.commits import Commit
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry
from framemill.cluster.results.parts import read_rows, write_part

# A part's owners stand in its commit: so many keep a commit small, and thousands of sources in few parts.
OWNERS_A_PART = 256


def curated_rows(dataset: Dataset, table: str, schema: pa.Schema, sources: Collection[str]) -> pa.Table:
    """The rows of some sources, in the table's order; none where nobody has filled it yet."""
    rows = read_rows(dataset.root, table, dataset.state.parts_of(table), sources)
    return schema.empty_table() if rows is None else rows


def replace_curated(
    dataset: Dataset, run_id: str, table: str, sources: Collection[str], rows: pa.Table
) -> None:
    """Commits `rows` in place of those that some sources have in a table. Call it inside `dataset.hold`.

    Only parts that hold these sources are written again, together with those that are less than half full:
    a call writes little however long the table is, and many calls leave few parts.

    Args:
        sources: whose rows are replaced. rows: all that these sources have from now on.

    Raises:
        DatasetError: the storage refuses, or the lease is lost.
    """
    state, owners = dataset.state, frozenset(sources)
    old = [
        part
        for part in state.parts_of(table)
        if not owners.isdisjoint(part.owners) or 2 * len(part.owners) < OWNERS_A_PART
    ]
    there = read_rows(dataset.root, table, old)
    if there is not None:
        is_replaced = pc.is_in(there["source_id"], value_set=pa.array(sorted(owners), pa.string()))
        rows = pa.concat_tables([there.filter(pc.invert(is_replaced)), rows])
    order = [(field.name, "ascending") for field in rows.schema if not pa.types.is_nested(field.type)]
    rows = rows.take(pc.sort_indices(rows, sort_keys=order))
    held = pc.unique(rows["source_id"]).to_pylist()
    size = math.ceil(len(held) / max(1, math.ceil(len(held) / OWNERS_A_PART)))
    parts = []
    for start in range(0, len(held), size or 1):
        own = pc.is_in(rows["source_id"], value_set=pa.array(held[start : start + size], pa.string()))
        seed = [str(state.sequence), str(start)]
        part = write_part(dataset.root, table, [rows.filter(own)], run_id=run_id, seed=seed)
        parts += [] if part is None else [part]
    told: dict[str, list[str]] = {}
    for row in rows.filter(
        pc.is_in(rows["source_id"], value_set=pa.array(sorted(owners), pa.string()))
    ).to_pylist():
        told.setdefault(row["source_id"], []).append(repr(row))
    dataset.commit(
        Commit(
            run_id=run_id,
            entries=tuple(
                Entry(table, owner, _digest(own), rows=len(own)) for owner, own in sorted(told.items())
            ),
            parts=tuple(parts),
            removed_parts=tuple((table, part.name) for part in old),
            removed_entries=tuple(
                (table, owner) for owner in sorted(owners) if (table, owner) in state.entries
            ),
            keys={table: {"name": table, "version": 1, "options": {}, "after": {}, "digest": ""}},
        )
    )


def _digest(rows: Sequence[str]) -> str:
    """Rows depend on what was said and on nothing else: each source has a key of its own."""
    return hashlib.blake2b("\n".join(rows).encode(), digest_size=16).hexdigest()


def select(tables: Mapping[str, pa.Table], sql: str) -> list[tuple[Any, ...]]:
    """The rows of a statement of ours over tables in memory."""
    with duckdb.connect(":memory:", config={"enable_external_access": False}) as connection:
        connection.execute("SET asof_loop_join_threshold = 0")  # as for the view `shots`
        for name, table in tables.items():
            connection.register(name, table)
        return connection.execute(sql).fetchall()
