"""What travels between the driver of a run and its actors, beside the messages of `cluster.run`."""

from __future__ import annotations

from collections.abc import Mapping

from framemill.actors.shards import Shard
from framemill.cluster.results.commits import Part
from framemill.cluster.run.messages import (
    Earlier,
    Failure,
    Figures,
    Merged,
    Message,
    Opened,
    ShardDone,
    WorkerConfig,
)
from framemill.ops.media import MediaDescription


class ActorConfig(Message, frozen=True, kw_only=True):
    """What an actor has to know.

    Attributes:
        stages: operations of each decode, in order. gpus: share of GPUs that it holds.
        is_alone: whether each call has the actor to itself, since a worker died over what it works on.
        deadline_seconds, deadline_factor: a task may take so long, plus its media's length times the factor.
    """

    worker: WorkerConfig
    stages: tuple[tuple[str, ...], ...]
    gpus: float
    deadline_seconds: float
    deadline_factor: float
    is_alone: bool = False


class Source(Message, frozen=True, kw_only=True):
    """A source before it is opened; `is_changed` where the dataset holds other content under its uri."""

    uri: str
    path: bytes
    num_bytes: int
    mtime_ns: int
    is_changed: bool = False


class Claim(Message, frozen=True, kw_only=True):
    """What is to be computed for a content, where rows are that it needs, and its length if known."""

    ops: tuple[str, ...] = ()
    earlier: Earlier = {}  # noqa: RUF012  msgspec copies it
    duration_seconds: float | None = None


class Piece(Message, frozen=True, kw_only=True):
    """Part of a task: a source that is still to be opened, or a shard of one that was.

    Attributes:
        opened, description: what the file holds; None before it is opened, or where it cannot be.
        claim: what is to be computed. is_copy: another uri has the same content and speaks for it.
        shard, shard_index: which piece, or None. stage: decodes done. is_suspect: a worker died opening it.
    """

    source: Source
    opened: Opened | None = None
    description: MediaDescription | None = None
    claim: Claim = Claim()
    is_copy: bool = False
    shard: Shard | None = None
    shard_index: int = 0
    stage: int = 0
    is_suspect: bool = False

    @property
    def is_divided(self) -> bool:
        """Whether the source has other pieces beside this one."""
        return self.opened is not None and len(self.opened.shards) > 1


class Task(Message, frozen=True, kw_only=True):
    """What one call of an actor works on."""

    pieces: tuple[Piece, ...]


class PieceResult(Message, frozen=True, kw_only=True):
    """What came of a piece: `done`, `failed`, or neither where nothing was to be computed."""

    piece: Piece
    done: ShardDone | None = None
    failed: Failure | None = None


class TaskResult(Message, frozen=True, kw_only=True):
    """What came of a task.

    Attributes:
        pieces: results. parts: written, hidden until a commit names them.
        cut: pieces of a file that was longer than its size suggested.
        suspects: pieces that were at work when something died: they run alone next.
        quarantined: uri -> content id, or empty, of sources that died alone too often.
        fatal: why the run cannot go on. actor, figures: who worked, and all that it did since its start.
    """

    pieces: tuple[PieceResult, ...] = ()
    parts: tuple[Part, ...] = ()
    cut: tuple[Piece, ...] = ()
    suspects: tuple[Piece, ...] = ()
    quarantined: Mapping[str, str] = {}
    fatal: Failure | None = None
    actor: str = ""
    figures: Figures | None = None


class MergeResult(Message, frozen=True, kw_only=True):
    """What came of a merge on the cluster: rows and parts, or `failed`."""

    merged: Merged = Merged()
    parts: tuple[Part, ...] = ()
    failed: Failure | None = None
