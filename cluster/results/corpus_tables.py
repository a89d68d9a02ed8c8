"""Tables that speak of the whole dataset at once: made from a table of operations, replaced as a whole."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from framemill.cluster.results.commits import Commit, DatasetState, OperationKey
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry
from framemill.cluster.results.parts import write_part
from framemill.errors import UsageError


def corpus_key(
    dataset: Dataset,
    table: str,
    source_tables: str | Sequence[str],
    version: int,
    options: Mapping[str, Any],
    also: Sequence[str] = (),
) -> OperationKey:
    """What the rows of `table` depend on, with its digest; it changes whenever a source's rows do.

    Args:
        source_tables: tables whose sources it speaks of; one of several is enough.
        also: further tables that are read where they are there.

    Raises:
        UsageError: the dataset has none of `source_tables`.
    """
    state = dataset.state
    wanted = _names(source_tables)
    if not any(name in state.keys for name in wanted):
        raise UsageError(
            f"{dataset.root} has no {' and no '.join(wanted)}: "
            f"run `framemill extract SOURCES -o {dataset.root} --ops {wanted[0]}` first"
        )
    read = {name for name in (*wanted, *also) if name in state.keys}
    key: dict[str, Any] = {
        "name": table,
        "version": version,
        "options": dict(options),
        "after": {name: state.keys[name]["digest"] for name in sorted(read)},
        "inputs": _inputs(state, read),
    }
    text = json.dumps(key, sort_keys=True)
    key["digest"] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return key


def speaks_of_present_rows(state: DatasetState, key: OperationKey) -> bool:
    """Whether the tables that a table of this key was made from hold the same rows still."""
    return bool(key["inputs"] == _inputs(state, key["after"]))


def _inputs(state: DatasetState, read: Collection[str]) -> str:
    """Digest of what the tables that are read hold of each source."""
    entries = sorted(
        (owner, entry.kept or entry.key, entry.rows)
        for (of, owner), entry in state.entries.items()
        if of in read
    )
    return hashlib.blake2b(json.dumps(entries).encode(), digest_size=16).hexdigest()


def outdated_note(state: DatasetState, *tables: str) -> str:
    """What a person is told of rows that cannot be compared with the newest; empty where there are none."""
    outdated = frozenset[str]().union(*(state.outdated(table) for table in tables))
    if not outdated:
        return ""
    total = len({owner for (of, owner), entry in state.entries.items() if of in tables and entry.rows})
    names = " and ".join(table for table in tables if state.outdated(table))
    return (
        f"{len(outdated)} of {total} files {'was' if len(outdated) == 1 else 'were'} left out: their {names} "
        "are of another model or other options than the newest; extract them again, as the others were"
    )


def owners_of(dataset: Dataset, tables: str | Sequence[str]) -> set[str]:
    """The sources of which a table, or one of several, speaks."""
    names = _names(tables)
    return {owner for of, owner in dataset.state.entries if of in names}


def _names(tables: str | Sequence[str]) -> tuple[str, ...]:
    return (tables,) if isinstance(tables, str) else tuple(tables)


def is_current(
    dataset: Dataset,
    table: str,
    source_tables: str | Sequence[str],
    key: OperationKey,
    left_out: Collection[str] = (),
) -> bool:
    """Whether the table was made under this key and speaks of every source but those left out."""
    is_complete = owners_of(dataset, table) == owners_of(dataset, source_tables).difference(left_out)
    return is_complete and dataset.state.keys.get(table) == key


def replace_table(
    dataset: Dataset,
    run_id: str,
    table: str,
    source_tables: str | Sequence[str],
    key: OperationKey,
    rows: pa.Table | Iterable[pa.Table],
    left_out: Collection[str] = (),
) -> None:
    """Commits `rows` in place of all that the table held. Call it inside `dataset.hold`.

    Args:
        rows: all at once, or piece by piece where they are too many for memory; all rows of a source are in
            one piece, and each piece becomes a file.
        left_out: sources of which the new table does not speak.

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
    owners = sorted(owners_of(dataset, source_tables).difference(left_out))
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
