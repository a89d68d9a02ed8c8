"""What runs on the workers of a Ray cluster: hashing and indexing, mills, merges, and the ledger.

Rows between the stages are small JSON texts. Tables never pass through the object store: each mill writes
the parts of what it computed by itself, and the driver commits them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray

from cluster.commits import OWNED_BY_URI, DatasetState
from cluster.jobs import Job, missing_ops
from cluster.local import DEATHS_ALONE, SLOWEST_BYTES_PER_SECOND
from cluster.sources import SourceFile
from cluster.worker import Worker, describe_failure
from ops import load_op
from ops.operation import Reads

if TYPE_CHECKING:
    from cluster.planning import OpsPlan

# Short files share a task until it is worth this much media: Ray's scheduler needs milliseconds for each
# task, and pauses up to 100 ms between rounds.
TASK_SECONDS = 30.0
TASK_PIECES = 64
# What a mill never writes: the driver does.
NOTHING_ELSE: Mapping[str, list[Any]] = {"media": [], "errors": [], "drops": [], "runs": []}
STOPPED = -1


class Ledger:
    """Who does what: an actor beside the driver. Its answers decide, so that nothing is done twice.

    Args:
        state: what the dataset holds as the run begins.
        plan: the operations of the run.
        retry_failed: whether what failed for good is tried again.
    """

    def __init__(self, state: DatasetState, plan: OpsPlan, retry_failed: bool) -> None:
        self._state = state
        self._plan = plan
        self._retry_failed = retry_failed
        self._claims: dict[str, str] = {}
        self._attempts: dict[str, int] = {}
        self._mills: dict[str, Any] = {}
        self._at_work: dict[str, tuple[str, float]] = {}
        self._is_stopped = False

    def claim(self, uri: str, source_id: str) -> dict[str, Any] | None:
        """What the caller is to do for this content; None when another uri has it already.

        Returns:
            `ops`, and `earlier`: per operation that they need and that is done, the parts with its rows.
        """
        if self._claims.setdefault(source_id, uri) != uri:
            return None
        job = Job(SourceFile(uri, "", 0, 0), source_id)
        missing = missing_ops(job, self._plan, self._state, self._retry_failed)
        ops: list[str] = []
        for op in missing:
            # What needs something that failed is given up by the driver, which says so.
            needs = [need for need in self._plan.ops[op].key["after"] if need not in ops]
            states = [self._state.entries.get((need, source_id)) for need in needs]
            if op not in OWNED_BY_URI and all(
                state and state.status in ("ok", "partial") for state in states
            ):
                ops.append(op)
        others = {need for op in ops for need in self._plan.ops[op].key["after"]} - set(ops)
        earlier = {
            need: [
                asdict(replace(p, owners=(source_id,))) for p, _ in self._state.plan_drop(need, {source_id})
            ]
            for need in sorted(others)
        }
        return {"ops": ops, "earlier": earlier}

    def enlist(self, mill_id: str, mill: Any) -> None:
        """A mill tells its handle, for when it has to be killed."""
        self._mills[mill_id] = mill

    def start(self, task_id: str, mill_id: str = "", allowed_seconds: float = 0.0) -> int:
        """How often this task was begun before and not finished; `STOPPED` when nothing is to begin any more.

        Args:
            mill_id: of the mill that begins it, if one does.
            allowed_seconds: how long it may take there.
        """
        if self._is_stopped:
            return STOPPED
        before = self._attempts.get(task_id, 0)
        self._attempts[task_id] = before + 1
        if mill_id:
            self._at_work[task_id] = (mill_id, time.monotonic() + allowed_seconds)
        return before

    def finish(self, task_id: str) -> None:
        """The task gave its result."""
        self._attempts.pop(task_id, None)
        self._at_work.pop(task_id, None)

    def watch(self) -> tuple[int, list[Any]]:
        """How many tasks are at work, and the mills that hold one for too long."""
        now = time.monotonic()
        late = {mill_id for mill_id, deadline in self._at_work.values() if now > deadline}
        self._at_work = {task: held for task, held in self._at_work.items() if held[0] not in late}
        return len(self._at_work), [self._mills[mill_id] for mill_id in late]

    def stop(self) -> list[Any]:
        """Begins nothing any more, and tells every mill."""
        self._is_stopped = True
        return list(self._mills.values())


def open_sources(batch: pa.Table, *, config: Mapping[str, Any], ledger: Any) -> Iterator[pa.Table]:
    """Hashes and indexes files, and cuts what is to be done with them into tasks.

    Args:
        batch: rows with uri, path, num_bytes, mtime_ns; is_changed where the dataset holds other content.

    Yields:
        Tables with one row and one column, `task`: JSON with the `pieces` that one call of a mill takes.
    """
    worker = Worker({**config, "options": {}, "profile": ""})
    short: list[dict[str, Any]] = []
    seconds = 0.0
    for source in batch.to_pylist():
        task_id = "open " + source["uri"]
        before = ray.get(ledger.start.remote(task_id))
        if before == STOPPED:
            return
        if before:
            # It was being opened when a worker died: a mill of its own opens it later.
            pieces: list[dict[str, Any]] = [{**source, "suspect": True}]
        else:
            pieces = open_source(worker, source, ledger)
        ray.get(ledger.finish.remote(task_id))
        if len(pieces) > 1 or pieces[0].get("suspect") or source["is_changed"]:
            yield from (_task([piece]) for piece in pieces)
            continue
        short += pieces
        seconds += pieces[0].get("duration_seconds", 0.0)
        if seconds >= TASK_SECONDS or len(short) >= TASK_PIECES:
            yield _task(short)
            short, seconds = [], 0.0
    if short:
        yield _task(short)


def open_source(worker: Worker, source: Mapping[str, Any], ledger: Any) -> list[dict[str, Any]]:
    """One piece for each shard of a file; one without a shard when there is nothing to compute."""
    source = {key: source[key] for key in ("uri", "path", "num_bytes", "mtime_ns")}
    try:
        opened = worker.do_open(source)
    except Exception as error:
        opened = {"source_id": "", "failed": _own_failure(error)}
    piece = {**source, **opened}
    if "failed" in piece:
        return [{**piece, "shards": [], "shard": None}]
    piece["description"] = asdict(worker.index(source["uri"], source["path"]).description)
    worker.do_forget(source)
    claim = ray.get(ledger.claim.remote(source["uri"], piece["source_id"]))
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
    told = describe_failure(error)
    if told["fatal"]:
        raise error
    return told


class RayMill:
    """A mill as an actor of Ray Data: one task in, one result out, several calls at a time.

    Args:
        config: as for `cluster.worker.Worker`; with `alone`, whether each call has the actor to itself, and
            `stages`, the operations of each decode.
        ledger: handle of the run's `Ledger`.
    """

    def __init__(self, config: Mapping[str, Any], ledger: Any) -> None:
        self._worker = Worker(config)
        self._ledger = ledger
        self._name = ray.get_runtime_context().get_actor_id() or ""
        self._alone: bool = config["alone"]
        self._stages: Sequence[Sequence[str]] = config["stages"]
        self._deadline_seconds: float = config["deadline_seconds"]
        self._deadline_factor: float = config["deadline_factor"]
        ray.get(ledger.enlist.remote(self._name, ray.get_runtime_context().current_actor))

    def __call__(self, batch: pa.Table) -> pa.Table:
        text = batch["task"][0].as_py()
        task = json.loads(text)
        task_id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        before = ray.get(self._ledger.start.remote(task_id, self._name, self._allowed(task["pieces"])))
        suspected = before > 0 or any(piece.get("suspect") for piece in task["pieces"])
        result: dict[str, Any]
        if before == STOPPED:
            result = {}
        elif self._alone and before >= DEATHS_ALONE:
            result = {"quarantined": task["pieces"]}
        elif suspected and not self._alone:
            # It was at work when a worker died. Whether it did it shows when it runs alone.
            result = {"suspects": task["pieces"]}
        else:
            result = self._mill(task["pieces"])
        ray.get(self._ledger.finish.remote(task_id))
        return pa.table({"result": [json.dumps(result)]})

    def _allowed(self, pieces: Sequence[Mapping[str, Any]]) -> float:
        """How long a task may take; what else this mill works on slows it down no more than the factor."""
        seconds: float = sum((piece.get("shard") or {"seconds": 0.0})["seconds"] for piece in pieces)
        opening: float = sum(max(piece["num_bytes"], 0) for piece in pieces) / SLOWEST_BYTES_PER_SECOND
        return self._deadline_seconds + self._deadline_factor * (seconds + opening)

    def _mill(self, given: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        pieces: list[dict[str, Any]] = []
        try:
            for piece in given:
                opened = (
                    open_source(self._worker, piece, self._ledger) if "source_id" not in piece else [piece]
                )
                pieces += [{**one, **self._answer(one)} for one in opened]
            parts = write_sources(self._worker, [p for p in pieces if len(p["shards"]) == 1])
        except Exception as error:
            return {"fatal": describe_failure(error)}
        finally:
            for piece in given:
                self._worker.do_forget(piece)
        return {"pieces": pieces, "parts": parts, "actor": self._name, **self._worker.do_report({})}

    def _answer(self, piece: Mapping[str, Any]) -> dict[str, Any]:
        """Computes one piece; a failure that is the file's own is told, any other is raised."""
        if "failed" in piece or piece["shard"] is None:
            return {}
        try:
            self._worker.index(piece["uri"], piece["path"])
            stages = [[op for op in stage if op in piece["ops"]] for stage in self._stages]
            stages = [ops for ops in stages if ops]
            # An undivided source goes through every stage at once, a divided one is merged in between.
            if len(piece["shards"]) > 1:
                stages = stages[piece.get("stage", 0) :][:1]
            done: dict[str, Any] = {"rows": {}, "failures": {}, "shortfall": ""}
            done["shard_index"] = piece["shard_index"]
            for number, ops in enumerate(stages):
                # From the second decode on, the shots say which frames to look at: they were just found.
                found: dict[str, Any] = {"scenes": []} if number + piece.get("stage", 0) > 0 else {}
                earlier = {**found, **piece["earlier"]}
                request = {**piece, "id": id(piece), "num_shards": len(piece["shards"]), "threads": 1}
                answer = self._worker.do_shard({**request, "ops": ops, "earlier": earlier})
                done["rows"] |= answer["rows"]
                done["failures"] |= answer["failures"]
                done["shortfall"] = done["shortfall"] or answer["shortfall"]
            return {"done": done}
        except Exception as error:
            return {"failed": _own_failure(error)}


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


@ray.remote(num_cpus=0.5)
def merge_source(config: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """Merges the shards of one source for one stage, and writes the parts.

    Args:
        request: as for `Worker.do_merge`, with `uri`, `path` and `earlier`: rows that earlier stages made.
    """
    worker = Worker(config)
    try:
        worker.index(request["uri"], request["path"])
        done = worker.do_merge(request)
        tables = {op: [request["source_id"]] for op in done["rows"]}
        parts = worker.do_write({"tables": tables, **NOTHING_ELSE})["parts"]
        return {**done, "parts": parts}
    except Exception as error:
        return {"failed": describe_failure(error)}


def _task(pieces: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.table({"task": [json.dumps({"pieces": pieces})]})


def tasks_of(pieces: Sequence[Mapping[str, Any]]) -> pa.Table:
    """One task for each piece."""
    return pa.concat_tables([_task([piece]) for piece in pieces])
