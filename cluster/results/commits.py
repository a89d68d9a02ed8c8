"""The commit log as data: what a commit says, and the state that a sequence of commits adds up to.

Nothing here touches a file. The supervisor plans with it, so it stays free of heavy imports.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from itertools import islice
from sys import intern
from typing import Any, TypeVar

import msgspec

from framemill.cluster.results.packed import Entries, Entry, SourceRecord, Sources
from framemill.errors import DatasetError

# What rows were made under, as JSON, with its "digest"; rows made under equal keys are equal.
OperationKey = Mapping[str, Any]
STATUSES = ("ok", "partial", "failed", "quarantined", "unsupported")
WHOLE_SOURCE = "*"  # table of an entry that speaks of a source as a whole
OWNED_BY_URI = frozenset({"media"})  # tables with a row per uri; others have rows per content


def new_run_id() -> str:
    """A name for a run that sorts by time (UTC), as 20261120T143000-ab12cd."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def error_owner(operation: str, uri: str) -> str:
    """Owner of a row of `errors`. Operation names hold no space, so the two can be told apart."""
    return f"{operation} {uri}"


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file. All rows of one owner in a table lie in one part.

    Attributes:
        table, name: the file is `<table>/<name>` in the result folder.
        rows, num_bytes: its size.
        owners: whose rows it holds: source_id; in `media` uri, in `runs` run_id, in `errors` `error_owner`.
        schema: digest of its columns, so that of many parts that are alike one is opened; empty in parts of
            before it was written down.
    """

    table: str
    name: str
    rows: int
    num_bytes: int
    owners: tuple[str, ...]
    schema: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Rows that cannot be written.

    Attributes:
        operation: whose table. owner: source_id; in `media` the uri.
        message: why, in words for a person. trace: where it failed.
    """

    operation: str
    owner: str
    message: str
    trace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One step of the dataset. Removals take effect before additions.

    Attributes:
        run_id: who commits.
        sequence: position in the log, from 1 without gaps; `Dataset.commit` fills it in.
        created_at: seconds since 1970, UTC.
        entries, sources, parts: what is added or replaced.
        removed_parts: (table, name). removed_entries: (table, owner). removed_sources: uris.
        keys: per table, the operation key.
        used: source_id -> seconds since 1970 of its last use; for contents that a run found already done.
    """

    run_id: str
    sequence: int = 0
    created_at: float = field(default_factory=time.time)
    entries: tuple[Entry, ...] = ()
    sources: tuple[SourceRecord, ...] = ()
    parts: tuple[Part, ...] = ()
    removed_parts: tuple[tuple[str, str], ...] = ()
    removed_entries: tuple[tuple[str, str], ...] = ()
    removed_sources: tuple[str, ...] = ()
    keys: Mapping[str, OperationKey] = field(default_factory=dict)
    used: Mapping[str, float] = field(default_factory=dict)


# Of a checkpoint, so much is in memory at once beside the state itself.
PIECE_RECORDS = 4096
FEW_OWNERS = 64
T = TypeVar("T")
Record = Entry | SourceRecord | Part


class _Packed(msgspec.Struct, frozen=True):
    """Names once, values per record: a third of the size of one object each."""

    fields: list[str]
    values: list[list[Any]]


class _Document(msgspec.Struct, frozen=True):
    """A commit file."""

    run_id: str
    sequence: int
    created_at: float
    entries: _Packed
    sources: _Packed
    parts: _Packed
    removed_parts: tuple[tuple[str, str], ...]
    removed_entries: tuple[tuple[str, str], ...]
    removed_sources: tuple[str, ...]
    keys: Mapping[str, OperationKey]
    used: Mapping[str, float]


_RECORDS: Mapping[str, type[Record]] = {"entries": Entry, "sources": SourceRecord, "parts": Part}


def _pack(kind: type[Record], records: Sequence[Record]) -> _Packed:
    names = [
        f.name
        for f in fields(kind)
        if f.default is MISSING or any(getattr(record, f.name) != f.default for record in records)
    ]
    return _Packed(names, [[getattr(record, name) for name in names] for record in records])


def _unpack(kind: type[Record], packed: _Packed) -> tuple[Record, ...]:
    # Names of tables, owners and keys come again and again: each text is held once.
    own = [[intern(value) if type(value) is str else value for value in values] for values in packed.values]
    records = [dict(zip(packed.fields, values, strict=True)) for values in own]
    return msgspec.convert(records, tuple[kind, ...])  # type: ignore[valid-type]


def commit_to_json(commit: Commit) -> bytes:
    """The commit file's bytes."""
    values = {f.name: getattr(commit, f.name) for f in fields(Commit)}
    packed = {name: _pack(kind, values[name]) for name, kind in _RECORDS.items()}
    return msgspec.json.encode(_Document(**{**values, **packed}))


def commit_from_json(data: bytes, name: str) -> Commit:
    """Reads what `commit_to_json` wrote.

    Raises:
        DatasetError: the bytes are no commit; `name` says which file it was.
    """
    try:
        values = msgspec.structs.asdict(msgspec.json.decode(data, type=_Document))
        unpacked = {field: _unpack(kind, values[field]) for field, kind in _RECORDS.items()}
        return Commit(**{**values, **unpacked})
    except (msgspec.MsgspecError, ValueError) as exc:
        raise DatasetError(
            f"the commit file {name} is damaged ({exc}): "
            "restore it from a backup, or choose a new output folder"
        ) from exc


@dataclass(slots=True)
class DatasetState:
    """What all commits so far add up to. Only `apply` changes it.

    Attributes:
        sequence: of the last commit, 0 before the first.
        sources: uri -> record. entries: (table, owner) -> entry. parts: (table, name) -> part.
        keys: table -> operation key, as JSON, of its newest rows; entries tell that of each owner's.
        last_used: source_id -> seconds since 1970.
    """

    sequence: int = 0
    sources: MutableMapping[str, SourceRecord] = field(default_factory=Sources)
    entries: MutableMapping[tuple[str, str], Entry] = field(default_factory=Entries)
    parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    keys: dict[str, OperationKey] = field(default_factory=dict)
    last_used: dict[str, float] = field(default_factory=dict)
    # Table -> owner -> its part, of tables that were asked for few owners: to look through all parts for each
    # of a million sources would take hours.
    _owned: dict[str, dict[str, Part]] = field(default_factory=dict, compare=False, repr=False)

    def apply(self, commit: Commit) -> None:
        """Takes the next commit."""
        for removed_part in commit.removed_parts:
            gone = self.parts.pop(removed_part, None)
            if gone is not None and gone.table in self._owned:
                for owner in gone.owners:
                    self._owned[gone.table].pop(owner, None)
        for removed_entry in commit.removed_entries:
            self.entries.pop(removed_entry, None)
        for uri in commit.removed_sources:
            self.sources.pop(uri, None)
        for source in commit.sources:
            self.sources[source.uri] = source
            self.last_used[source.source_id] = commit.created_at
        for entry in commit.entries:
            self.entries[entry.table, entry.owner] = entry
            if entry.owner in self.last_used:
                self.last_used[entry.owner] = commit.created_at
        for part in commit.parts:
            self.parts[part.table, part.name] = part
            if part.table in self._owned:
                self._owned[part.table].update(dict.fromkeys(part.owners, part))
        self.keys.update(commit.keys)
        self.last_used.update(commit.used)
        self.sequence = commit.sequence

    def as_commit(self, run_id: str) -> Commit:
        """One commit that leads from nothing to this state."""
        alive = {source.source_id for source in self.sources.values()}
        return Commit(
            run_id=run_id,
            sequence=self.sequence,
            entries=tuple(self.entries.values()),
            sources=tuple(self.sources.values()),
            parts=tuple(self.parts.values()),
            keys=dict(self.keys),
            used={source_id: at for source_id, at in self.last_used.items() if source_id in alive},
        )

    def pieces(self, run_id: str) -> Iterator[Commit]:
        """Commits that together lead from nothing to this state, each of a bounded size."""
        now = time.time()

        def piece(**fields: Any) -> Commit:
            return Commit(run_id=run_id, sequence=self.sequence, created_at=now, **fields)

        yield piece(keys=dict(self.keys))
        for name, records in (("sources", self.sources), ("entries", self.entries), ("parts", self.parts)):
            yield from (piece(**{name: tuple(batch)}) for batch in _batches(records.values()))
        # Last, for what comes before counts as a use.
        yield from (piece(used=dict(batch)) for batch in _batches(self.last_used.items()))

    def keys_in_use(self) -> dict[str, OperationKey]:
        """The keys of tables that hold an answer, be it of no rows; others may be made under any key."""
        tables = {entry.table for entry in self.entries.values() if entry.rows_key}
        return {table: key for table, key in self.keys.items() if table in tables}

    def outdated(self, table: str) -> frozenset[str]:
        """Owners of rows that were made under another key than the table's newest: they compare with none.

        There are such rows while a table is replaced file by file; none where the table's key has no digest,
        as with what people said, in which each source has a key of its own.
        """
        newest = self.keys[table]["digest"] if table in self.keys else ""
        held = (entry for (of, _), entry in self.entries.items() if newest and of == table and entry.rows)
        return frozenset(entry.owner for entry in held if entry.rows_key != newest)

    def tables(self) -> list[str]:
        """Names of tables with parts, sorted."""
        return sorted({table for table, _ in self.parts})

    def parts_of(self, table: str) -> list[Part]:
        """The parts of a table, oldest run first."""
        ours = (part for part in self.parts.values() if part.table == table)
        return sorted(ours, key=lambda part: part.name)

    def narrowed(self, tables: Iterable[str], sources: Collection[str]) -> DatasetState:
        """What it says of some tables of some sources alone.

        Args:
            sources: content ids.
        """
        ids = frozenset(sources)
        records = {uri: record for uri, record in self.sources.items() if record.source_id in ids}
        owners = ids.union(records)
        keys = [(table, owner) for table in (*tables, WHOLE_SOURCE) for owner in owners]
        return DatasetState(
            self.sequence,
            records,
            {key: self.entries[key] for key in keys if key in self.entries},
            {(table, part.name): part for table in tables for part, _ in self.plan_drop(table, owners)},
            self.keys,
        )

    def plan_drop(self, table: str, owners: Collection[str]) -> list[tuple[Part, frozenset[str]]]:
        """Which parts hold rows of `owners`, each with those among them that it holds."""
        wanted = frozenset(owners)
        if len(wanted) <= FEW_OWNERS:
            return self._few(table, wanted)
        held = ((part, wanted.intersection(part.owners)) for part in self.parts_of(table))
        return [(part, found) for part, found in held if found]

    def _few(self, table: str, wanted: frozenset[str]) -> list[tuple[Part, frozenset[str]]]:
        if wanted and table not in self._owned:
            parts = self.parts_of(table)
            self._owned[table] = {owner: part for part in parts for owner in part.owners}
        found: dict[str, tuple[Part, set[str]]] = {}
        for owner in wanted:
            part = self._owned[table].get(owner)
            if part is not None:
                found.setdefault(part.name, (part, set()))[1].add(owner)
        return [(part, frozenset(owners)) for _, (part, owners) in sorted(found.items())]


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, PIECE_RECORDS)):
        yield batch


@dataclass(frozen=True, slots=True)
class Removal:
    """What must go for some uris to be forgotten.

    Attributes:
        drops: table -> owners whose rows are to be dropped (see `DatasetState.plan_drop`).
        entries: (table, owner), for `Commit.removed_entries`.
        uris: for `Commit.removed_sources`.
    """

    drops: Mapping[str, frozenset[str]]
    entries: tuple[tuple[str, str], ...]
    uris: tuple[str, ...]


def plan_removal(state: DatasetState, uris: Collection[str]) -> Removal:
    """Plans to forget `uris`: their rows by uri, and the rows of contents that no other uri has.

    For a uri whose content changed: apply the removal and add its new record in the same commit.
    """
    gone = frozenset(uris)
    kept_ids = {s.source_id for s in state.sources.values() if s.uri not in gone}
    gone_ids = {s.source_id for uri in gone if (s := state.sources.get(uri))} - kept_ids
    drops: dict[str, set[str]] = {}
    entries = []
    for table, owner in state.entries:
        owned_by_uri = table in OWNED_BY_URI or table == WHOLE_SOURCE
        if owner in gone_ids or (owned_by_uri and owner in gone):
            entries.append((table, owner))
            if table != WHOLE_SOURCE:
                drops.setdefault(table, set()).add(owner)
    failed = {o for part in state.parts_of("errors") for o in part.owners if o.partition(" ")[2] in gone}
    if failed:
        drops["errors"] = failed
    return Removal({t: frozenset(o) for t, o in drops.items()}, tuple(entries), tuple(sorted(gone)))
