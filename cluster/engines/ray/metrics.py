"""What actors tell about their work: metrics for Prometheus, and a line of JSON for each shard.

Ray exports the metrics on every node, at the port that `ray.nodes()` calls MetricsExportPort. The lines go to
the standard error of the worker's process, which Ray keeps in its folder of logs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from ray.util.metrics import Counter, Gauge, Histogram

from framemill.actors.batcher import BatchStats
from framemill.cluster.engines.ray.messages import PieceResult
from framemill.cluster.run.messages import ShardDone

# Upper ends of the groups in which the times of shards are counted.
BOUNDARIES_SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]


class ActorMetrics:
    """The metrics of one actor, and its log.

    Args:
        run_id: of the run. actor: name of the actor.
    """

    def __init__(self, run_id: str, actor: str) -> None:
        self._run_id = run_id
        self._actor = actor
        self._tags = {"run": run_id}

        def counter(name: str, text: str, *tags: str) -> Counter:
            return Counter(f"framemill_{name}", text, tag_keys=("run", *tags))

        self._shards = counter("shards", "Shards done, by how they ended.", "status")
        self._frames = counter("frames", "Frames decoded.")
        self._bytes = counter("read_bytes", "Sizes of the files that were opened, in bytes.")
        self._rows = counter("rows", "Rows made.", "operation")
        self._errors = counter("errors", "Operations that failed on a shard; * for all of them.", "operation")
        self._seconds = counter("stage_seconds", "Seconds spent, added over threads.", "stage")
        self._shard_seconds = Histogram(
            "framemill_shard_seconds", "Seconds a shard took.", BOUNDARIES_SECONDS, tag_keys=("run",)
        )
        self._at_work = Gauge("framemill_tasks_at_work", "Tasks that an actor works on.", ("run", "actor"))
        self._fill = Gauge("framemill_batch_fill", "Share of a full batch.", ("run", "actor", "model"))
        self._waits = Gauge(
            "framemill_batch_wait_seconds", "Mean wait of a call for its batch.", ("run", "actor", "model")
        )
        self._num_at_work = 0

    def begin(self) -> None:
        """A task begins."""
        self._set_at_work(1)

    def end(self, batches: Mapping[str, BatchStats]) -> None:
        """A task ended; `batches` tells what the batcher of each model did so far."""
        self._set_at_work(-1)
        for model, stats in batches.items():
            tags = {**self._tags, "actor": self._actor, "model": model}
            self._fill.set(stats.fill, tags)
            self._waits.set(stats.wait_seconds, tags)

    def _set_at_work(self, change: int) -> None:
        self._num_at_work += change
        self._at_work.set(self._num_at_work, {**self._tags, "actor": self._actor})

    def shard(
        self,
        result: PieceResult,
        seconds: Mapping[str, float],
        providers: Mapping[str, str],
        elapsed_seconds: float,
    ) -> None:
        """Counts one shard and writes its line.

        Args:
            seconds: stage -> seconds spent on it. providers: model role -> what ran it.
        """
        piece, done = result.piece, result.done or ShardDone(shard_index=result.piece.shard_index)
        failures = dict(done.failures)
        if result.failed is not None:
            failures["*"] = (result.failed.error, result.failed.message)
        shortfall = done.shortfall or (piece.opened.shortfall if piece.opened else None)
        status = "failed" if result.failed is not None else "partial" if shortfall else "ok"
        self._shards.inc(1, {**self._tags, "status": status})
        self._shard_seconds.observe(elapsed_seconds, self._tags)
        self._add(self._frames, done.frames, {})
        if not piece.shard_index:
            self._add(self._bytes, max(piece.source.num_bytes, 0), {})
        self.made(done.rows)
        for op in failures:
            self._add(self._errors, 1, {"operation": op})
        for stage, spent in seconds.items():
            self._add(self._seconds, spent, {"stage": stage})
        line = {
            "time": round(time.time(), 3),
            "event": "shard",
            "run_id": self._run_id,
            "uri": without_credentials(piece.source.uri),
            "source_id": piece.opened.source_id if piece.opened else "",
            "shard_index": piece.shard_index,
            "num_shards": len(piece.opened.shards) if piece.opened else 0,
            "status": status,
            "elapsed_seconds": round(elapsed_seconds, 4),
            "seconds": {stage: round(spent, 4) for stage, spent in seconds.items()},
            "frames": done.frames,
            "rows": dict(done.rows),
            "failures": {op: list(why) for op, why in failures.items()},
            "providers": dict(providers),
            "actor": self._actor,
        }
        # In one piece: `print` writes the end of the line apart, and another thread's line comes in between.
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

    def made(self, rows: Mapping[str, int]) -> None:
        """Counts rows; those of a divided source are made by its merge."""
        for op, count in rows.items():
            self._add(self._rows, count, {"operation": op})

    def _add(self, counter: Counter, count: float, tags: Mapping[str, str]) -> None:
        if count > 0:  # Ray refuses to count nothing
            counter.inc(count, {**self._tags, **tags})


def without_credentials(uri: str) -> str:
    """The same address without a name, a password or a signed query; a path as it is."""
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
