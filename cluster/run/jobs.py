"""One source on its way through a run: what is still to be done with it, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from framemill.actors.shortfalls import Delivered, Shortfall
from framemill.cluster.results.commits import OWNED_BY_URI, WHOLE_SOURCE, DatasetState, Part
from framemill.cluster.results.packed import Entry
from framemill.cluster.run.source_files import SourceFile

if TYPE_CHECKING:
    from framemill.actors.shards import Shard
    from framemill.cluster.run.planning import OpsPlan, PlannedOp


@dataclass(slots=True)
class JobFailure:
    """Why an operation, or with "*" the whole source, gave nothing or less than it should.

    Attributes:
        operation: key of OPS, or "*".
        status: partial, failed, quarantined or unsupported.
        error: name of a class of `framemill.errors`, or of the exception of an operation.
        message: in words for a person.
        transient: whether the next run tries again by itself.
        kind: what a partial one lacks, a value of `LossKind`; empty where it is not known, and for others.
    """

    operation: str
    status: str
    error: str
    message: str
    transient: bool = False
    kind: str = ""


@dataclass(slots=True)
class Job:
    """One source of this run.

    Attributes:
        file: the input.
        source_id: content id, empty while unknown. version: as in `messages.Opened`.
        todo: operations that are to be computed.
        duration_seconds: length of the media, once known. stated_seconds: as its index gave it.
        stages: operations of each decode still to come, the current one first.
        shards: pieces as the worker cut them.
        waiting: shard indices of the current stage not yet sent.
        running: tasks at work on it.
        rows: operation -> rows made.
        failures: what went wrong.
        delivered: shard index -> what its decodes gave.
        shortfalls: shard index -> why less came of it than was promised.
        decoders: who decoded its frames, where a device could have (see `framemill.actors.dali_reader`).
        keeps_partial: rows that are there already, and stay, are incomplete.
        duplicates: jobs of other paths with the same bytes; they wait for this one.
        is_duplicate: another job of this run speaks for the content; this one adds its row of `media`.
        deaths: how often the worker died while this job alone could be the cause.
        is_suspect: it was at work when a worker died: it runs alone.
        state: new, opening, open, finished or committed.
    """

    file: SourceFile
    source_id: str = ""
    version: tuple[int, ...] = ()
    todo: list[str] = field(default_factory=list)
    duration_seconds: float = 0.0
    stated_seconds: float = 0.0
    stages: list[list[str]] = field(default_factory=list)
    shards: tuple[Shard, ...] = ()
    waiting: list[int] = field(default_factory=list)
    running: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    failures: list[JobFailure] = field(default_factory=list)
    delivered: dict[int, Delivered] = field(default_factory=dict)
    shortfalls: dict[int, Shortfall] = field(default_factory=dict)
    decoders: set[str] = field(default_factory=set)
    keeps_partial: bool = False
    duplicates: list[Job] = field(default_factory=list)
    is_duplicate: bool = False
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
        return whole[0] if whole else "partial" if self.keeps_partial else "ok"

    @property
    def is_usable(self) -> bool:
        """Whether there are rows of it."""
        return self.status in ("ok", "partial")

    @property
    def is_failed(self) -> bool:
        """Whether something of it gave nothing."""
        return any(failure.status != "partial" for failure in self.failures)

    def reset(self) -> None:
        """Back to the start, after its worker died. What its shards left on disk still counts."""
        self.state = "new"
        self.stages, self.shards, self.waiting, self.running = [], (), [], 0
        self.rows, self.failures, self.shortfalls, self.delivered = {}, [], {}, {}
        self.duplicates, self.is_duplicate, self.keeps_partial = [], False, False

    def fail(self, failure: JobFailure) -> None:
        """Records a failure. The first of each operation counts, but nothing at all outweighs too little."""
        known = next((f for f in self.failures if f.operation == failure.operation), None)
        if known is None:
            self.failures.append(failure)
        elif known.status == "partial" and failure.status != "partial":
            self.failures[self.failures.index(known)] = failure


def remembered_id(file: SourceFile, state: DatasetState) -> str | None:
    """The content id of a file that has not changed since it was last seen; empty if it had none."""
    record = state.sources.get(file.uri)
    if record is None or (record.num_bytes, record.mtime_ns) != (file.num_bytes, file.mtime_ns):
        return None
    if file.content_id and record.source_id not in ("", file.content_id):
        return None  # written again within the second that an object store counts in
    if record.source_id and (WHOLE_SOURCE, file.uri) in state.entries:
        return None  # it could not be read the last time: look again
    return record.source_id


def _is_settled(entry: Entry, retry_failed: bool) -> bool:
    return entry.status in ("ok", "partial") or not (entry.transient or retry_failed)


def is_done(entry: Entry | None, op: PlannedOp, retry_failed: bool) -> bool:
    """Whether an operation needs not be computed: this entry is its answer, under the key that is asked for.

    Rows made under another key are replaced where they may be (`cluster.run.replacing`).
    """
    if entry is None or entry.key != op.key["digest"]:
        return False
    is_answer = entry.status in ("ok", "partial")
    has_all = not (is_answer and op.additions) or op.additions <= op.additions_of(entry)
    return has_all and _is_settled(entry, retry_failed)


def earlier_parts(state: DatasetState, op: PlannedOp, source_id: str) -> tuple[Part, ...]:
    """Where rows of a source lie that others of this run may build on: none of another key."""
    entry = state.entries.get((op.name, source_id))
    if entry is None or entry.status not in ("ok", "partial") or entry.key != op.key["digest"]:
        return ()
    return tuple(replace(part, owners=(source_id,)) for part, _ in state.plan_drop(op.name, {source_id}))


def missing_ops(job: Job, plan: OpsPlan, state: DatasetState, retry_failed: bool) -> list[str]:
    """Operations of the plan that the dataset does not hold for this source."""
    record = state.sources.get(job.file.uri)
    if record is not None and record.source_id == job.source_id:
        whole = state.entries.get((WHOLE_SOURCE, job.owner))
        if whole is not None and whole.status != "partial" and _is_settled(whole, retry_failed):
            return []
    missing = []
    for name, op in plan.ops.items():
        entry = state.entries.get((name, job.file.uri if name in OWNED_BY_URI else job.source_id))
        if not is_done(entry, op, retry_failed):
            missing.append(name)
    return missing


def known_failures(job: Job, plan: OpsPlan, state: DatasetState) -> dict[str, str]:
    """Operations of the plan (or "*") that failed or fell short in an earlier run, with their status."""
    owners = [(WHOLE_SOURCE, job.owner)]
    owners += [(name, job.file.uri if name in OWNED_BY_URI else job.source_id) for name in plan.ops]
    return {
        table: entry.status
        for table, owner in owners
        if (entry := state.entries.get((table, owner))) and entry.status != "ok"
    }
