"""The worker process of the local engine: a shard processor behind a pipe.

The supervisor writes one JSON object a line to its standard input, the first one the configuration; the
worker answers on its standard output. A request names what to `do` and carries an `id`; its answer has the
same `id` and either `done` or `failed`. The worker ends when its input ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from framemill.actors.audio_probe import lack_of_sound
from framemill.actors.indexing import SourceIndex, index_and_keep, index_source
from framemill.actors.plan import parse_sampling
from framemill.actors.shard_processor import ShardProcessor, ShardTask
from framemill.actors.shards import Shard, cut_shards
from framemill.actors.tracing import Trace
from framemill.cluster.results import partials
from framemill.cluster.results.commits import Part
from framemill.cluster.results.parts import read_rows, rewrite_part, write_part
from framemill.cluster.results.storage import name_root
from framemill.cluster.results.tables import ERRORS_SCHEMA, RUNS_SCHEMA
from framemill.cluster.run.content_ids import content_id
from framemill.cluster.run.devices import Devices, leave_if_lost
from framemill.cluster.run.frame_selection import picked_frames
from framemill.cluster.without_pandas import without_pandas
from framemill.errors import FramemillError, LimitError, MediaError, SetupError
from framemill.ops import load_op
from framemill.ops.media import MediaDescription, media_row
from framemill.ops.operation import Reads

PROGRESS_SECONDS = 0.25
SPARE_THREADS = 8  # for merging, writing and reporting beside reading


@dataclass(slots=True)
class _Made:
    """What a shard or a merge gave: operation -> number of rows, and operation -> (error class, message)."""

    rows: dict[str, int] = field(default_factory=dict)
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)


class Worker:
    """Answers requests; `config` is the first line of the pipe (see `engines.local.engine`)."""

    def __init__(self, config: Mapping[str, Any], out: TextIO | None = None) -> None:
        # Whoever started this process knows that the storage answers; a hiccup now must not end the run.
        self.root = name_root(config["root"])
        self.run_id: str = config["run_id"]
        self.keys: Mapping[str, str] = config["keys"]
        self.shard_seconds: float = config["shard_seconds"]
        self.profile: str = config["profile"]
        self.trace = Trace(keep_spans=bool(self.profile))
        self.sampling = parse_sampling(config["sampling"])
        self.processor = ShardProcessor(
            options={name: load_op(name).Options(**values) for name, values in config["options"].items()},
            after={name: tuple(others) for name, others in config["after"].items()},
            models=config["models"],
            sampling=self.sampling,
            threads=config["threads"],
            require_provider=config["require_provider"],
            precision=config["precision"],
            trace=self.trace,
        )
        self.hears = any(load_op(name).reads is Reads.AUDIO for name in config["options"])
        self.indexes: dict[str, SourceIndex] = {}
        self.descriptions: dict[str, MediaDescription] = {}
        self.containers: dict[str, Any] = {}  # opened for the index, to be read on with one thread
        self.finished: dict[tuple[str, str], pa.Table] = {}
        self.frames_done = 0
        self.frames_at_work: dict[int, int] = {}
        self.devices = Devices(config["threads"])
        self._out = out
        self._lock = threading.Lock()

    def answer(self, request: Mapping[str, Any]) -> None:
        """Does one request and says so; called from a pool of threads."""
        try:
            done = getattr(self, "do_" + request["do"])(request)
            self.say({"id": request["id"], "done": done})
        except BaseException as error:
            leave_if_lost(error)
            self.say({"id": request["id"], "failed": describe_failure(error)})

    def say(self, message: Mapping[str, Any]) -> None:
        assert self._out is not None
        line = json.dumps(message)
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()

    def do_open(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Content id and index of a file; a file that cannot be indexed still has its content id."""
        uri, path = request["uri"], request["path"]
        with self.trace.span("hash", uri=uri):
            source_id = content_id(path)
        try:
            with self.trace.span("index", uri=uri):
                index, container = index_and_keep(path)
        except MediaError as error:
            return {"source_id": source_id, "failed": describe_failure(error)}
        self.indexes[uri] = index
        self._close(uri)
        if container is not None and self.hears and index.has_more_than_pictures:
            container.close()  # sound wants a fresh start (`ShardProcessor.process`)
        elif container is not None:
            self.containers[uri] = container
        shards = cut_shards(
            index.frames, index.has_more_than_pictures, index.duration_seconds, self.shard_seconds
        )
        return {
            "source_id": source_id,
            "duration_seconds": index.duration_seconds,
            "shards": [asdict(shard) for shard in shards],
            "picture_problem": index.picture_problem,
            "sound_problem": index.sound_problem or lack_of_sound(index, self.keys),
        }

    def do_shard(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Computes operations on one shard; the rows of an undivided source are finished at once."""
        uri, source_id = request["uri"], request["source_id"]
        shard = Shard(**request["shard"])
        shard_index, num_shards = request["shard_index"], request["num_shards"]
        combined = [op for op in request["ops"] if load_op(op).reads is Reads.TABLES]
        ops = tuple(op for op in request["ops"] if op not in combined)
        if num_shards > 1:
            # Sound is a piece of its own in a divided source; tables are combined once it is merged.
            ops = tuple(op for op in ops if (load_op(op).reads is Reads.AUDIO) == shard.with_sound)
            combined = []
            keys = {op: self.keys[op] for op in ops}
            shortfall = partials.find_shortfall(self.root, source_id, keys, shard_index)
            if shortfall is not None:
                return {"rows": {}, "failures": {}, "shortfall": shortfall, "shard_index": shard_index}
        task = ShardTask(
            path=request["path"],
            index=self.indexes[uri],
            shard=shard,
            shard_index=shard_index,
            num_shards=num_shards,
            ops=ops,
            picked=picked_frames(
                {op: (load_op(op), self.processor.after(op)) for op in ops},
                self.sampling,
                self.indexes[uri].frames,
                partial(self._rows, request),
            ),
            threads=request["threads"],
            container=self.containers.pop(uri, None) if num_shards == request["threads"] == 1 else None,
            upstream={
                need: self._rows(request, need)
                for need in {need for op in ops for need in self.processor.after(op)} - set(ops)
            },
        )

        self.devices.open_reader(self.processor)

        def count(frames: int) -> None:
            self.frames_at_work[request["id"]] = frames

        try:
            result = self.processor.process(task, count)
            count(result.report.num_decoded)
        finally:
            with self._lock:
                self.frames_done += self.frames_at_work.pop(request["id"], 0)
        made = _Made(failures=result.failures)
        for op, found in result.partials.items():
            if num_shards > 1:
                partials.save(self.root, source_id, op, self.keys[op], shard_index, found, result.shortfall)
            else:
                self._make(op, source_id, made, partial(self.processor.merge, op, [found]))
        for op in combined:
            self._combine(op, request, made)
        return {
            "rows": made.rows,
            "failures": made.failures,
            "shortfall": result.shortfall,
            "shard_index": shard_index,
            "frames": result.report.num_decoded,
            "decoder": result.report.decoder,
        }

    def do_merge(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Makes the rows of a divided source from the partials of its shards."""
        source_id = request["source_id"]
        made = _Made()
        for op in request["ops"]:
            if load_op(op).reads is Reads.TABLES:
                self._combine(op, request, made)
                continue
            found = partials.load(self.root, source_id, op, self.keys[op], request["num_shards"])
            self._make(op, source_id, made, partial(self.processor.merge, op, found))
        return {"rows": made.rows, "failures": made.failures}

    def index(self, uri: str, path: str) -> SourceIndex:
        """The index of a file, made at the first call.

        Raises:
            MediaError: the file cannot be indexed any more.
        """
        if uri not in self.indexes:
            self.indexes[uri] = index_source(path)
        return self.indexes[uri]

    def describe(self, uri: str, description: MediaDescription) -> None:
        """Makes known what another process found in a file."""
        self.descriptions[uri] = description

    def _description(self, uri: str) -> MediaDescription:
        return self.descriptions[uri] if uri in self.descriptions else self.indexes[uri].description

    def do_forget(self, request: Mapping[str, Any]) -> None:
        """Drops what is held for a source that is finished or given up."""
        self._close(request["uri"])
        self.indexes.pop(request["uri"], None)
        self.descriptions.pop(request["uri"], None)

    def do_write(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Writes finished rows as hidden parts, and rewrites parts without rows that are replaced."""
        with self.trace.span("write"):
            parts: list[Part | None] = []
            media = [
                _with_source(media_row(replace(self._description(uri), uri=uri, status=status)), source_id)
                for uri, source_id, status in request["media"]
            ]
            seed = sorted(f"{uri} {source_id}" for uri, source_id, _ in request["media"])
            parts.append(write_part(self.root, "media", media, run_id=self.run_id, seed=seed))
            for op, owners in request["tables"].items():
                tables = [self.finished[op, owner] for owner in owners]
                seed = [f"{owner} {self.keys[op]}" for owner in owners]
                parts.append(write_part(self.root, op, tables, run_id=self.run_id, seed=seed))
            ran = [_run_row(row) for row in request["runs"]]
            parts.append(write_part(self.root, "runs", ran, run_id=self.run_id, seed=[self.run_id]))
            failed = pa.Table.from_pylist(request["errors"], schema=ERRORS_SCHEMA)
            seed = [json.dumps(row, sort_keys=True) for row in request["errors"]]
            parts.append(write_part(self.root, "errors", [failed], run_id=self.run_id, seed=seed))
            for packed, owners in request["drops"]:
                part = Part(**{**packed, "owners": tuple(packed["owners"])})
                parts.append(rewrite_part(self.root, part, owners, run_id=self.run_id))
        for op, owners in request["tables"].items():
            for owner in owners:
                self.finished.pop((op, owner), None)
        return {"parts": [asdict(part) for part in parts if part is not None]}

    def do_report(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Figures so far; writes the trace when one is kept."""
        if self.profile:
            self.trace.write(Path(self.profile))
        return self.figures()

    def figures(self) -> dict[str, Any]:
        """What was done so far: frames decoded, seconds per stage, and what each model runs on."""
        return {
            "frames": self.frames_done + sum(list(self.frames_at_work.values())),
            "seconds": self.trace.seconds.copy(),
            "providers": self.processor.providers.copy(),
            "notes": self.processor.notes.copy(),
            "sessions": self.processor.sessions(),
            "device_memory_bytes": self.devices.peak_bytes(),
        }

    def _close(self, uri: str) -> None:
        container = self.containers.pop(uri, None)
        if container is not None:
            container.close()

    def _combine(self, op: str, request: Mapping[str, Any], made: _Made) -> None:
        """Makes the rows of an operation that reads the tables of others."""
        needs = self.processor.after(op)
        broken = [need for need in needs if need in made.failures and need not in load_op(op).may_fail]
        if broken:
            made.failures[op] = ("FramemillError", f"it needs {broken[0]}, which failed for this file")
            return
        upstream = {need: self._rows(request, need) for need in needs}
        source_id = request["source_id"]
        combine = partial(self.processor.combine, op, upstream, self.indexes[request["uri"]], source_id)
        self._make(op, source_id, made, combine)

    def _make(self, op: str, source_id: str, made: _Made, work: Callable[[], pa.Table]) -> None:
        """Makes the rows of a whole source; one operation's failure is not the others'."""
        try:
            rows = work()
            self.finished[op, source_id] = _with_source(rows, source_id)
            made.rows[op] = rows.num_rows
        except (MemoryError, SetupError):
            raise
        except Exception as error:
            made.failures[op] = (type(error).__name__, str(error))

    def _rows(self, request: Mapping[str, Any], op: str) -> pa.Table:
        """Rows of another operation for the same source: just made, or from the dataset."""
        source_id = request["source_id"]
        rows = self.finished.get((op, source_id))
        if rows is None:
            parts = [
                Part(**{**packed, "owners": tuple(packed["owners"])})
                for packed in request["earlier"].get(op, ())
            ]
            rows = read_rows(self.root, op, parts, [source_id])
        return load_op(op).schema.empty_table() if rows is None else rows.drop_columns(["source_id"])


def _with_source(rows: pa.Table, source_id: str) -> pa.Table:
    owner = pa.field(
        "source_id",
        pa.string(),
        nullable=False,
        metadata={"doc": "content id of the source: BLAKE3, 64 hex digits"},
    )
    column = pa.array([source_id], pa.string()).take(pa.array(np.zeros(rows.num_rows, np.int64)))
    return rows.add_column(0, owner, column)


def _run_row(row: Mapping[str, Any]) -> pa.Table:
    """One row of `runs` from JSON, which has objects where Arrow takes maps as pairs."""
    typed = {name: list(value.items()) if isinstance(value, dict) else value for name, value in row.items()}
    return pa.Table.from_pylist([typed], schema=RUNS_SCHEMA)


def describe_failure(error: BaseException) -> dict[str, Any]:
    """An exception as JSON, for the process that decides what it means."""
    is_memory = isinstance(error, MemoryError)
    if is_memory:
        error = LimitError("ran out of memory: run with fewer --threads, or raise --memory")
    known = isinstance(error, FramemillError)
    return {
        "error": type(error).__name__,
        "message": str(error) if known else f"{type(error).__name__}: {error}",
        "status": error.status if isinstance(error, MediaError) else "failed",
        "transient": is_memory or (isinstance(error, MediaError) and error.transient),
        "fatal": isinstance(error, FramemillError) and not isinstance(error, MediaError),
        "trace": "" if known else "".join(traceback.format_exception(error)),
    }


def _die_with_supervisor(pid: int) -> None:
    """On Linux the kernel ends this process when its parent is killed, even while it hangs in a decoder.

    The parent is, strictly, the thread that started this process: it has to be the one that runs the engine.
    """
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != pid:
        os._exit(1)  # it was killed before this process asked to be told


def main() -> None:
    """Serves the pipe until it closes. The only argument is the process id of the supervisor."""
    _die_with_supervisor(int(sys.argv[1]))
    with without_pandas():
        _serve()


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides what Ctrl-C means
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    first = sys.stdin.readline()
    if not first:
        return  # there was nothing to do after all
    config = json.loads(first)
    worker = Worker(config, out)
    worker.say({"ready": os.getpid()})

    def tell_progress() -> None:
        while True:
            time.sleep(PROGRESS_SECONDS)
            worker.say(worker.figures())

    threading.Thread(target=tell_progress, daemon=True).start()
    # Nothing may have to wait for a thread: what waits is timed as if it worked.
    with ThreadPoolExecutor(2 * config["in_flight"] + SPARE_THREADS, thread_name_prefix="shard") as pool:
        for line in sys.stdin:
            pool.submit(worker.answer, json.loads(line))
        os._exit(0)  # shards still at work belong to nobody now


if __name__ == "__main__":
    main()
