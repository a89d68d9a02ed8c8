"""One source on its way through a run: what is still to be done with it, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.commits import WHOLE_SOURCE, DatasetState, Entry
from cluster.planning import OpsPlan
from cluster.sources import SourceFile


@dataclass(slots=True)
class Failure:
    """Why an operation, or with "*" the whole source, gave nothing or less than it should."""

    operation: str
    status: str
    error: str
    message: str
    transient: bool = False


@dataclass(slots=True)
class Job:
    """One source of this run.

    Attributes:
        file: the input.
        source_id: content id, empty while unknown.
        todo: operations that are to be computed.
        duration_seconds: length of the media, once known.
        stages: operations of each decode still to come, the current one first.
        shards: pieces as the worker cut them.
        waiting: shard indices of the current stage not yet sent.
        running: tasks at work on it.
        rows: operation -> rows made.
        failures: what went wrong.
        duplicates: jobs of other paths with the same bytes; they wait for this one.
        deaths: how often the worker died while this job alone could be the cause.
        is_suspect: it was at work when a worker died: it runs alone.
        state: new, opening, open, finished or committed.
    """

    file: SourceFile
    source_id: str = ""
    todo: list[str] = field(default_factory=list)
    duration_seconds: float = 0.0
    stages: list[list[str]] = field(default_factory=list)
    shards: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    running: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    duplicates: list[Job] = field(default_factory=list)
    deaths: int = 0
    is_suspect: bool = False
    state: str = "new"

    @property
    def owner(self) -> str:
        """To whom entries that speak of the whole source belong."""
        return self.source_id or self.file.uri

    @property
    def status(self) -> str:
        """ok, partial, or that of the whole source's failure."""
        whole = [f.status for f in self.failures if f.operation == WHOLE_SOURCE]
        return whole[0] if whole else "ok"

    @property
    def is_failed(self) -> bool:
        return any(failure.status != "partial" for failure in self.failures)

    def reset(self) -> None:
        """Back to the start, after its worker died. What its shards left on disk still counts."""
        self.state = "new"
        self.stages, self.shards, self.waiting, self.running = [], [], [], 0
        self.rows, self.failures, self.duplicates = {}, [], []

    def fail(self, failure: Mapping[str, Any], operation: str = WHOLE_SOURCE) -> None:
        """Records a failure as the worker tells it."""
        self.failures.append(
            Failure(operation, failure["status"], failure["error"], failure["message"], failure["transient"])
        )

    def begin_stage(self) -> None:
        """Makes every shard of the current stage wait for its turn."""
        self.waiting = list(range(len(self.shards)))


def remembered_id(file: SourceFile, state: DatasetState) -> str | None:
    """The content id of a file that has not changed since it was last seen."""
    record = state.sources.get(file.uri)
    if record is None or (record.num_bytes, record.mtime_ns) != (file.num_bytes, file.mtime_ns):
        return None
    return record.source_id


def missing_ops(job: Job, plan: OpsPlan, state: DatasetState, retry_failed: bool) -> list[str]:
    """Operations of the plan that the dataset does not hold for this source."""

    def settled(entry: Entry | None) -> bool:
        if entry is None:
            return False
        return entry.status in ("ok", "partial") or not (entry.transient or retry_failed)

    whole = state.entries.get((WHOLE_SOURCE, job.owner)) if job.file.uri in state.sources else None
    if whole is not None and settled(whole) and whole.status != "partial":
        return []
    missing = []
    for name in plan.ops:
        entry = state.entries.get((name, job.file.uri if name == "media" else job.source_id))
        if not settled(entry):
            missing.append(name)
    return missing


def known_failures(job: Job, plan: OpsPlan, state: DatasetState) -> list[str]:
    """Operations of the plan that failed in an earlier run and are not tried again; "*" for the source."""
    owners = [(WHOLE_SOURCE, job.owner)]
    owners += [(name, job.file.uri if name == "media" else job.source_id) for name in plan.ops]
    return [table for table, owner in owners if (e := state.entries.get((table, owner))) and e.status != "ok"]
