"""The Ray engine: the main job on a cluster.

The driver lists sources and commits; hashing, indexing, decoding and inference run on the workers, as one
Ray Data pipeline: `sources -> open_sources -> one task a row -> pool of actors -> results`. Small files skip
`open_sources`: actors open them by themselves. The list goes through the object store: to read it back
from Parquet, Ray 2.60 starts 32 actors for footers alone, which takes a small cluster minutes. What an actor
was working on when it died runs alone in a further round; what dies alone twice is quarantined.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn, cast

import ray
import ray.data
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from framemill.cluster.engines.local.engine import DEADLINE_SECONDS
from framemill.cluster.engines.ray.coordinator import Coordinator
from framemill.cluster.engines.ray.head import HeadWatch
from framemill.cluster.engines.ray.merging import Merges
from framemill.cluster.engines.ray.pipeline import plan_tasks, run_actors, to_dataset
from framemill.cluster.engines.ray.pools import Pool, describe_idle_gpus
from framemill.cluster.engines.ray.preflight import describe_stall
from framemill.cluster.engines.ray.ray_logging import describe_end
from framemill.cluster.engines.ray.split import open_decoders
from framemill.cluster.engines.ray.stream import ResultStream, StallWatch
from framemill.cluster.engines.ray.tasks import tasks_of
from framemill.cluster.request import ExtractRequest, Reporter
from framemill.cluster.results import layout
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.storage import remove_tree
from framemill.cluster.run.committing import PendingCommit, PendingRun
from framemill.cluster.run.interrupts import noticing_interrupts
from framemill.cluster.run.job_states import JobStates, error_from, failure_from
from framemill.cluster.run.jobs import Failure, Job
from framemill.cluster.run.progress import Outcome, Progress
from framemill.cluster.run.worker import Worker
from framemill.errors import FramemillError
from framemill.ops.media import MediaDescription, StreamDescription
from framemill.ops.operation import Reads

if TYPE_CHECKING:
    from framemill.cluster.run.planning import OpsPlan

COMMIT_SECONDS = 2.0
TICK_SECONDS = 0.2
WATCH_SECONDS = 5.0
# After a Ctrl-C, what is at work may finish for so long.
LAST_SECONDS = 5.0
COORDINATOR_SECONDS = 300.0  # it answers within milliseconds


class RayRun:
    """One run over some jobs: the same jobs, states and commits as the local engine's.

    Ray must be connected, and `pool` must fit the cluster (`framemill.cluster.engines.ray.connecting`).
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
        self.config = {
            **config,
            "stages": plan.stages(),
            "profile": "",
            "threads": pool.threads,
            "gpus": pool.gpus,
            "deadline_seconds": DEADLINE_SECONDS,
            "deadline_factor": request.deadline_factor,
        }
        self.pool = pool
        self.states = JobStates(dataset, plan, request.retry_failed)
        self.progress = Progress(jobs, num_cached, started)
        self._last_commit = 0.0
        self._is_interrupted = False
        # Parts that wait for their jobs: of tasks whose jobs all finish with them, and by uri.
        self._parts: list[dict[str, Any]] = []
        self._held: dict[str, list[dict[str, Any]]] = {}
        # Pieces for a further round: those that were at work when something died, alone; and others.
        self._again: list[dict[str, Any]] = []
        self._next: list[dict[str, Any]] = []
        self._opened: dict[str, dict[str, Any]] = {}
        self._descriptions: dict[str, MediaDescription] = {}
        self._reports: dict[str, Mapping[str, Any]] = {}
        self._writer = Worker(self.config)
        state = dataset.state
        self._changed = {uri for uri, job in self.jobs.items() if uri in state.sources and not job.source_id}
        self._copies: dict[str, list[Mapping[str, Any]]] = {}
        self._owned: set[str] = set()
        self._stall = StallWatch(request.stall_seconds)
        self._next_watch = 0.0
        self._head = HeadWatch(ray.get_runtime_context().gcs_address)
        # Beside the driver, which no other node can take with it; without a CPU, for a head often has none.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        coordinator: Any = ray.remote(num_cpus=0, scheduling_strategy=cast(Any, here))(Coordinator)
        self._coordinator = coordinator.remote(state, plan, request.retry_failed)
        self._stream: ResultStream | None = None
        self._merges = Merges(self.config, self._coordinator)
        self._decoders = None if pool.decoders is None else open_decoders(pool.decoders, here)

    def run(self, conclude: Callable[[Outcome], PendingRun]) -> Outcome:
        """Works until every job is committed or it is interrupted; `conclude` tells the last commit.

        Raises:
            SetupError: a model cannot be had on a worker.
            FramemillError: the run cannot go on; what was committed stays.
        """
        known: Any = ray
        idle = describe_idle_gpus(self.pool, known.cluster_resources().get("GPU", 0.0))
        if idle and any(op.key["models"] for op in self.plan.ops.values()):
            self.reporter.message(0, idle)
        try:
            with noticing_interrupts(self._notice):
                self._round(self._sources(), alone=False)
                while (self._next or self._again) and not self._is_interrupted:
                    alone = not self._next
                    tasks = tasks_of(self._again if alone else self._next)
                    self._next = []
                    self._again = [] if alone else self._again
                    self._round(to_dataset(tasks), alone=alone, most=len(tasks))
                self._give_up_rest()
                self._commit(is_last=True)
                pending = conclude(self._outcome())
                pending.commit(self._writer.do_write(pending.request)["parts"])
        except ray.exceptions.RayError as exc:
            raise self._reason(exc) from exc
        finally:
            self._end()
        return self._outcome()

    def _reason(self, exc: ray.exceptions.RayError) -> FramemillError:
        """What a worker said before it ended the pipeline, or that the cluster failed."""
        with contextlib.suppress(ray.exceptions.RayError):
            if failure := ray.get(self._coordinator.failure.remote(), timeout=LAST_SECONDS):
                return error_from(failure)
        return FramemillError(describe_end(exc))

    def _end(self) -> None:
        """Kills every actor; what died with some of its parts written belongs to no commit."""
        if self._head.is_lost:
            return  # nothing can be told to anybody; the workers end by themselves
        actors: list[Any] = []
        with contextlib.suppress(ray.exceptions.RayError):
            actors = ray.get(self._coordinator.stop.remote(), timeout=LAST_SECONDS)
        if self._stream is not None:
            self._stream.close(LAST_SECONDS)
        with contextlib.suppress(ray.exceptions.RayError):
            for actor in actors:
                ray.kill(actor)
            if self._decoders is not None:
                ray.kill(self._decoders)  # and with it those that it owns
        self._merges.cancel()
        with contextlib.suppress(FramemillError):
            self.dataset.recover()

    def _notice(self) -> None:
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True
        self.reporter.message(0, "interrupted: committing what is finished (Ctrl-C again stops at once)")

    def _outcome(self) -> Outcome:
        outcome = self.progress.outcome
        stages = {stage for report in self._reports.values() for stage in report["seconds"]}
        outcome.seconds = {s: sum(r["seconds"].get(s, 0.0) for r in self._reports.values()) for s in stages}
        outcome.interrupted = self._is_interrupted
        return outcome

    def _sources(self) -> ray.data.Dataset:
        rows = [
            {**asdict(job.file), "is_changed": job.file.uri in self._changed} for job in self.jobs.values()
        ]
        return plan_tasks(rows, self.pool, self.config, self._coordinator)

    def _round(self, tasks: ray.data.Dataset, alone: bool, most: int = 1 << 30) -> None:
        """Runs tasks through a pool of actors and takes their results as they come.

        Args:
            most: actors that find something to do.
        """
        # What was at work when a decoder died is decoded by the actor itself: its death tells who did it.
        decoders = None if alone else self._decoders
        results = run_actors(
            tasks, most, self.pool, {**self.config, "alone": alone}, self._coordinator, decoders
        )
        stream = self._stream = ResultStream(results)
        give_up = 0.0
        while not stream.is_done or self._merges:
            for text in () if stream.is_done else stream.take(TICK_SECONDS):
                self._stall.note()
                self._take(json.loads(text))
            self._take_merges(TICK_SECONDS if stream.is_done else 0.0)
            if time.monotonic() - self._last_commit >= COMMIT_SECONDS:
                self._commit()
            self.progress.tell(self.reporter)
            self._watch()
            if self._is_interrupted and not give_up:
                give_up = time.monotonic() + LAST_SECONDS
                self._coordinator.stop.remote()
            if give_up and time.monotonic() > give_up:
                return
        self._commit()

    def _watch(self) -> None:
        """Kills actors that hold a task for too long, and says so when nothing happens at all."""
        if time.monotonic() < self._next_watch:
            return
        self._next_watch = time.monotonic() + WATCH_SECONDS
        if not self._head.check():
            return  # whatever is asked of the cluster now may take a minute
        if self._decoders is not None:
            self._decoders.maintain.remote()
        num_at_work, late = ray.get(self._coordinator.watch.remote(), timeout=COORDINATOR_SECONDS)
        for actor in late:
            self.reporter.message(1, "a task took too long (raise --deadline-factor if it may): a new actor")
            ray.kill(actor, no_restart=False)
        if waited := self._stall.waited(num_at_work):
            left = sum(job.state in ("new", "open") for job in self.jobs.values()) - len(self._merges)
            self.reporter.message(0, describe_stall(waited, left, len(self._merges), self.pool))

    def _take(self, result: Mapping[str, Any]) -> None:
        if "fatal" in result:
            self._refuse(result["fatal"])
        for piece in result.get("suspects", ()):
            job = self.jobs[piece["uri"]]
            if job.state not in ("new", "open"):
                continue
            job.source_id = piece.get("source_id", job.source_id)
            # A divided source stays divided; others are opened anew, which may be what is dangerous.
            raw = {key: piece[key] for key in ("uri", "path", "num_bytes", "mtime_ns")}
            self._again.append(raw if len(piece.get("shards", [])) < 2 else piece)
            self.reporter.message(1, f"a worker died while {piece['uri']} was at work: it runs alone next")
        for piece in result.get("quarantined", ()):
            job = self.jobs[piece["uri"]]
            job.source_id = piece["source_id"] or job.source_id
            self._quarantine(job, "ended its worker process or took too long, twice")
            self._own(job.source_id)
        self._next += result.get("cut", ())
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
            self.progress.outcome.frames = sum(report["frames"] for report in self._reports.values())
            self.progress.outcome.providers = {**self.progress.outcome.providers, **result["providers"]}
            self.progress.note_devices(result)

    def _refuse(self, failure: Mapping[str, Any]) -> NoReturn:
        """Raises what concerns the run and not one source."""
        if failure["trace"]:
            self.reporter.message(2, failure["trace"])
        raise error_from({**failure, "message": f"{failure['message']} (on a worker)"})

    def _take_piece(self, piece: Mapping[str, Any]) -> None:
        job = self.jobs[piece["uri"]]
        if piece.get("is_copy") and piece["source_id"] not in self._owned:
            self._copies.setdefault(piece["source_id"], []).append(piece)
            return
        if job.state == "new":
            if "description" in piece:
                self._descriptions[job.file.uri] = _described(piece["description"])
            self._opened[piece["uri"]] = dict(piece)
            self.states.opened(job, piece)
            self._own(job.source_id)
        if job.state == "open" and not job.is_duplicate:
            if "failed" in piece:
                self.states.failed(job, failure_from(piece["failed"]))
            elif piece["shard_index"] in job.waiting:
                job.waiting.remove(piece["shard_index"])
                if len(job.shards) == 1:
                    job.stages = job.stages[-1:]  # the actor went through all of them
                self.states.shard_done(job, piece["done"])
        self.states.open.clear()  # the pipeline has its own order
        while self.states.to_merge:
            self._start_merge(self.states.to_merge.popleft())

    def _own(self, source_id: str) -> None:
        """The first with some content is known to the states: now come its copies that were faster."""
        self._owned.add(source_id)
        for copy in self._copies.pop(source_id, ()):
            self._take_piece(copy)

    def _give_up_rest(self) -> None:
        """Files that nobody told of, as when the one that was to speak for a copy changed meanwhile."""
        why = "no worker told what came of it, or of another file with the same content: run again"
        for job in self.jobs.values() if not self._is_interrupted else ():
            if job.state in ("new", "open") and not job.is_duplicate:
                self.states.failed(job, Failure("*", "failed", "FramemillError", why, transient=True))

    def _quarantine(self, job: Job, why: str) -> None:
        if job.state in ("new", "open"):
            self.states.failed(job, Failure("*", "quarantined", "LimitError", f"quarantined: it {why}"))

    def _start_merge(self, job: Job) -> None:
        failed = {failure.operation for failure in job.failures}
        ops = [op for op in job.stages[0] if op not in failed]
        # Laying rows end to end takes no model; only what reads tables may run one.
        planned = [self.plan.ops[op] for op in ops]
        runs_models = any(op.reads is Reads.TABLES and op.key["models"] for op in planned)
        gpus = self.pool.gpus if runs_models else 0.0
        request = {
            "uri": job.file.uri,
            "path": job.file.path,
            "source_id": job.source_id,
            "gpus": gpus,
            "ops": ops,
            "num_shards": len(job.shards),
            "earlier": self._earlier(job, ops),
            "seconds": job.duration_seconds,
        }
        self._merges.start(job, request)

    def _earlier(self, job: Job, ops: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """As `JobStates.earlier`, with what the first stage of this source wrote and nobody committed yet."""
        earlier = self.states.earlier(job, ops)
        for part in self._held.get(job.file.uri, ()):
            if part["table"] in earlier:
                earlier[part["table"]].append(part)
        return earlier

    def _take_merges(self, timeout_seconds: float) -> None:
        for job, done in self._merges.take(timeout_seconds):
            self._stall.note()
            if "failed" in done:
                if done["failed"]["fatal"]:
                    self._refuse(done["failed"])
                self.states.failed(job, failure_from(done["failed"]))
                continue
            self._held.setdefault(job.file.uri, []).extend(done["parts"])
            self.states.merged(job, done)
            if self.states.open:
                # The second decode of a divided source: its frames, now that its shots are known.
                self.states.open.clear()
                ops = self._opened[job.file.uri]["ops"]
                stage = sum(not set(ops).isdisjoint(each) for each in self.plan.stages()) - len(job.stages)
                opened = {**self._opened[job.file.uri], "earlier": self._earlier(job, job.stages[0])}
                self._next += [
                    {**opened, "stage": stage, "shard": shard, "shard_index": i}
                    for i, shard in enumerate(job.shards)
                ]

    def _commit(self, is_last: bool = False) -> None:
        """Commits finished jobs with the parts that the workers wrote for them.

        Changed files come last: their old rows may go only when it is known that no other file of this run
        has the old content.
        """
        self._last_commit = time.monotonic()
        finished = self.states.finished
        jobs = finished if is_last else [job for job in finished if job.file.uri not in self._changed]
        self.states.finished = [] if is_last else [job for job in finished if job.file.uri in self._changed]
        if not jobs:
            return
        alive = {job.source_id for job in self.jobs.values() if job.state != "committed"}
        pending = PendingCommit(self.dataset, self.plan, self.config["run_id"], jobs, alive)
        parts, self._parts = self._parts, []
        for job in jobs:
            held = self._held.pop(job.file.uri, [])
            parts += held if job.is_usable else []
        # Rows of `media` and `errors`, and parts without what is replaced: little, and it takes the whole
        # run to know them, so the driver writes them itself.
        for uri, description in self._descriptions.items():
            self._writer.describe(uri, description)
        parts += self._writer.do_write({**pending.request, "tables": {}})["parts"]
        pending.commit(parts)
        for job in jobs:
            self._descriptions.pop(job.file.uri, None)
            self._opened.pop(job.file.uri, None)
            self._writer.do_forget({"uri": job.file.uri})
            if len(job.shards) > 1:
                remove_tree(layout.partials_folder(self.dataset.root, job.source_id))


def _described(told: Mapping[str, Any]) -> MediaDescription:
    streams = tuple(StreamDescription(**stream) for stream in told["streams"])
    return MediaDescription(**{**told, "streams": streams})
