"""What runs on the workers of a Ray cluster: hashing and indexing, actors and merges.

Rows between the stages are small JSON texts. Tables never pass through the object store: each actor writes
the parts of what it computed by itself, and the driver commits them.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray
import ray.exceptions

from framemill.cluster.engines.local.engine import DEATHS_ALONE, SLOWEST_BYTES_PER_SECOND
from framemill.cluster.engines.ray.coordinator import STOPPED
from framemill.cluster.engines.ray.indexes import KeptIndexes
from framemill.cluster.engines.ray.metrics import ActorMetrics
from framemill.cluster.engines.ray.ray_logging import one_line
from framemill.cluster.engines.ray.split import ReaderDiedError, RemoteReader
from framemill.cluster.machine import hide_gpus
from framemill.cluster.run.devices import leave_if_lost
from framemill.cluster.run.worker import Worker, describe_failure
from framemill.ops import load_op
from framemill.ops.operation import Reads

# Short files share a task until it is worth this much media: Ray's scheduler needs milliseconds for each
# task, and pauses up to 100 ms between rounds.
TASK_SECONDS = 30.0
TASK_PIECES = 64
# What a source is before it is opened.
RAW = ("uri", "path", "num_bytes", "mtime_ns")
# What an actor never writes: the driver does.
NOTHING_ELSE: Mapping[str, list[Any]] = {"media": [], "errors": [], "drops": [], "runs": []}


def open_sources(batch: pa.Table, *, config: Mapping[str, Any], coordinator: Any) -> Iterator[pa.Table]:
    """Hashes and indexes files, and cuts what is to be done with them into tasks.

    Args:
        batch: rows with uri, path, num_bytes, mtime_ns; is_changed where the dataset holds other content.
        config: as for `ShardProcessorActor`. coordinator: handle of the run's `Coordinator`.

    Yields:
        Tables with one row and one column, `task`: JSON with the `pieces` that one call of an actor takes.

    Raises:
        Exception: what concerns the run and not one source; the coordinator knows it, too.
    """
    with telling(coordinator):
        yield from _open_all(batch.to_pylist(), config, coordinator)


@contextlib.contextmanager
def telling(coordinator: Any) -> Iterator[None]:
    """The coordinator learns what the body raises: Ray passes the driver no more than a text of it."""
    try:
        yield
    except Exception as error:
        ray.get(coordinator.give_up.remote(_described(error)))
        raise


def _described(error: Exception) -> dict[str, Any]:
    """As `describe_failure`; the text of an error of Ray's is a traceback."""
    told = describe_failure(error)
    return {**told, "message": one_line(error)} if isinstance(error, ray.exceptions.RayError) else told


def _open_all(
    sources: Sequence[Mapping[str, Any]], config: Mapping[str, Any], coordinator: Any
) -> Iterator[pa.Table]:
    worker = Worker({**config, "options": {}, "profile": ""})
    short: list[dict[str, Any]] = []
    seconds = 0.0
    for source in sources:
        task_id = "open " + source["uri"]
        allowed = allowed_seconds(config, work_seconds([source]))
        before = ray.get(coordinator.start.remote(task_id, "", allowed))
        if before == STOPPED:
            return
        if before:
            # It was being opened when a worker died: an actor of its own opens it later.
            pieces: list[dict[str, Any]] = [{**source, "suspect": True}]
        else:
            with ending_late(allowed):
                pieces = open_source(worker, source, coordinator)
        ray.get(coordinator.finish.remote(task_id))
        if len(pieces) > 1 or pieces[0].get("suspect") or source["is_changed"]:
            yield from (task_of([piece]) for piece in pieces)
            continue
        short += pieces
        seconds += pieces[0].get("duration_seconds", 0.0)
        if seconds >= TASK_SECONDS or len(short) >= TASK_PIECES:
            yield task_of(short)
            short, seconds = [], 0.0
    if short:
        yield task_of(short)


def work_seconds(pieces: Sequence[Mapping[str, Any]]) -> float:
    """How much there is to do: the media in these pieces, and the time to read their files."""
    media: float = sum((piece.get("shard") or {"seconds": 0.0})["seconds"] for piece in pieces)
    opening: float = sum(max(piece["num_bytes"], 0) for piece in pieces) / SLOWEST_BYTES_PER_SECOND
    return media + opening


def allowed_seconds(config: Mapping[str, Any], seconds: float) -> float:
    """How long so much work may take; what else an actor works on slows it down no more than the factor."""
    allowed: float = config["deadline_seconds"] + config["deadline_factor"] * seconds
    return allowed


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


def open_source(
    worker: Worker, source: Mapping[str, Any], coordinator: Any, keep: bool = False
) -> list[dict[str, Any]]:
    """One piece for each shard of a file; one without a shard when there is nothing to compute.

    Args:
        keep: whether the worker goes on with what it found; otherwise it forgets it.
    """
    source = {key: source[key] for key in RAW}
    try:
        opened = worker.do_open(source)
    except Exception as error:
        opened = {"source_id": "", "failed": _own_failure(error)}
    piece = {**source, **opened}
    if "failed" in piece:
        return [{**piece, "shards": [], "shard": None}]
    piece["description"] = asdict(worker.index(source["uri"], source["path"]).description)
    if not keep:
        worker.do_forget(source)
    claim = ray.get(coordinator.claim.remote(source["uri"], piece["source_id"]))
    piece |= claim or {"ops": [], "earlier": {}, "is_copy": True}
    if piece["picture_problem"]:
        piece["ops"] = [op for op in piece["ops"] if load_op(op).reads not in (Reads.FRAMES, Reads.SIGNALS)]
    if piece["sound_problem"]:
        piece["ops"] = [op for op in piece["ops"] if load_op(op).reads is not Reads.AUDIO]
    if not piece["ops"]:
        return [{**piece, "shard": None}]
    return [{**piece, "shard": shard, "shard_index": i} for i, shard in enumerate(piece["shards"])]


def _own_failure(error: Exception) -> dict[str, Any]:
    """A failure that concerns one source alone; any other is raised again."""
    leave_if_lost(error)
    told = describe_failure(error)
    if told["fatal"] or isinstance(error, ray.exceptions.RayError):
        raise error
    return told


class ShardProcessorActor:
    """An actor as an actor of Ray Data: one task in, one result out, several calls at a time.

    Args:
        config: as for `Worker`; with `alone`, whether each call has the actor to itself,
            `gpus`, the share of GPUs that it holds, and `stages`, the operations of each decode.
        coordinator: handle of the run's `Coordinator`.
        decoders: in the split topology, handle of the run's `DecoderPool`.
    """

    def __init__(self, config: Mapping[str, Any], coordinator: Any, decoders: Any = None) -> None:
        if not config["gpus"]:
            hide_gpus()
        self._config = config
        self._coordinator = coordinator
        with telling(coordinator):
            self._worker = Worker(config)
        self._name = ray.get_runtime_context().get_actor_id() or ""
        self._alone: bool = config["alone"]
        self._stages: Sequence[Sequence[str]] = config["stages"]
        self._metrics = ActorMetrics(config["run_id"], self._name)
        self._indexes = KeptIndexes(self._index, lambda uri: self._worker.do_forget({"uri": uri}))
        self._reader: RemoteReader | None = None
        ray.get(coordinator.register.remote(self._name, ray.get_runtime_context().current_actor))
        if decoders is not None:
            self._reader = RemoteReader(decoders, self._name)
            self._worker.processor.read = self._reader.read

    def __call__(self, batch: pa.Table) -> pa.Table:
        with telling(self._coordinator):
            return self._answer_task(batch["task"][0].as_py())

    def _answer_task(self, text: str) -> pa.Table:
        task = json.loads(text)
        task_id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        before = ray.get(self._coordinator.start.remote(task_id, self._name, self._allowed(task["pieces"])))
        suspected = before > 0 or any(piece.get("suspect") for piece in task["pieces"])
        result: dict[str, Any]
        if before == STOPPED:
            result = {}
        elif self._alone and before >= DEATHS_ALONE:
            # What others with the same content wait for is known from before the deaths.
            contents = [self._coordinator.content_of.remote(piece["uri"]) for piece in task["pieces"]]
            ids = ray.get(contents)
            known = [{"source_id": i, **piece} for i, piece in zip(ids, task["pieces"], strict=True)]
            result = {"quarantined": known}
        elif suspected and not self._alone:
            # It was at work when a worker died. Whether it did it shows when it runs alone.
            result = {"suspects": task["pieces"]}
        else:
            self._metrics.begin()
            result = self._mill(task["pieces"], task_id)
            self._metrics.end(self._worker.processor.batches())
        ray.get(self._coordinator.finish.remote(task_id))
        return pa.table({"result": [json.dumps(result)]})

    def _allowed(self, pieces: Sequence[Mapping[str, Any]]) -> float:
        return allowed_seconds(self._config, work_seconds(pieces))

    def _mill(self, given: Sequence[Mapping[str, Any]], task_id: str) -> dict[str, Any]:
        pieces: list[dict[str, Any]] = []
        cut: list[dict[str, Any]] = []
        try:
            for number, piece in enumerate(given):
                opened = [dict(piece)]
                if "source_id" not in piece:
                    opened = open_source(self._worker, piece, self._coordinator, keep=True)
                    if len(opened) > 1 and not self._alone:
                        cut += opened  # longer than its size let suppose: it is shared out
                        continue
                    self._coordinator.allow.remote(task_id, self._allowed([*opened, *given[number + 1 :]]))
                pieces += [{**one, **self._answer(one)} for one in opened]
            parts = write_sources(self._worker, [p for p in pieces if len(p["shards"]) == 1])
        except ReaderDiedError:
            for op, owner in list(self._worker.finished):
                if owner in {piece.get("source_id") for piece in pieces}:
                    del self._worker.finished[op, owner]
            return {"suspects": given}
        except Exception as error:
            return {"fatal": _described(error)}
        finally:
            for piece in given:
                if len(piece.get("shards", ())) < 2:
                    self._worker.do_forget(piece)
        done = {"pieces": pieces, "parts": parts, "cut": cut}
        return {**done, "actor": self._name, **self._worker.do_report({})}

    def _answer(self, piece: Mapping[str, Any]) -> dict[str, Any]:
        """Computes one piece and tells of it; a failure that is the file's own is told, any other raised."""
        if "failed" in piece:
            self._metrics.shard(piece, piece, {}, {}, 0.0)
        if "failed" in piece or piece["shard"] is None:
            return {}
        trace, started = self._worker.trace, time.monotonic()
        before = trace.of_this_thread()
        answer: dict[str, Any]
        try:
            with contextlib.ExitStack() as held:
                if len(piece["shards"]) > 1:
                    held.enter_context(self._indexes.using(piece["uri"], piece["path"]))
                else:
                    self._index(piece["uri"], piece["path"])
                answer = {"done": self._compute(piece)}
        except ReaderDiedError:
            raise
        except Exception as error:
            answer = {"failed": _own_failure(error)}
        after = trace.of_this_thread()
        seconds = {stage: spent - before.get(stage, 0.0) for stage, spent in after.items()}
        seconds = {stage: spent for stage, spent in seconds.items() if spent}
        elapsed = time.monotonic() - started
        self._metrics.shard(piece, answer, seconds, self._worker.processor.providers, elapsed)
        return answer

    def _index(self, uri: str, path: str) -> None:
        if self._reader is not None and uri not in self._worker.indexes:
            self._worker.indexes[uri] = self._reader.index(path)
        self._worker.index(uri, path)

    def _compute(self, piece: Mapping[str, Any]) -> dict[str, Any]:
        stages = [[op for op in stage if op in piece["ops"]] for stage in self._stages]
        stages = [ops for ops in stages if ops]
        # An undivided source goes through every stage at once, a divided one is merged in between.
        if len(piece["shards"]) > 1:
            stages = stages[piece.get("stage", 0) :][:1]
        done: dict[str, Any] = {"rows": {}, "failures": {}, "shortfall": "", "frames": 0}
        done["shard_index"] = piece["shard_index"]
        for ops in stages:
            ops, broken = _unbroken(ops, done["failures"], self._worker.processor.after)
            done["failures"] |= broken
            if not ops:
                continue
            request = {**piece, "id": id(piece), "num_shards": len(piece["shards"]), "threads": 1}
            answer = self._worker.do_shard({**request, "ops": ops})
            done["rows"] |= answer["rows"]
            done["failures"] |= answer["failures"]
            done["shortfall"] = done["shortfall"] or answer["shortfall"]
            done["frames"] += answer.get("frames", 0)
            done["decoder"] = answer.get("decoder") or done.get("decoder", "")
        return done


def write_sources(worker: Worker, pieces: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Writes the parts of sources that are complete."""
    whole = [piece for piece in pieces if "done" in piece]
    tables: dict[str, list[str]] = {}
    for piece in whole:
        for op in piece["done"]["rows"]:
            tables.setdefault(op, []).append(piece["source_id"])
    written = worker.do_write({"tables": tables, **NOTHING_ELSE})
    parts: list[dict[str, Any]] = written["parts"]
    return parts


def task_of(pieces: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.table({"task": [json.dumps({"pieces": pieces})]})


def tasks_of(pieces: Sequence[Mapping[str, Any]]) -> list[pa.Table]:
    """One task for each piece."""
    return [task_of([piece]) for piece in pieces]


def _unbroken(
    ops: Sequence[str], failures: Mapping[str, Any], after: Callable[[str], Sequence[str]]
) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Operations that can run after these failures, and the failures of those that cannot."""
    going: list[str] = []
    broken: dict[str, tuple[str, str]] = {}
    for op in ops:
        lost = [
            need for need in after(op) if need in {*failures, *broken} and need not in load_op(op).may_fail
        ]
        if lost:
            broken[op] = ("FramemillError", f"it needs {lost[0]}, which failed for this file")
        else:
            going.append(op)
    return going, broken
