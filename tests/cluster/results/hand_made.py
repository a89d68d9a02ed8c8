"""Result folders with rows written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from framemill.cluster.results.commits import Commit
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.invariants import SOURCE_ID
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import write_part
from framemill.cluster.results.queries import CORPUS_TABLES, corpus_schema
from framemill.ops import load_op

Rows = Sequence[Mapping[str, Any]]


def schema_of(table: str) -> pa.Schema:
    """The table's columns, all of which may be null: rows by hand name only those that matter."""
    schema = (
        corpus_schema(table) if table in CORPUS_TABLES else pa.schema([SOURCE_ID, *load_op(table).schema])
    )
    return pa.schema([field.with_nullable(True) for field in schema])


def make_folder(
    root: Path,
    tables: Mapping[str, Mapping[str, Rows]],
    uris: Mapping[str, Sequence[str]] | None = None,
    keys: Mapping[str, Mapping[str, Any]] | None = None,
    durations: Mapping[str, float] | None = None,
) -> Dataset:
    """A folder with `tables`: table -> source -> rows without their source_id; no rows: it was computed."""
    dataset = Dataset.open(root, create=True)
    sources = {source for owned in tables.values() for source in owned}
    records = [
        SourceRecord(uri, source, 1, 2, (durations or {}).get(source, 10.0))
        for source in sorted(sources)
        for uri in (uris or {}).get(source, [f"/videos/{source}.mp4"])
    ]
    with dataset.hold("r"):
        parts, entries = [], []
        for table, owned in tables.items():
            rows = [{"source_id": source, **row} for source, own in owned.items() for row in own]
            made = pa.Table.from_pylist(rows, schema_of(table))
            parts.append(write_part(dataset.root, table, [made], run_id="r", seed=[table]))
            entries += [Entry(table, o, "key", rows=len(own)) for o, own in owners(table, owned, records)]
        dataset.commit(
            Commit(
                run_id="r",
                entries=tuple(entries),
                sources=tuple(records),
                parts=tuple(part for part in parts if part),
                keys={table: {"digest": "key", **(keys or {}).get(table, {})} for table in tables},
            )
        )
    return dataset


def owners(
    table: str, owned: Mapping[str, Rows], records: Iterable[SourceRecord]
) -> Iterable[tuple[str, Rows]]:
    """Who the entries of a table belong to: `media` has one for each path."""
    if table != "media":
        return owned.items()
    return [(record.uri, owned[record.source_id]) for record in records if record.source_id in owned]
