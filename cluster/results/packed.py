"""What is remembered of a million files, in little memory: mappings that make their values when asked.

Measured with five operations a file: 0.5 kB a file, where dicts of `SourceRecord` and `Entry` took 2.2 kB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """What is remembered of a uri, so that its bytes need not be hashed again while size and time stay."""

    uri: str
    source_id: str
    num_bytes: int
    mtime_ns: int
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation is finished with one source.

    Attributes:
        table: table name, which is the operation's; "*" when the source failed as a whole.
        owner: source_id; for `media` the uri; for "*" the source_id, or the uri where there is no content id.
        key: digest of the operation key that the rows were made under.
        status: one of STATUSES.
        transient: whether the next run tries again by itself.
        attempts: how often it was tried, 1 or more.
        rows: rows that are there, 0 or more.
        kept: digest of the key of earlier rows that stay, since this attempt gave none; empty where none do.
        additions: options that fill in columns and were on, such as images of frames; None in entries of
            before they were written down: what the table's key says.
        kind: what a source lacks that is partial as a whole (see `LossKind`); empty where it is not known.
    """

    table: str
    owner: str
    key: str
    status: str = "ok"
    transient: bool = False
    attempts: int = 1
    rows: int = 0
    kept: str = ""
    additions: tuple[str, ...] | None = None
    kind: str = ""

    @property
    def rows_key(self) -> str:
        """Digest of the key that the rows there were made under; empty where there is no answer."""
        return self.key if self.status in ("ok", "partial") else self.kept


class Sources(MutableMapping[str, SourceRecord]):
    """uri -> record, in the order in which they were first set; kept in columns."""

    def __init__(self, records: Mapping[str, SourceRecord] | None = None) -> None:
        self._places: dict[str, int] = {}
        self._ids: list[str] = []
        self._sizes, self._times, self._seconds = array("q"), array("q"), array("d")
        self._free: list[int] = []
        self.update(records or {})

    def __getitem__(self, uri: str) -> SourceRecord:
        at = self._places[uri]
        return SourceRecord(uri, self._ids[at], self._sizes[at], self._times[at], self._seconds[at])

    def __setitem__(self, uri: str, record: SourceRecord) -> None:
        at = self._places.get(uri)
        if at is None:
            at = self._places[uri] = self._free.pop() if self._free else len(self._ids)
            if at == len(self._ids):
                self._ids.append("")
                for column in (self._sizes, self._times, self._seconds):
                    column.append(0)
        self._ids[at], self._seconds[at] = record.source_id, record.duration_seconds
        self._sizes[at], self._times[at] = record.num_bytes, record.mtime_ns

    def __delitem__(self, uri: str) -> None:
        self._free.append(self._places.pop(uri))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, uri: object) -> bool:
        return uri in self._places


class Entries(MutableMapping[tuple[str, str], Entry]):
    """(table, owner) -> entry, table after table.

    Entries of a table that differ in nothing but their owner share one object, which has none.
    """

    def __init__(self, entries: Mapping[tuple[str, str], Entry] | None = None) -> None:
        self._tables: dict[str, dict[str, _Answer]] = {}
        self._answers: dict[_Answer, _Answer] = {}
        self.update(entries or {})

    def __getitem__(self, key: tuple[str, str]) -> Entry:
        return Entry(*key, *self._tables[key[0]][key[1]])

    def get(self, key: tuple[str, str], default: Any = None) -> Any:
        """As of a dict, without the exception that the one of `Mapping` catches."""
        answer = self._tables.get(key[0], _NONE).get(key[1])
        return default if answer is None else Entry(*key, *answer)

    def __setitem__(self, key: tuple[str, str], entry: Entry) -> None:
        # By hand: a step of a generator for each field would take longer than all else.
        answer: _Answer = (
            entry.key, entry.status, entry.transient, entry.attempts, entry.rows, entry.kept, entry.additions,
            entry.kind,
        )  # fmt: skip
        self._tables.setdefault(key[0], {})[key[1]] = self._answers.setdefault(answer, answer)

    def __delitem__(self, key: tuple[str, str]) -> None:
        del self._tables[key[0]][key[1]]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((table, owner) for table, owners in self._tables.items() for owner in owners)

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and key[1] in self._tables.get(key[0], ())


# All of an entry but whose it is: its fields from `key` on.
_Answer = tuple[Any, ...]
_NONE: Mapping[str, _Answer] = {}
