"""From finished jobs to commits: what the worker is to write, and what the commit then says."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from framemill.actors.shortfalls import add_up
from framemill.cluster.results.commits import (
    OWNED_BY_URI,
    WHOLE_SOURCE,
    Commit,
    OperationKey,
    Part,
    Refused,
    Removal,
    error_owner,
    plan_removal,
)
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.run.jobs import Job, JobFailure
from framemill.cluster.run.messages import Drop, ErrorRow, MediaRow, RunRow, Write
from framemill.errors import InvariantError
from framemill.ops import load_op
from framemill.ops.operation import BROKEN, describe_broken, runnable

if TYPE_CHECKING:
    from framemill.cluster.run.planning import OpsPlan


# Contents in a commit that says which were used.
MOST_USED = 50_000


class PendingCommit:
    """One commit in the making: some finished jobs, and the rows they replace.

    Args:
        jobs: finished; they become committed.
        alive: content ids whose rows must stay, since other jobs of the run count on them.

    Attributes:
        request: what has to be written.
        leaving: content ids whose rows go, since the files that had them hold something else now.
    """

    def __init__(
        self, dataset: Dataset, plan: OpsPlan, run_id: str, jobs: Sequence[Job], alive: Collection[str]
    ) -> None:
        self.jobs = list(jobs)
        self._alive = alive
        self._dataset = dataset
        self._plan = plan
        self._run_id = run_id
        self.leaving: frozenset[str] = frozenset()
        self._removed_entries: set[tuple[str, str]] = set()
        self._entries = [entry for job in self.jobs for entry in self._entries_of(job)]
        drops = self._drops()
        self.request = Write(
            media=tuple(
                MediaRow(
                    uri=job.file.uri,
                    source_id=job.source_id,
                    status=job.status,
                    delivered=replace(add_up(job.delivered.values()), duration_seconds=job.duration_seconds),
                )
                for job in self.jobs
                if "media" in job.todo and job.rows.get("media")
            ),
            tables={op: tuple(owners) for op, owners in self._tables().items()},
            errors=tuple(row for job in self.jobs for row in self._error_rows(job)),
            drops=tuple(Drop(part=part, owners=tuple(sorted(owners))) for part, owners in drops),
        )
        self._removed_parts = tuple((part.table, part.name) for part, _ in drops)

    def commit(self, parts: Sequence[Part]) -> None:
        """Commits what was written."""
        # A file that cannot be read for now keeps what is known of it.
        sources = self._dataset.state.sources
        jobs = [j for j in self.jobs if j.file.num_bytes >= 0 and (j.source_id or j.file.uri not in sources)]
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
                parts=tuple(parts),
                removed_parts=self._removed_parts,
                removed_entries=tuple(sorted(self._removed_entries)),
                keys=self._keys(),
            )
        )
        for job in self.jobs:
            job.state = "committed"

    def without(self, refused: Sequence[Refused]) -> PendingCommit:
        """The same jobs; rows that cannot be written, and what was made of them, have failed."""
        for job in self.jobs:
            told = {
                each.operation: each.message
                for each in refused
                if each.owner == (job.file.uri if each.operation in OWNED_BY_URI else job.source_id)
            }
            needs = {op: load_op(op).required(self._plan.ops[op].key["after"]) for op in job.todo}
            _, broken = runnable(needs, told)
            for op, message in told.items():
                job.fail(JobFailure(op, "failed", InvariantError.__name__, message))
            for op, need in broken.items():
                job.fail(JobFailure(op, "failed", BROKEN, describe_broken(need)))
            for op in (*told, *broken):
                job.rows.pop(op, None)
        return PendingCommit(self._dataset, self._plan, self._run_id, self.jobs, self._alive)

    def _keys(self) -> dict[str, OperationKey]:
        """The key of a table changes with its first rows under another: while all fail, it is as it was."""
        state = self._dataset.state
        made = {entry.table for entry in self._entries if entry.status in ("ok", "partial")}
        keys: dict[str, OperationKey] = {}
        in_use: Mapping[str, OperationKey] | None = None
        for name, op in self._plan.ops.items():
            there = state.keys.get(name)
            if name not in made and there is not None and there["digest"] != op.key["digest"]:
                in_use = state.keys_in_use() if in_use is None else in_use
                if name in in_use:
                    continue
            keys[name] = op.key
        return keys

    def _tables(self) -> dict[str, list[str]]:
        tables: dict[str, list[str]] = {}
        for job in self.jobs:
            for op in job.todo:
                if op in job.rows and op not in OWNED_BY_URI:
                    tables.setdefault(op, []).append(job.source_id)
        return tables

    def _attempts(self, job: Job, operation: str) -> int:
        owner = job.file.uri if operation in OWNED_BY_URI else job.owner
        before = self._dataset.state.entries.get((operation, owner))
        key = "" if operation == WHOLE_SOURCE else str(self._plan.ops[operation].key["digest"])
        if before is None or before.status == "ok" or before.key != key:
            return 1
        return before.attempts + (not job.is_duplicate)

    def _entries_of(self, job: Job) -> list[Entry]:
        entries = []
        failed = {failure.operation: failure for failure in job.failures}
        whole = failed.get(WHOLE_SOURCE)
        if whole is not None and not job.is_duplicate:
            attempts = self._attempts(job, WHOLE_SOURCE)
            entry = Entry(
                WHOLE_SOURCE, job.owner, "", whole.status, whole.transient, attempts, kind=whole.kind
            )
            entries.append(entry)
        for owner in (job.owner, job.file.uri):
            is_past = owner != job.owner or (whole is None and not job.keeps_partial and not job.is_duplicate)
            if is_past and (WHOLE_SOURCE, owner) in self._dataset.state.entries:
                self._removed_entries.add((WHOLE_SOURCE, owner))
        for op in job.todo:
            owner = job.file.uri if op in OWNED_BY_URI else job.source_id
            key = str(self._plan.ops[op].key["digest"])
            if op in failed:
                failure = failed[op]
                attempts = self._attempts(job, op)
                before = self._dataset.state.entries.get((op, owner))
                told = Entry(op, owner, key, failure.status, failure.transient, attempts)
                if before is not None and before.rows_key:
                    # A failure destroys nothing: the rows of before stay, under their own key.
                    told = replace(told, rows=before.rows, kept=before.rows_key, additions=before.additions)
                entries.append(told)
            elif op in job.rows:
                # What is added to a source known to be partial may itself be complete.
                status = job.status if op in OWNED_BY_URI or whole is not None else "ok"
                has_additions = bool(load_op(op).additions)
                additions = tuple(sorted(self._plan.ops[op].additions)) if has_additions else None
                entries.append(Entry(op, owner, key, status, rows=job.rows[op], additions=additions))
        return entries

    def _error_rows(self, job: Job) -> list[ErrorRow]:
        return [
            ErrorRow(
                source_id=job.source_id or None,
                uri=job.file.uri,
                operation=failure.operation,
                status=failure.status,
                error=failure.error,
                message=failure.message,
                attempts=self._attempts(job, failure.operation),
                kind=failure.kind or None,
            )
            for failure in job.failures
        ]

    def _drops(self) -> list[tuple[Part, frozenset[str]]]:
        """Parts with rows that this commit replaces: of changed files, and of what was tried again."""
        state = self._dataset.state
        changed = [
            job.file.uri
            for job in self.jobs
            if job.source_id
            and (record := state.sources.get(job.file.uri))
            and record.source_id != job.source_id
        ]
        # Looking through everything takes a while in a large dataset, and most commits replace nothing.
        removal = plan_removal(state, changed) if changed else Removal({}, (), ())
        drops = {table: set(owners - set(self._alive)) for table, owners in removal.drops.items()}
        self._removed_entries.update(key for key in removal.entries if key[1] not in self._alive)
        past_ids = {state.sources[uri].source_id for uri in changed} - set(self._alive)
        self.leaving = frozenset(past_ids & {owner for _, owner in removal.entries})
        for job in self.jobs:
            past = [*job.todo]
            if not job.keeps_partial or any(f.operation == WHOLE_SOURCE for f in job.failures):
                past.append(WHOLE_SOURCE)
            drops.setdefault("errors", set()).update(error_owner(op, job.file.uri) for op in past)
            for op in job.rows:
                owner = job.file.uri if op in OWNED_BY_URI else job.source_id
                if (op, owner) in state.entries:
                    drops.setdefault(op, set()).add(owner)
        return [drop for table, owners in sorted(drops.items()) for drop in state.plan_drop(table, owners)]


class PendingRun:
    """The last commit of a run: its row of `runs`, and which contents it found already done.

    Attributes:
        request: as in `PendingCommit`.
        leaving: none.
        jobs: none.
        is_committed: whether it is done.
    """

    leaving: frozenset[str] = frozenset()
    jobs: Sequence[Job] = ()

    def __init__(self, dataset: Dataset, run_id: str, row: RunRow, used: Sequence[str]) -> None:
        self._dataset = dataset
        self._run_id = run_id
        self._used = used
        self.is_committed = False
        self.request = Write(runs=(row,))

    def commit(self, parts: Sequence[Part]) -> None:
        """Commits what was written."""
        note_use(self._dataset, self._run_id, self._used)
        self._dataset.commit(Commit(run_id=self._run_id, parts=tuple(parts)))
        self.is_committed = True


def note_use(dataset: Dataset, run_id: str, source_ids: Sequence[str]) -> None:
    """Commits that these contents were used now, a bounded number in each commit."""
    now = time.time()
    for start in range(0, len(source_ids), MOST_USED):
        some = source_ids[start : start + MOST_USED]
        dataset.commit(Commit(run_id=run_id, used=dict.fromkeys(some, now)))
