"""What a result folder holds, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from framemill.cluster.results.commits import STATUSES, WHOLE_SOURCE, DatasetState

UNKNOWN = "unknown"  # why a source is partial, where an earlier version did not tell

# For people and `--json`.
Summary = dict[str, Any]


def summarise(state: DatasetState, cache_hits: Mapping[str, int] | None = None) -> Summary:
    """Counts and sizes as plain data, ready for JSON.

    Args:
        state: of an open dataset.
        cache_hits: per table, how many of the sources asked for are already done; left out when None.

    Returns:
        sources: uris known; contents: distinct ones; commits: length of the log; runs: how many;
        errors: rows of `errors`; failed_sources: sources that failed as a whole; num_bytes: of all parts;
        partial: how many uris hold less than they should, by kind (see `LossKind`), `unknown` where an
        earlier version did not tell;
        tables: per table rows, num_bytes, num_parts, the number of sources per status, and the digest of its
        operation key (empty where there is none); and `outdated` where there are any: the number of sources
        with rows of another key, which a run that replaces the table has not got to, or failed with.
    """
    tables: dict[str, Summary] = {}
    parts = list(state.parts.values())
    counts = Counter((entry.table, entry.status) for entry in state.entries.values())
    newest = {table: str(key["digest"]) for table, key in state.keys.items()}
    outdated = Counter(
        e.table
        for e in state.entries.values()
        if newest.get(e.table) and e.rows_key not in ("", newest[e.table])
    )
    names = {part.table for part in parts} | {table for table, _ in state.entries} | set(state.keys)
    for table in sorted(names - {WHOLE_SOURCE}):
        ours = [part for part in parts if part.table == table]
        tables[table] = {
            "rows": sum(part.rows for part in ours),
            "num_bytes": sum(part.num_bytes for part in ours),
            "num_parts": len(ours),
            **{status: counts[table, status] for status in STATUSES},
            "key": newest.get(table, ""),
        }
        if num_outdated := outdated[table]:
            tables[table]["outdated"] = num_outdated
        if cache_hits is not None:
            tables[table]["cache_hits"] = cache_hits.get(table, 0)
    copies = Counter(source.source_id for source in state.sources.values())
    partial: Counter[str] = Counter()
    failed = 0
    for (table, owner), entry in state.entries.items():
        if table == WHOLE_SOURCE and entry.status == "partial":
            partial[entry.kind or UNKNOWN] += copies[owner]
        elif table == WHOLE_SOURCE:
            failed += 1
    return {
        "sources": len(state.sources),
        "contents": len({source.source_id for source in state.sources.values()}),
        "failed_sources": failed,
        "partial": dict(sorted((+partial).items())),
        "commits": state.sequence,
        "runs": sum(part.rows for part in parts if part.table == "runs"),
        "errors": sum(part.rows for part in parts if part.table == "errors"),
        "num_bytes": sum(part.num_bytes for part in parts),
        "tables": tables,
    }
