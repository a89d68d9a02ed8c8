"""The contract of an operation: arrays and tables in, tables out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from framemill.errors import FramemillError
from framemill.models.entry import ModelEntry
from framemill.models.runner import Model
from framemill.ops.chunks import Audio, Chunk, FrameIndex, Frames, Int64Array, ShardInfo, Signals


class Reads(Enum):
    """What an operation is fed."""

    INDEX = "index"  # the packet index and the container's description: nothing is decoded
    FRAMES = "frames"  # the frames that the sampling policy picks
    SIGNALS = "signals"  # thinned planes of every frame, or of those that `select` names
    AUDIO = "audio"  # sound: mono at 16 kHz unless the operation wants another kind
    TABLES = "tables"  # only rows of other operations


_CHUNKS: Mapping[Reads, tuple[type[Chunk], ...]] = {
    Reads.FRAMES: (Frames,),
    Reads.SIGNALS: (Signals,),
    Reads.AUDIO: (Audio,),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NoOptions:
    """For operations without options."""


@dataclass(frozen=True, slots=True)
class Partial:
    """What one shard yields for one operation.

    Attributes:
        rows: table in the operation's schema (whole rows, or an empty table when only the state counts).
        state: optional table of any schema that `Op.merge` needs; saved as Arrow, never pickled.
    """

    rows: pa.Table
    state: pa.Table | None = None


class Extractor(Protocol):
    """Collects one shard. Called from one thread at a time; memory of the shard lives here."""

    done: bool  # True once further chunks cannot change the result; the reader may stop early

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> pa.Table | None:
        """Takes the next chunk in time order, with the rows that `Op.after` made from the same chunk.

        Returns:
            The rows of this chunk alone, for operations that come after; None where rows are made later.
        """

    def finish(self) -> Partial:
        """Called once, after the last chunk."""


class Op(ABC):
    """Turns what was decoded from one shard into rows of one table.

    Knows no Ray, no files, no threads. One instance serves all shards of a worker, concurrently.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when rows would change
    reads: ClassVar[Reads]
    after: ClassVar[tuple[str, ...]] = ()
    may_fail: ClassVar[tuple[str, ...]] = ()  # of `after`: where they fail it goes on without their rows
    models: ClassVar[tuple[str, ...]] = ()  # roles, keys of framemill.models.registry or of `own_models`
    # What models of roles are like that Framemill does not know; without a digest where no file is published.
    own_models: ClassVar[tuple[ModelEntry, ...]] = ()
    names_models: ClassVar[tuple[str, ...]] = ()  # roles of `after` whose models its rows name: `model_names`
    schema: ClassVar[pa.Schema]  # without source_id, which the shard processor puts first
    Options: ClassVar[type[Any]] = NoOptions
    additions: ClassVar[tuple[str, ...]] = ()  # switches in Options that fill in columns and change no row
    addition_options: ClassVar[tuple[str, ...]] = ()  # further ones that say how these columns are filled in
    sound_rate: int = 16_000  # hertz of the `Audio` it is fed
    on_device: ClassVar[bool] = False  # whether it takes views of frames as arrays of a device (CuPy's)

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        self.options = options
        self.loaded = models
        self.model_names: Mapping[str, str] = {}  # of `names_models`; put in by whoever runs it

    @classmethod
    def roles(cls, options: Any) -> tuple[str, ...]:
        """The model roles that it needs under these options: all of `models`, or fewer."""
        return cls.models

    @classmethod
    def required(cls, after: Sequence[str]) -> tuple[str, ...]:
        """Of the operations that it comes after in a run, those that it cannot do without."""
        return tuple(other for other in after if other not in cls.may_fail)

    @classmethod
    def takes_under(cls, options: Any) -> tuple[type[Chunk], ...]:
        """The kinds of chunks it is fed under these options; by default the one that `reads` says."""
        return _CHUNKS.get(cls.reads, ())

    def takes(self) -> tuple[type[Chunk], ...]:
        """The kinds of chunks that this one is fed."""
        return self.takes_under(self.options)

    @classmethod
    def follows(cls, asked: Collection[str], entry_of: Callable[[str], ModelEntry]) -> tuple[str, ...]:
        """Which of `after` it comes after in a run: all of them, unless it can do with less.

        Args:
            asked: operations that the user named. entry_of: gives the model chosen for a role.
        """
        return cls.after

    def select(self, index: FrameIndex) -> Int64Array | None:
        """For SIGNALS: sorted frame indices it must see, or None for all. A pure function of the index."""
        return None

    @abstractmethod
    def open(self, shard: ShardInfo) -> Extractor:
        """A fresh extractor for one shard."""

    def merge(self, partials: Sequence[Partial]) -> pa.Table:
        """Rows of the whole source from the partials of its shards in time order."""
        return pa.concat_tables([p.rows for p in partials])


@dataclass(slots=True)
class _FrameExtractor:
    op: FrameOp
    tables: list[pa.Table] = field(default_factory=list)
    done: bool = False

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> pa.Table:
        assert isinstance(chunk, Frames)
        rows = self.op.run(chunk, upstream)
        self.tables.append(rows)
        return rows

    def finish(self) -> Partial:
        return Partial(pa.concat_tables(self.tables) if self.tables else self.op.schema.empty_table())


class FrameOp(Op):
    """An operation whose rows depend on one frame each: only `run` is to be written."""

    reads = Reads.FRAMES

    @abstractmethod
    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        """Rows of these frames, in the operation's schema."""

    def open(self, shard: ShardInfo) -> Extractor:
        return _FrameExtractor(self)


class TableOp(Op):
    """An operation that looks at no media, only at the rows of others: only `combine` is to be written.

    It runs once per source, after the operations in `after`, whose rows come from this run or, where they
    were computed earlier, from the dataset.
    """

    reads = Reads.TABLES

    @abstractmethod
    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        """Rows of a whole source, in the operation's schema.

        Args:
            upstream: operation name -> its rows of this source, without source_id, in no particular order.
            source: the source as one piece.
        """

    def open(self, shard: ShardInfo) -> Extractor:
        raise TypeError(f"{self.name} reads tables: it is combined, not fed")


# Class of the error of an operation that was not tried, since one that it builds on failed.
BROKEN = "FramemillError"
# Class of the error of one that raised what nobody foresaw.
UNFORESEEN = "FramemillError"


def runnable(needs: Mapping[str, Sequence[str]], failed: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """Which operations can still run after others failed.

    Args:
        needs: operation -> those that it cannot do without (`Op.required`), each operation after its needs.
        failed: operations that gave no rows.

    Returns:
        Those that can run, in their order; and for each of the others the first need that is missing.
    """
    able: list[str] = []
    broken: dict[str, str] = {}
    for op, required in needs.items():
        missing = next((need for need in required if need in failed or need in broken), None)
        if missing is None:
            able.append(op)
        else:
            broken[op] = missing
    return able, broken


def describe_broken(need: str) -> str:
    """Why an operation that needs `need` was not tried, in words for a person."""
    return f"it needs {need}, which failed for this file"


def describe_error(name: str, error: Exception, is_ours: bool) -> tuple[str, str]:
    """Class and message of what an operation raised, for a row of `errors`.

    Args:
        name: of the operation. is_ours: whether it is none of the user's own.

    What was raised on purpose says enough, and so may an operation of the user's own. The words of a library
    that failed in one of ours would tell nobody what is wrong with which file: they are for -vv.
    """
    if isinstance(error, FramemillError) or not is_ours:
        # The name of a file, which may be no text, may be part of it.
        text = str(error).encode("utf-8", "backslashreplace").decode()
        if isinstance(error, PermissionError):
            text += (
                " (the sandbox may keep it from there: name the path in `sandbox_allow`; see docs/safety.md)"
            )
        return type(error).__name__, text
    return UNFORESEEN, (
        f"{name} met something in this file that it was not made for, and gave no rows; "
        "run again with `retry_failed` and -vv to see what, and report that"
    )
