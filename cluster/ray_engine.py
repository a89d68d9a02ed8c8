"""The Ray engine: the main job on a cluster.

The driver lists sources and commits; hashing, indexing, decoding and inference run on the workers, as one
Ray Data pipeline: `read_parquet(sources) -> open_sources -> one task a row -> pool of RayMill -> results`.
What an actor was working on when it died runs alone in a further round; what dies alone twice is
quarantined.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data

from cluster import layout
from cluster.committing import PendingCommit, PendingRun
from cluster.dataset import Dataset
from cluster.flow import Flow, failure_from
from cluster.interrupts import noticing_interrupts
from cluster.jobs import Failure, Job
from cluster.ray_cluster import Pool
from cluster.ray_tasks import Ledger, RayMill, merge_source, open_sources, tasks_of
from cluster.request import ExtractRequest, Reporter
from cluster.tally import Outcome, Tally
from cluster.worker import Worker
from models import errors
from models.errors import FramemillError
from ops.media import MediaDescription, StreamDescription

if TYPE_CHECKING:
    from cluster.planning import OpsPlan

COMMIT_SECONDS = 2.0
# Sources in one call of the first stage: enough that the scheduler does not count, few enough to share.
OPEN_SOURCES = 16


class RayRun:
    """One run over some jobs: the same jobs, flow and commits as the local engine's.

    Ray must be connected, and `pool` must fit the cluster (`cluster.ray_cluster`).
    """

    def __init__(
        self,
        request: ExtractRequest,
        reporter: Reporter,
        dataset: Dataset,
        plan: OpsPlan,
        jobs: Sequence[Job],
        config: Mapping[str, Any],
        pool: Pool,
        started: float,
        num_cached: int,
    ) -> None:
        self.request = request
        self.reporter = reporter
        self.dataset = dataset
        self.plan = plan
        self.jobs = {job.file.uri: job for job in jobs}
        self.config = {**config, "stages": plan.stages(), "profile": ""}
        self.pool = pool
        self.flow = Flow(dataset, plan, request.retry_failed)
        self.tally = Tally(jobs, num_cached, started)
        self._last_commit = 0.0
        self._is_interrupted = False
        # Parts that wait for their jobs: of tasks whose jobs all finish with them, and by uri.
        self._parts: list[dict[str, Any]] = []
        self._held: dict[str, list[dict[str, Any]]] = {}
        self._again: list[dict[str, Any]] = []
        self._opened: dict[str, dict[str, Any]] = {}
        self._descriptions: dict[str, MediaDescription] = {}
        self._merges: dict[Any, Job] = {}
        self._reports: dict[str, Mapping[str, Any]] = {}
        self._writer = Worker(self.config)
        state = dataset.state
        self._changed = {uri for uri, job in self.jobs.items() if uri in state.sources and not job.source_id}
        needs = {name: list(op.key["after"]) for name, op in plan.ops.items()}
        # It holds no CPU: the head of a cluster often offers none.
        self._ledger = ray.remote(num_cpus=0)(Ledger).remote(state, needs, request.retry_failed)

    def run(self, conclude: Callable[[Outcome], PendingRun]) -> Outcome:
        """Works until every job is committed or it is interrupted; `conclude` tells the last commit.

        Raises:
            SetupError: a model cannot be had on a worker.
            FramemillError: the run cannot go on; what was committed stays.
        """
        manifest = self._write_manifest()
        try:
            with noticing_interrupts(self._notice):
                self._round(self._sources(manifest), alone=False)
                while self._again and not self._is_interrupted:
                    tasks, self._again = tasks_of(self._again), []
                    self._round(ray.data.from_arrow(tasks), alone=True)
                self._commit(is_last=True)
                if not self._is_interrupted:
                    pending = conclude(self._outcome())
                    pending.commit(self._writer.do_write(pending.request)["parts"])
        finally:
            manifest.unlink(missing_ok=True)
        return self._outcome()

    def _notice(self) -> None:
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True
        self.reporter.message(0, "interrupted: committing what is finished (Ctrl-C again stops at once)")

    def _outcome(self) -> Outcome:
        outcome = self.tally.outcome
        stages = {stage for report in self._reports.values() for stage in report["seconds"]}
        outcome.seconds = {s: sum(r["seconds"].get(s, 0.0) for r in self._reports.values()) for s in stages}
        outcome.interrupted = self._is_interrupted
        return outcome

    def _write_manifest(self) -> Path:
        """The list of sources, where every worker can read it."""
        path = self.dataset.root / layout.SYSTEM_FOLDER / f"sources-{self.config['run_id']}.parquet"
        rows = [
            {**asdict(job.file), "is_changed": job.file.uri in self._changed} for job in self.jobs.values()
        ]
        with layout.storage_errors(path, "writing"):
            # A row group is what Ray shares out.
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=OPEN_SOURCES)
        return path

    def _sources(self, manifest: Path) -> ray.data.Dataset:
        blocks = -(-len(self.jobs) // OPEN_SOURCES)
        return ray.data.read_parquet(str(manifest), override_num_blocks=blocks).map_batches(
            cast(Any, open_sources),
            batch_size=OPEN_SOURCES,
            batch_format="pyarrow",
            num_cpus=0.5,
            fn_kwargs={"config": self.config, "ledger": self._ledger},
        )

    def _round(self, tasks: ray.data.Dataset, alone: bool) -> None:
        """Runs tasks through a pool of mills and takes their results as they come."""
        calls = 1 if alone else self.pool.calls
        results = tasks.repartition(target_num_rows_per_block=1).map_batches(
            RayMill,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                **self.pool.size,
                max_concurrent_calls_per_actor=calls,
                # Without it the concurrent calls would run one after the other.
                enable_true_multi_threading=True,
                max_tasks_in_flight_per_actor=2 * calls,
            ),
            num_cpus=self.pool.cpus,
            num_gpus=self.pool.gpus or None,
            fn_constructor_args=({**self.config, "alone": alone}, self._ledger),
        )
        for batch in results.iter_batches(batch_size=None, batch_format="pyarrow"):
            for text in cast(pa.Table, batch)["result"].to_pylist():
                self._take(json.loads(text))
            self._take_merges(wait=False)
            if time.monotonic() - self._last_commit >= COMMIT_SECONDS:
                self._commit()
            self.tally.tell(self.reporter)
            if self._is_interrupted:
                return
        self._take_merges(wait=True)
        self._commit()

    def _take(self, result: Mapping[str, Any]) -> None:
        if "fatal" in result:
            kind = getattr(errors, result["fatal"]["error"], FramemillError)
            raise kind(f"{result['fatal']['message']} (on a worker)")
        for piece in result.get("suspects", ()):
            # A divided source stays divided; others are opened anew, which may be what is dangerous.
            raw = {key: piece[key] for key in ("uri", "path", "num_bytes", "mtime_ns")}
            self._again.append(raw if len(piece.get("shards", [])) < 2 else piece)
        for piece in result.get("quarantined", ()):
            why = "quarantined: it ended its worker process twice while working alone"
            self.flow.failed(self.jobs[piece["uri"]], Failure("*", "quarantined", "LimitError", why))
        pieces = result.get("pieces", ())
        if len(pieces) == 1 and pieces[0]["uri"] in self._changed:
            self._held.setdefault(pieces[0]["uri"], []).extend(result["parts"])
        else:
            self._parts += result.get("parts", ())
        for piece in pieces:
            self._take_piece(piece)
        if "actor" in result:
            # What an actor reports counts from its start.
            self._reports[result["actor"]] = result
            self.tally.outcome.frames = sum(report["frames"] for report in self._reports.values())
            self.tally.outcome.providers = {**self.tally.outcome.providers, **result["providers"]}

    def _take_piece(self, piece: Mapping[str, Any]) -> None:
        job = self.jobs[piece["uri"]]
        if job.state == "new":
            if "description" in piece:
                self._descriptions[job.file.uri] = _described(piece["description"])
            self._opened[piece["uri"]] = dict(piece)
            self.flow.opened(job, piece)
        if job.state == "open" and not job.is_duplicate:
            if "failed" in piece:
                self.flow.failed(job, failure_from(piece["failed"]))
            elif piece["shard_index"] in job.waiting:
                job.waiting.remove(piece["shard_index"])
                if len(job.shards) == 1:
                    job.stages = job.stages[-1:]  # the mill went through all of them
                self.flow.shard_done(job, piece["done"])
        self.flow.open.clear()  # the pipeline has its own order
        while self.flow.to_merge:
            self._start_merge(self.flow.to_merge.popleft())

    def _start_merge(self, job: Job) -> None:
        failed = {failure.operation for failure in job.failures}
        ops = [op for op in job.stages[0] if op not in failed]
        is_last = len(job.stages) == 1 and "media" in job.todo
        request = {
            "uri": job.file.uri,
            "path": job.file.path,
            "source_id": job.source_id,
            "ops": ops,
            "num_shards": len(job.shards),
            "earlier": self._earlier(job, ops),
            "media_status": job.status if is_last else "",
        }
        self._merges[merge_source.remote(self.config, request)] = job

    def _earlier(self, job: Job, ops: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """As `Flow.earlier`, with what the first stage of this very source wrote but is not committed yet."""
        earlier = self.flow.earlier(job, ops)
        for part in self._held.get(job.file.uri, ()):
            if part["table"] in earlier:
                earlier[part["table"]].append(part)
        return earlier

    def _take_merges(self, wait: bool) -> None:
        while self._merges:
            ready, _ = ray.wait(list(self._merges), num_returns=1, timeout=None if wait else 0)
            if not ready:
                return
            job = self._merges.pop(ready[0])
            done = ray.get(ready[0])
            if "failed" in done:
                self.flow.failed(job, failure_from(done["failed"]))
                continue
            self._held.setdefault(job.file.uri, []).extend(done["parts"])
            self.flow.merged(job, done)
            if self.flow.open:
                # The second decode of a divided source: its frames, now that its shots are known.
                self.flow.open.clear()
                stage = len(self.plan.stages()) - len(job.stages)
                opened = {**self._opened[job.file.uri], "earlier": self._earlier(job, job.stages[0])}
                self._again += [
                    {**opened, "stage": stage, "shard": shard, "shard_index": i}
                    for i, shard in enumerate(job.shards)
                ]

    def _commit(self, is_last: bool = False) -> None:
        """Commits finished jobs with the parts that the workers wrote for them.

        Changed files come last: their old rows may go only when it is known that no other file of this run
        has the old content.
        """
        self._last_commit = time.monotonic()
        finished = self.flow.finished
        jobs = finished if is_last else [job for job in finished if job.file.uri not in self._changed]
        self.flow.finished = [] if is_last else [job for job in finished if job.file.uri in self._changed]
        if not jobs:
            return
        alive = {job.source_id for job in self.jobs.values() if job.state != "committed"}
        pending = PendingCommit(self.dataset, self.plan, self.config["run_id"], jobs, alive)
        parts, self._parts = self._parts, []
        for job in jobs:
            held = self._held.pop(job.file.uri, [])
            parts += held if job.is_usable else []
        # Rows of errors, of copies under other names, and of parts without what is replaced: few, so the
        # driver writes them itself.
        for uri, description in self._descriptions.items():
            self._writer.describe(uri, description)
        media = [row for row in pending.request["media"] if row[0] in self._descriptions]
        parts += self._writer.do_write({**pending.request, "media": media, "tables": {}})["parts"]
        pending.commit(parts)
        for job in jobs:
            self._descriptions.pop(job.file.uri, None)
            self._opened.pop(job.file.uri, None)
            self._writer.do_forget({"uri": job.file.uri})
            if len(job.shards) > 1:
                shutil.rmtree(layout.partials_folder(self.dataset.root, job.source_id), ignore_errors=True)


def _described(told: Mapping[str, Any]) -> MediaDescription:
    streams = tuple(StreamDescription(**stream) for stream in told["streams"])
    return MediaDescription(**{**told, "streams": streams})
