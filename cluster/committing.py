"""From finished jobs to commits: what the worker is to write, and what the commit then says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cluster.commits import (
    OWNED_BY_URI,
    WHOLE_SOURCE,
    Commit,
    Entry,
    Part,
    SourceRecord,
    error_owner,
    plan_removal,
)
from cluster.dataset import Dataset
from cluster.jobs import Job
from cluster.planning import OpsPlan


class PendingCommit:
    """One commit in the making: some finished jobs, and the rows they replace.

    Attributes:
        request: what the worker has to write (see `Worker.do_write`), without `id` and `do`.
    """

    def __init__(self, dataset: Dataset, plan: OpsPlan, run_id: str, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        self._dataset = dataset
        self._plan = plan
        self._run_id = run_id
        self._removed_entries: set[tuple[str, str]] = set()
        self._entries = [entry for job in self.jobs for entry in self._entries_of(job)]
        drops = self._drops()
        self.request: dict[str, Any] = {
            "media": [
                [job.file.uri, job.source_id, job.status]
                for job in self.jobs
                if "media" in job.todo and job.rows.get("media")
            ],
            "tables": self._tables(),
            "errors": [row for job in self.jobs for row in self._error_rows(job)],
            "drops": [[asdict(part), sorted(owners)] for part, owners in drops],
        }
        self._removed_parts = tuple((part.table, part.name) for part, _ in drops)

    def commit(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Commits what the worker wrote."""
        jobs = [job for job in self.jobs if job.file.num_bytes >= 0]
        self._dataset.commit(
            Commit(
                run_id=self._run_id,
                entries=tuple(self._entries),
                sources=tuple(
                    SourceRecord(
                        job.file.uri,
                        job.source_id,
                        job.file.num_bytes,
                        job.file.mtime_ns,
                        job.duration_seconds,
                    )
                    for job in jobs
                ),
                parts=tuple(unpack_part(part) for part in parts),
                removed_parts=self._removed_parts,
                removed_entries=tuple(sorted(self._removed_entries)),
                keys={name: op.key for name, op in self._plan.ops.items()},
            )
        )
        for job in self.jobs:
            job.state = "committed"

    def _tables(self) -> dict[str, list[str]]:
        tables: dict[str, list[str]] = {}
        for job in self.jobs:
            for op in job.todo:
                if op in job.rows and op not in OWNED_BY_URI:
                    tables.setdefault(op, []).append(job.source_id)
        return tables

    def _attempts(self, table: str, owner: str) -> int:
        before = self._dataset.state.entries.get((table, owner))
        return before.attempts + 1 if before is not None and before.status != "ok" else 1

    def _entries_of(self, job: Job) -> list[Entry]:
        entries = []
        failed = {failure.operation: failure for failure in job.failures}
        whole = failed.get(WHOLE_SOURCE)
        if whole is not None:
            entries.append(
                Entry(
                    WHOLE_SOURCE,
                    job.owner,
                    "",
                    whole.status,
                    whole.transient,
                    self._attempts(WHOLE_SOURCE, job.owner),
                )
            )
        elif (WHOLE_SOURCE, job.owner) in self._dataset.state.entries:
            self._removed_entries.add((WHOLE_SOURCE, job.owner))
        for op in job.todo:
            owner = job.file.uri if op in OWNED_BY_URI else job.source_id
            key = str(self._plan.ops[op].key["digest"])
            if op in failed:
                failure = failed[op]
                attempts = self._attempts(op, owner)
                entries.append(Entry(op, owner, key, failure.status, failure.transient, attempts))
            elif op in job.rows:
                status = whole.status if whole is not None else "ok"
                entries.append(Entry(op, owner, key, status, rows=job.rows[op]))
        return entries

    def _error_rows(self, job: Job) -> list[dict[str, Any]]:
        return [
            {
                "source_id": job.source_id or None,
                "uri": job.file.uri,
                "operation": failure.operation,
                "status": failure.status,
                "error": failure.error,
                "message": failure.message,
                "attempts": self._attempts(
                    failure.operation, job.owner if failure.operation != "media" else job.file.uri
                ),
            }
            for failure in job.failures
        ]

    def _drops(self) -> list[tuple[Part, frozenset[str]]]:
        """Parts with rows that this commit replaces: of changed files, and of what was tried again."""
        state = self._dataset.state
        changed = [
            job.file.uri
            for job in self.jobs
            if (record := state.sources.get(job.file.uri)) and record.source_id != job.source_id
        ]
        removal = plan_removal(state, changed)
        drops: dict[str, set[str]] = {table: set(owners) for table, owners in removal.drops.items()}
        self._removed_entries.update(removal.entries)
        for job in self.jobs:
            tried = [WHOLE_SOURCE, *job.todo]
            drops.setdefault("errors", set()).update(error_owner(op, job.file.uri) for op in tried)
            if "media" in job.todo:
                drops.setdefault("media", set()).add(job.file.uri)
            for op in job.todo:
                if op not in OWNED_BY_URI and (op, job.source_id) in state.entries:
                    drops.setdefault(op, set()).add(job.source_id)
        return [drop for table, owners in sorted(drops.items()) for drop in state.plan_drop(table, owners)]


def unpack_part(packed: Mapping[str, Any]) -> Part:
    """A part as it comes from the worker."""
    return Part(**{**packed, "owners": tuple(packed["owners"])})
