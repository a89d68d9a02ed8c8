"""Opening sources on the workers of a Ray cluster: hashing, indexing, and cutting them into tasks."""

from __future__ import annotations

import contextlib
import faulthandler
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import ray
import ray.exceptions

from framemill.actors.limits import credible_seconds
from framemill.actors.tracing import Trace
from framemill.cluster.engines.ray.coordinator import STOPPED
from framemill.cluster.engines.ray.messages import ActorConfig, Claim, Piece, Source, Task
from framemill.cluster.engines.ray.packing import unpack
from framemill.cluster.engines.ray.ray_logging import one_line
from framemill.cluster.engines.run import SLOWEST_BYTES_PER_SECOND, allowed_seconds
from framemill.cluster.run.devices import leave_if_lost
from framemill.cluster.run.failures import describe_failure
from framemill.cluster.run.lost_tracks import lost_ops
from framemill.cluster.run.messages import Failure, Opened, OpenSource, decode, encode
from framemill.cluster.run.open_sources import OpenSources
from framemill.cluster.run.sandbox import enter_shared
from framemill.plugins import load_plugins

# Short files share a task until it is worth this much media: Ray's scheduler needs milliseconds for each
# task, and pauses up to 100 ms between rounds.
TASK_SECONDS = 30.0
TASK_PIECES = 64


def open_sources(batch: pa.Table, *, config: ActorConfig, coordinator: Any) -> Iterator[pa.Table]:
    """Hashes and indexes files, and cuts what is to be done with them into tasks.

    Args:
        batch: rows of `Source`s as `packing.pack` makes them. coordinator: handle of the run's `Coordinator`.

    Yields:
        Tables with one row and one column, `task`: JSON of a `Task`.

    Raises:
        Exception: what concerns the run and not one source; the coordinator knows it, too.
    """
    with reporting_to(coordinator):
        sources = [decode(text, Source) for text in unpack(batch)]
        yield from _open_all(sources, config, coordinator)


@contextlib.contextmanager
def reporting_to(coordinator: Any) -> Iterator[None]:
    """The coordinator learns what the body raises: Ray passes the driver no more than a text of it."""
    try:
        yield
    except Exception as error:
        ray.get(coordinator.give_up.remote(describe_any(error)))
        raise


def describe_any(error: Exception) -> Failure:
    """As `describe_failure`; the text of an error of Ray's is a traceback."""
    failure = describe_failure(error)
    if isinstance(error, ray.exceptions.RayError):
        return msgspec.structs.replace(failure, message=one_line(error))
    return failure


def own_failure(error: Exception) -> Failure:
    """A failure that concerns one source alone; any other is raised again."""
    leave_if_lost(error)
    failure = describe_failure(error)
    if failure.fatal or isinstance(error, ray.exceptions.RayError):
        raise error
    return failure


def _open_all(sources: Sequence[Source], config: ActorConfig, coordinator: Any) -> Iterator[pa.Table]:
    enter_shared(config.worker.sandbox)
    load_plugins(config.worker.plugins)
    opener = OpenSources(config.worker, Trace())
    short: list[Piece] = []
    seconds = 0.0
    for source in sources:
        task_id = "open " + source.uri
        reading = work_seconds([Piece(source=source)])
        allowed = allowed_seconds(config.deadline_seconds, config.deadline_factor, reading)
        before = ray.get(coordinator.start.remote(task_id, "", allowed))
        if before == STOPPED:
            return
        if before:
            # It was being opened when a worker died: an actor of its own opens it later.
            pieces = [Piece(source=source, is_suspect=True)]
        else:
            with ending_late(allowed):
                pieces = open_source(opener, source, coordinator)
        ray.get(coordinator.finish.remote(task_id))
        is_alone = pieces[0].is_suspect or source.is_changed or is_long(pieces[0], config)
        if is_alone:
            yield from (task_table([piece]) for piece in pieces)
            continue
        short += pieces
        seconds += pieces[0].opened.duration_seconds if pieces[0].opened else 0.0
        if seconds >= TASK_SECONDS or len(short) >= TASK_PIECES:
            yield task_table(short)
            short, seconds = [], 0.0
    if short:
        yield task_table(short)


def open_source(opener: OpenSources, source: Source, coordinator: Any, keep: bool = False) -> list[Piece]:
    """One piece for each shard of a file; one without a shard when there is nothing to compute.

    Args:
        keep: whether what was found stays with `opener`; otherwise it is forgotten.
    """
    try:
        opened = opener.open(OpenSource(uri=source.uri, path=source.path))
    except Exception as error:
        opened = Opened(source_id="", failed=own_failure(error))
    if opened.failed is not None:
        return [Piece(source=source, opened=opened)]
    description = opener.describe(source.uri)
    if not keep:
        opener.forget(source.uri)
    lost = tuple(lost_ops(opened, opener.options))
    claim: Claim | None = ray.get(coordinator.claim.remote(source.uri, opened.source_id, lost))
    piece = Piece(
        source=source,
        opened=opened,
        description=description,
        claim=claim or Claim(),
        is_copy=claim is None,
    )
    if not piece.claim.ops:
        return [piece]
    replace = msgspec.structs.replace
    return [replace(piece, shard=shard, shard_index=i) for i, shard in enumerate(opened.shards)]


def is_long(piece: Piece, config: ActorConfig) -> bool:
    """Whether working on it may hold a place for long, if only by what its file declares."""
    if piece.opened is None or piece.shard is None:
        return False
    return piece.is_divided or piece.opened.duration_seconds > config.worker.shard_seconds


def work_seconds(pieces: Sequence[Piece]) -> float:
    """How much there is to do: the media in these pieces, and the time to read their files."""
    media = sum(
        credible_seconds(piece.shard.seconds, piece.source.num_bytes)
        for piece in pieces
        if piece.shard is not None
    )
    return media + sum(max(piece.source.num_bytes, 0) for piece in pieces) / SLOWEST_BYTES_PER_SECOND


@contextlib.contextmanager
def ending_late(seconds: float) -> Iterator[None]:
    """Ends this process, which is a task's own, where the body takes longer. Nobody outside could.

    The timer is no thread of Python's: a library that hangs and lets no other thread run does not stop it.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def task_table(pieces: Sequence[Piece]) -> pa.Table:
    """One task, as a row of the pipeline."""
    return pa.table({"task": [encode(Task(pieces=tuple(pieces))).decode()]})


def task_tables(pieces: Sequence[Piece]) -> list[pa.Table]:
    """One task for each piece."""
    return [task_table([piece]) for piece in pieces]
