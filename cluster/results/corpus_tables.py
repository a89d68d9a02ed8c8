"""Tables that speak of the whole dataset at once: made from a table of operations, replaced as a whole."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from cluster.results.commits import Commit, Entry
from cluster.results.dataset import Dataset
from cluster.results.parts import write_part
from models.errors import UsageError


def corpus_key(
    dataset: Dataset,
    table: str,
    source_table: str,
    version: int,
    options: Mapping[str, Any],
    also: Sequence[str] = (),
) -> dict[str, Any]:
    """What the rows of `table` depend on, with its digest; it changes whenever a source's rows do.

    Args:
        also: further tables that are read where they are there.

    Raises:
        UsageError: the dataset has no `source_table`.
    """
    state = dataset.state
    if source_table not in state.keys:
        raise UsageError(
            f"{dataset.root} has no {source_table}: "
            f"run `framemill extract SOURCES -o {dataset.root} --ops {source_table}` first"
        )
    read = {source_table, *(other for other in also if other in state.keys)}
    inputs = sorted(
        (owner, entry.key, entry.rows) for (of, owner), entry in state.entries.items() if of in read
    )
    key: dict[str, Any] = {
        "name": table,
        "version": version,
        "options": dict(options),
        "after": {name: state.keys[name]["digest"] for name in sorted(read)},
        "inputs": hashlib.blake2b(json.dumps(inputs).encode(), digest_size=16).hexdigest(),
    }
    text = json.dumps(key, sort_keys=True)
    key["digest"] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return key


def is_current(dataset: Dataset, table: str, source_table: str, key: Mapping[str, Any]) -> bool:
    """Whether the table was made under this key and speaks of every source."""
    entries = dataset.state.entries
    made, wanted = ({o for of, o in entries if of == name} for name in (table, source_table))
    return dataset.state.keys.get(table) == key and made == wanted


def replace_table(
    dataset: Dataset,
    run_id: str,
    table: str,
    source_table: str,
    key: Mapping[str, Any],
    rows: pa.Table | Iterable[pa.Table],
) -> None:
    """Commits `rows` in place of all that the table held. Call it inside `dataset.hold`.

    Args:
        rows: all at once, or piece by piece where they are too many for memory; all rows of a source are in
            one piece, and each piece becomes a file.

    Raises:
        DatasetError: the storage refuses, or the lease is lost.
    """
    state = dataset.state
    parts, counts = [], Counter[str]()
    for number, piece in enumerate([rows] if isinstance(rows, pa.Table) else rows):
        seed = [f"{key['digest']} {number}"]
        part = write_part(dataset.root, table, [piece], run_id=run_id, seed=seed)
        counts.update(piece["source_id"].to_pylist())
        parts += [] if part is None else [part]
    owners = sorted(owner for of, owner in state.entries if of == source_table)
    dataset.commit(
        Commit(
            run_id=run_id,
            entries=tuple(Entry(table, owner, str(key["digest"]), rows=counts[owner]) for owner in owners),
            parts=tuple(parts),
            removed_parts=tuple((table, old.name) for old in state.parts_of(table)),
            removed_entries=tuple(entry for entry in state.entries if entry[0] == table),
            keys={table: key},
        )
    )


def uris_by_source(dataset: Dataset) -> dict[str, list[str]]:
    """Content id -> the uris that hold it, sorted."""
    found: dict[str, list[str]] = {}
    for uri, source in sorted(dataset.state.sources.items()):
        found.setdefault(source.source_id, []).append(uri)
    return found
