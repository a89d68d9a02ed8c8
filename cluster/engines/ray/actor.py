"""The actor of a Ray cluster that works on shards.

Rows between the stages are small JSON texts. Tables never pass through the object store: each actor writes
the parts of what it computed by itself, and the driver commits them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import ray

from framemill.actors.shortfalls import Delivered, Shortfall, update
from framemill.cluster.engines.ray.coordinator import STOPPED
from framemill.cluster.engines.ray.indexes import KeptIndexes
from framemill.cluster.engines.ray.messages import ActorConfig, Piece, PieceResult, Task, TaskResult
from framemill.cluster.engines.ray.metrics import ActorMetrics
from framemill.cluster.engines.ray.opening import (
    describe_any,
    is_long,
    open_source,
    own_failure,
    reporting_to,
    work_seconds,
)
from framemill.cluster.engines.ray.placing import threads_here
from framemill.cluster.engines.ray.split import ReaderDiedError, RemoteReader
from framemill.cluster.engines.run import DEATHS_ALONE, allowed_seconds
from framemill.cluster.machine import take_gpus
from framemill.cluster.results.commits import Part, Refused
from framemill.cluster.results.storage import name_root
from framemill.cluster.run.messages import RunShard, ShardDone, Write, decode, encode
from framemill.cluster.run.part_writer import PartWriter
from framemill.cluster.run.sandbox import describe, enter_shared
from framemill.cluster.run.shard_runner import ShardRunner
from framemill.errors import InvariantError
from framemill.ops import load_op
from framemill.ops.operation import BROKEN, describe_broken, runnable

# Building engines of all models of an actor may take so long.
PREPARE_SECONDS = 3600.0


class ShardProcessorActor:
    """Works on tasks: one in, one result out, several calls at a time.

    Args:
        coordinator: handle of the run's `Coordinator`.
        decoders: in the split topology, handle of the run's `DecoderPool`.
        most_long: calls that may work on long files while others wait.
    """

    def __init__(
        self, config: ActorConfig, coordinator: Any, decoders: Any = None, most_long: int = 1
    ) -> None:
        take_gpus(config.gpus)
        layers = enter_shared(config.worker.sandbox)
        self._config = config
        self._coordinator = coordinator
        with reporting_to(coordinator):
            threads = config.worker.threads or threads_here(config.gpus)
            self._runner = ShardRunner(msgspec.structs.replace(config.worker, threads=threads))
        if any(layers.values()):
            self._runner.processor.notes.append(describe(layers))
        self._writer = PartWriter(name_root(config.worker.root), config.worker.run_id, config.worker.keys)
        self._name = ray.get_runtime_context().get_actor_id() or ""
        self._metrics = ActorMetrics(config.worker.run_id, self._name)
        self._indexes = KeptIndexes(self._index, self._runner.sources.forget)
        self._reader: RemoteReader | None = None
        self._long_places = threading.Semaphore(most_long)
        here = ray.get_runtime_context()
        handle = pickle.dumps(here.current_actor)
        ray.get(coordinator.register.remote(self._name, handle, here.get_node_id()))
        with reporting_to(coordinator):
            self._prepare()
        if decoders is not None:
            self._reader = RemoteReader(decoders, self._name)
            self._runner.processor.read = self._reader.read

    def _prepare(self) -> None:
        """Builds engines of models, as a task of its own: it has a deadline, and no file is to blame."""
        if not self._runner.builds_engines():
            return
        task_id = f"engines for {self._name}"
        before = ray.get(self._coordinator.start.remote(task_id, self._name, PREPARE_SECONDS))
        if before != STOPPED and before < DEATHS_ALONE:  # else the first shard shows what is wrong with them
            self._runner.prepare(self._coordinator.say.remote)
        ray.get(self._coordinator.finish.remote(task_id))

    def __call__(self, batch: pa.Table) -> pa.Table:
        with reporting_to(self._coordinator):
            result = self._answer(batch["task"][0].as_py())
            return pa.table({"result": [encode(result).decode()]})

    def _answer(self, text: str) -> TaskResult:
        pieces = decode(text, Task).pieces
        task_id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        allowed = self._allowed(pieces)
        before = ray.get(self._coordinator.start.remote(task_id, self._name, allowed))
        is_suspect = before > 0 or any(piece.is_suspect for piece in pieces)
        if before == STOPPED:
            result = TaskResult()
        elif self._config.is_alone and before >= DEATHS_ALONE:
            # What others with the same content wait for is known from before the deaths.
            uris = [piece.source.uri for piece in pieces]
            ids = ray.get([self._coordinator.content_of.remote(uri) for uri in uris])
            result = TaskResult(quarantined=dict(zip(uris, ids, strict=True)))
        elif is_suspect and not self._config.is_alone:
            # It was at work when a worker died. Whether it did it shows when it runs alone.
            result = TaskResult(suspects=pieces)
        else:
            self._metrics.begin()
            result = self._work(pieces, task_id)
            self._metrics.end(self._runner.processor.batches())
        ray.get(self._coordinator.finish.remote(task_id, [piece.source.uri for piece in pieces]))
        return result

    def _allowed(self, pieces: Sequence[Piece]) -> float:
        config = self._config
        return allowed_seconds(config.deadline_seconds, config.deadline_factor, work_seconds(pieces))

    def _work(self, given: Sequence[Piece], task_id: str) -> TaskResult:
        results: list[PieceResult] = []
        cut: list[Piece] = []
        begun: list[Piece] = []
        sources = self._runner.sources
        places = contextlib.ExitStack()
        try:
            for number, piece in enumerate(given):
                opened = [piece]
                if piece.opened is None:
                    opened = open_source(sources, piece.source, self._coordinator, keep=True)
                if self._is_put_off(opened, given, places):
                    cut += opened
                    continue
                if piece.opened is None:
                    self._coordinator.allow.remote(task_id, self._allowed([*opened, *given[number + 1 :]]))
                begun += opened
                results += [self._process(one) for one in opened]
            parts = self._write(results)
        except ReaderDiedError:
            self._drop_finished(begun)
            return TaskResult(suspects=tuple(given))
        except Exception as error:
            return TaskResult(fatal=describe_any(error))
        finally:
            places.close()
            for piece in given:
                if not piece.is_divided:
                    sources.forget(piece.source.uri)
        return TaskResult(
            pieces=tuple(results),
            parts=parts,
            cut=tuple(cut),
            actor=self._name,
            figures=self._runner.figures(),
        )

    def _is_put_off(
        self, opened: Sequence[Piece], given: Sequence[Piece], places: contextlib.ExitStack
    ) -> bool:
        """Whether a later round works on a file, which is long: others that share its task or wait go first.

        Args:
            opened: its pieces. given: those of the task. places: gives back the place that it takes here.
        """
        if self._config.is_alone or not is_long(opened[0], self._config):
            return False
        if len(opened) > 1:
            return True  # longer than its size let suppose: it is shared out
        if not ray.get(self._coordinator.others_left.remote(opened[0].source.uri)):
            return False
        if len(given) > 1 or not self._long_places.acquire(blocking=False):
            return True
        places.callback(self._long_places.release)
        return False

    def _drop_finished(self, pieces: Sequence[Piece]) -> None:
        ids = {piece.opened.source_id for piece in pieces if piece.opened is not None}
        for op, owner in list(self._runner.finished):
            if owner in ids:
                del self._runner.finished[op, owner]

    def _process(self, piece: Piece) -> PieceResult:
        """Computes one piece; a failure that is the file's own is reported, any other raised."""
        assert piece.opened is not None
        if piece.opened.failed is not None:
            self._metrics.shard(PieceResult(piece=piece, failed=piece.opened.failed), {}, {}, 0.0)
        if piece.shard is None:
            return PieceResult(piece=piece)
        trace, started = self._runner.trace, time.monotonic()
        before = trace.of_this_thread()
        uri, path = piece.source.uri, os.fsdecode(piece.source.path)
        try:
            with contextlib.ExitStack() as held:
                if piece.is_divided:
                    held.enter_context(self._indexes.using(uri, path))
                else:
                    self._index(uri, path)
                result = PieceResult(piece=piece, done=self._compute(piece, piece.opened.source_id))
        except ReaderDiedError:
            raise
        except Exception as error:
            result = PieceResult(piece=piece, failed=own_failure(error))
        after = trace.of_this_thread()
        seconds = {stage: spent - before.get(stage, 0.0) for stage, spent in after.items()}
        seconds = {stage: spent for stage, spent in seconds.items() if spent}
        elapsed = time.monotonic() - started
        self._metrics.shard(result, seconds, self._runner.processor.providers, elapsed)
        return result

    def _index(self, uri: str, path: str) -> None:
        sources = self._runner.sources
        if self._reader is not None and uri not in sources.indexes:
            sources.indexes[uri] = self._reader.index(path, sources.tracks)
        sources.index(uri, path)

    def _compute(self, piece: Piece, source_id: str) -> ShardDone:
        assert piece.opened is not None and piece.shard is not None
        stages = [[op for op in stage if op in piece.claim.ops] for stage in self._config.stages]
        stages = [ops for ops in stages if ops]
        # An undivided source goes through every stage at once, a divided one is merged in between.
        if piece.is_divided:
            stages = stages[piece.stage :][:1]
        rows: dict[str, int] = {}
        failures: dict[str, tuple[str, str]] = {}
        traces: tuple[str, ...] = ()
        shortfall: Shortfall | None = None
        frames, decoder = 0, ""
        delivered = Delivered()
        for ops in stages:
            needs = {op: load_op(op).required(self._runner.processor.after(op)) for op in ops}
            able, broken = runnable(needs, failures)
            failures |= {op: (BROKEN, describe_broken(need)) for op, need in broken.items()}
            if not able:
                continue
            done = self._runner.run(
                RunShard(
                    uri=piece.source.uri,
                    path=piece.source.path,
                    source_id=source_id,
                    version=piece.opened.version,
                    shard=piece.shard,
                    shard_index=piece.shard_index,
                    num_shards=len(piece.opened.shards),
                    ops=tuple(able),
                    earlier=piece.claim.earlier,
                    duration_seconds=delivered.duration_seconds or piece.claim.duration_seconds,
                )
            )
            delivered = update(delivered, done.delivered)
            rows |= done.rows
            failures |= done.failures
            traces += done.traces
            shortfall = shortfall or done.shortfall
            frames += done.frames
            decoder = done.decoder or decoder
        return ShardDone(
            shard_index=piece.shard_index,
            rows=rows,
            failures=failures,
            traces=traces,
            shortfall=shortfall,
            delivered=delivered,
            frames=frames,
            decoder=decoder,
        )

    def _write(self, results: list[PieceResult]) -> tuple[Part, ...]:
        """Writes the parts of sources that are complete."""
        tables: dict[str, list[str]] = {}
        for result in results:
            if result.done is not None and result.piece.opened is not None and not result.piece.is_divided:
                for op in result.done.rows:
                    tables.setdefault(op, []).append(result.piece.opened.source_id)
        request = Write(tables={op: tuple(owners) for op, owners in tables.items()})
        written = self._writer.write(request, self._runner.finished, self._runner.sources.describe)
        if written.refused:
            results[:] = [
                _without(result, written.refused, self._runner.processor.after) for result in results
            ]
            return self._write(results)
        return written.parts


def _without(
    result: PieceResult, refused: Sequence[Refused], after: Callable[[str], Sequence[str]]
) -> PieceResult:
    """What came of a piece, where some of its rows cannot be written; `after`: what an operation needs."""
    done, opened = result.done, result.piece.opened
    told = {each.operation: each for each in refused if opened is not None and each.owner == opened.source_id}
    if done is None or not told:
        return result
    needs = {op: load_op(op).required(after(op)) for op in done.rows}
    _, broken = runnable(needs, told)
    failures = {op: (InvariantError.__name__, each.message) for op, each in told.items()}
    failures |= {op: (BROKEN, describe_broken(need)) for op, need in broken.items()}
    replace = msgspec.structs.replace
    rows = {op: count for op, count in done.rows.items() if op not in failures}
    traces = (*done.traces, *(each.trace for each in told.values()))
    return replace(
        result, done=replace(done, rows=rows, failures={**done.failures, **failures}, traces=traces)
    )
