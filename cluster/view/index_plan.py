"""What of the viewer's table has to be read again, and how much at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from framemill.cluster.results.commits import OWNED_BY_URI, WHOLE_SOURCE, DatasetState
from framemill.cluster.results.packed import Entry
from framemill.cluster.results.source_batches import source_batches
from framemill.cluster.view.shot_table import READ_TABLES

BATCH_ROWS, BATCH_SOURCES = 120_000, 500


def first_uris(state: DatasetState) -> dict[str, str]:
    """Content id -> the first of the uris that hold it."""
    first: dict[str, str] = {}
    for uri, record in state.sources.items():
        if record.source_id:
            first[record.source_id] = min(uri, first.get(record.source_id, uri))
    return first


def _entries(state: DatasetState) -> dict[str, list[Entry]]:
    """Content id -> what is known of its tables that the rows of shots are made of."""
    found: dict[str, list[Entry]] = {}
    for (table, owner), entry in state.entries.items():
        if table in READ_TABLES or table == WHOLE_SOURCE:
            record = state.sources.get(owner) if table in (*OWNED_BY_URI, WHOLE_SOURCE) else None
            found.setdefault(record.source_id if record else owner, []).append(entry)
    return found


def fingerprints(state: DatasetState) -> dict[str, str]:
    """Content id -> a digest that changes whenever its rows may."""
    uris: dict[str, list[str]] = {}
    for uri, record in sorted(state.sources.items()):
        if record.source_id:
            uris.setdefault(record.source_id, []).append(uri)
    entries = _entries(state)
    found = {}
    for source, own in uris.items():
        told = sorted(
            (entry.table, entry.owner, entry.rows_key, entry.rows, entry.status)
            for entry in entries.get(source, ())
        )
        found[source] = hashlib.blake2b(repr((own, told)).encode(), digest_size=12).hexdigest()
    return found


def rows_of(state: DatasetState, source: str, uri: str) -> int:
    """How many rows are read of a source."""
    keys = [(table, uri if table in OWNED_BY_URI else source) for table in READ_TABLES]
    return sum(state.entries[key].rows for key in keys if key in state.entries)


def batches(counts: Mapping[str, int]) -> Iterator[list[str]]:
    """Sources of about as many rows.

    Args:
        counts: source -> rows that are read of it.
    """
    return source_batches(counts, BATCH_SOURCES, BATCH_ROWS)
