"""What the shard processor is given, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from framemill.actors.indexing import SourceIndex
from framemill.actors.pyav_reader import ReadReport
from framemill.actors.shards import Shard
from framemill.actors.shortfalls import Delivered, Shortfall
from framemill.ops.chunks import Int64Array
from framemill.ops.operation import Partial


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """One shard to work on.

    Attributes:
        path: the file. index: what `index_source` found in it.
        shard, shard_index, num_shards: which piece of it.
        ops: names, each after those it depends on.
        picked: sorted frames that tables say to look at, where the policy alone does not; else None.
        threads: decoder threads, >= 1.
        upstream: rows of operations that were computed earlier and that some of `ops` come after.
        container: the file as `index_and_keep` left it open, or None.
    """

    path: str
    index: SourceIndex
    shard: Shard
    shard_index: int
    num_shards: int
    ops: tuple[str, ...]
    picked: Int64Array | None
    threads: int
    upstream: Mapping[str, pa.Table] = field(default_factory=dict)
    container: Any = None


@dataclass(slots=True, kw_only=True)
class ShardResult:
    """What a shard gave.

    Attributes:
        partials: per operation that succeeded.
        failures: operation -> (error class, message) for those that did not. traces: where they failed.
        report: what the reader saw.
        shortfall: why the shard is incomplete, or None.
        delivered: what its decode gave.
    """

    partials: dict[str, Partial] = field(default_factory=dict)
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    traces: list[str] = field(default_factory=list)
    report: ReadReport = field(default_factory=ReadReport)
    shortfall: Shortfall | None = None
    delivered: Delivered = field(default_factory=Delivered)
