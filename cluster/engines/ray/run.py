"""A run on a Ray cluster.

The driver lists sources and commits; hashing, indexing, decoding and inference run on the workers, as one
Ray Data pipeline: `sources -> open_sources -> one task a row -> pool of actors -> results`. Small files skip
`open_sources`: actors open them by themselves. The list goes through the object store: to read it back
from Parquet, Ray 2.60 starts 32 actors for footers alone, which takes a small cluster minutes. What an actor
was working on when it died runs alone in a further round; what dies alone twice is quarantined.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import ray
import ray.data
import ray.exceptions

from framemill.cluster.engines.base import Setup
from framemill.cluster.engines.ray.connecting import beside_driver
from framemill.cluster.engines.ray.head import HeadWatch
from framemill.cluster.engines.ray.merging import Merges
from framemill.cluster.engines.ray.messages import ActorConfig, Piece, PieceResult, TaskResult
from framemill.cluster.engines.ray.opening import task_tables
from framemill.cluster.engines.ray.pipeline import PlannedSources, plan_tasks, run_actors, to_dataset
from framemill.cluster.engines.ray.placing import alive_nodes, plan_room
from framemill.cluster.engines.ray.pools import Pool
from framemill.cluster.engines.ray.ray_logging import describe_end, log_to_file
from framemill.cluster.engines.ray.split import open_decoders
from framemill.cluster.engines.ray.stalls import StallWatch, describe_stall
from framemill.cluster.engines.ray.stream import ResultStream, settle_data
from framemill.cluster.engines.run import DEADLINE_SECONDS, Run
from framemill.cluster.results.commits import Part
from framemill.cluster.run.committing import PendingCommit, PendingRun
from framemill.cluster.run.failures import error_from
from framemill.cluster.run.jobs import Job, remembered_id
from framemill.cluster.run.messages import Failure, decode
from framemill.cluster.run.part_writer import PartWriter
from framemill.errors import FramemillError, SetupError
from framemill.ops import load_op
from framemill.ops.media import MediaDescription
from framemill.ops.operation import Op, Reads

WATCH_SECONDS = 5.0
# After a Ctrl-C, what is at work may finish for so long; after SIGTERM for less: three seconds after its own,
# `ray job stop` kills.
LAST_SECONDS = 5.0
TERMINATED_SECONDS = 0.5
COORDINATOR_SECONDS = 300.0  # it answers within milliseconds


class RayRun(Run):
    """A run through pools of actors.

    Ray must be connected, and `pool` must fit the cluster (`engines.ray.connecting`). `runner` and
    `coordinator` are handles of a `PipelineRunner` and the run's `Coordinator`.
    """

    # Parts are committed with all jobs whose rows they hold.
    most_sources = sys.maxsize

    def __init__(self, setup: Setup, pool: Pool, runner: Any, coordinator: Any) -> None:
        super().__init__(setup)
        log_to_file(setup.request.verbosity)  # again, for Ray Data is imported now
        settle_data()
        self.pool = pool
        worker = msgspec.structs.replace(setup.config, profile="", threads=pool.threads)
        self._actor_config = ActorConfig(
            worker=worker,
            stages=tuple(tuple(stage) for stage in setup.plan.stages()),
            gpus=pool.gpus,
            deadline_seconds=DEADLINE_SECONDS,
            deadline_factor=setup.request.deadline_factor,
        )
        # Parts that wait for their jobs: of tasks whose jobs all finish with them, and by uri.
        self._parts: list[Part] = []
        self._held: dict[str, list[Part]] = {}
        # Pieces for a further round: those that were at work when something died, alone; and others.
        self._again: list[Piece] = []
        self._next: list[Piece] = []
        self._opened: dict[str, Piece] = {}
        self._descriptions: dict[str, MediaDescription] = {}
        self._copies: dict[str, list[PieceResult]] = {}
        self._owned: set[str] = set()
        state = setup.dataset.state
        self._changed = {
            file.uri
            for file in map(setup.jobs.file, setup.jobs.left())
            if file.uri in state.sources and not remembered_id(file, state)
        }
        self._writer = PartWriter(setup.dataset.root, worker.run_id, worker.keys)
        self._stall = StallWatch(setup.request.stall_seconds)
        self._next_watch = 0.0
        self._give_up = 0.0
        self._head = HeadWatch(ray.get_runtime_context().gcs_address)
        self._coordinator = coordinator
        self._runner = runner
        self._stream: ResultStream | None = None
        self._room = plan_room(alive_nodes())
        self._merges = Merges(self._actor_config, self._coordinator, self._room)
        self._decoders = None
        if pool.decoders is not None:
            self._decoders = open_decoders(pool, beside_driver(), worker.sandbox)

    def start(self) -> None:
        self.reporter.message(1, f"working with {self.pool.describe()}")

    def close(self, has_failed: bool) -> None:
        """Kills every actor; what died with some of its parts written belongs to no commit."""
        if self._head.is_lost:
            return  # nothing can be told to anybody; the workers end by themselves
        actors: list[bytes] = []
        with contextlib.suppress(ray.exceptions.RayError):
            actors = ray.get(self._coordinator.stop.remote(), timeout=LAST_SECONDS)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(self._runner)  # it ends the pipeline, which would miss the actors
            for actor in actors:
                ray.kill(pickle.loads(actor))
            if self._decoders is not None:
                ray.kill(self._decoders)  # and with it those that it owns
        self._merges.cancel()
        with contextlib.suppress(FramemillError):
            self.dataset.recover()

    def explain(self, error: BaseException) -> BaseException:
        """What a worker said before it ended the pipeline, or that the cluster failed."""
        if not isinstance(error, ray.exceptions.RayError):
            return error
        with contextlib.suppress(ray.exceptions.RayError):
            if failure := ray.get(self._coordinator.failure.remote(), timeout=LAST_SECONDS):
                return error_from(failure)
        return FramemillError(describe_end(error))

    def interrupt(self) -> None:
        allowed = TERMINATED_SECONDS if self.progress.outcome.ended_by == signal.SIGTERM else LAST_SECONDS
        self._give_up = time.monotonic() + allowed
        self._coordinator.stop.remote()

    # --- rounds of the pipeline --------------------------------------------------------------------

    def place(self) -> None:
        """Begins the next round once the one before is through."""
        if self._stream is None:
            sources = PlannedSources(self.jobs, self._changed)
            tasks = plan_tasks(sources, self.pool, self._room, self._actor_config, self._coordinator)
            self._begin_round(tasks, is_alone=False)
        elif self._stream.is_done and not self._merges and (self._next or self._again):
            is_alone = not self._next
            pieces = self._again if is_alone else self._next
            self._next = []
            self._again = [] if is_alone else self._again
            self._begin_round(to_dataset(task_tables(pieces)), is_alone, most=len(pieces))

    def is_idle(self) -> bool:
        if self._stream is None or (self._give_up and time.monotonic() > self._give_up):
            return True
        is_through = self._stream.is_done and not self._merges
        return is_through and (bool(self._give_up) or not (self._next or self._again))

    def _begin_round(self, tasks: ray.data.Dataset, is_alone: bool, most: int = 1 << 30) -> None:
        """Runs tasks through a pool of actors.

        Args:
            most: actors that find something to do.
        """
        # What was at work when a decoder died is decoded by the actor itself: its death tells who did it.
        decoders = None if is_alone else self._decoders
        config = msgspec.structs.replace(self._actor_config, is_alone=is_alone)
        results = run_actors(tasks, most, self.pool, config, self._coordinator, decoders)
        self._stream = ResultStream(self._runner, results)

    def take(self, timeout_seconds: float) -> None:
        stream = self._stream
        if stream is not None and not stream.is_done:
            for text in stream.take(timeout_seconds):
                self._stall.note()
                self._take_result(decode(text, TaskResult))
            timeout_seconds = 0.0
        self._take_merges(timeout_seconds)
        self._watch()

    def _watch(self) -> None:
        """Kills actors that hold a task for too long, and says so when nothing happens at all."""
        if time.monotonic() < self._next_watch:
            return
        self._next_watch = time.monotonic() + WATCH_SECONDS
        if not self._head.check():
            return  # whatever is asked of the cluster now may take a minute
        if self._decoders is not None:
            self._decoders.maintain.remote()
        nodes = [node["NodeID"] for node in alive_nodes()]
        asked = [self._coordinator.watch.remote(nodes), self._coordinator.said.remote()]
        (num_at_work, late), said = ray.get(asked, timeout=COORDINATOR_SECONDS)
        for text in said:
            self.reporter.message(0, text)
        for actor in late:
            self.reporter.message(1, "a task took too long (raise `deadline_factor` if it may): a new actor")
            ray.kill(pickle.loads(actor), no_restart=False)
        waited = self._stall.waited(num_at_work)
        is_over = self._stall.idle_seconds > self.request.room_seconds
        if waited or is_over:
            self._tell_stall(self._stall.idle_seconds, nodes, is_over)

    def _tell_stall(self, seconds: float, nodes: Sequence[str], is_over: bool) -> None:
        """Says what waits for what, or ends the run with that."""
        left = self.jobs.num_left - len(self._merges)
        there = ray.get(self._coordinator.count_actors.remote(nodes), timeout=COORDINATOR_SECONDS)
        text = describe_stall(seconds, left, len(self._merges), self.pool, there)
        if is_over:
            limit = f"after {self.request.room_seconds:g} s without any work (`room_seconds`)"
            raise SetupError(f"the run ends {limit}: what is committed stays, run it again to go on. {text}")
        self.reporter.message(0, text)

    # --- what came back ----------------------------------------------------------------------------

    def _take_result(self, result: TaskResult) -> None:
        if result.fatal is not None:
            self.refuse(_on_a_worker(result.fatal))
        for piece in result.suspects:
            job = self.jobs.of(piece.source.uri)
            if job.state not in ("new", "open"):
                continue
            if piece.opened is not None:
                job.source_id = piece.opened.source_id
            # A divided source stays divided; others are opened anew, which may be what is dangerous.
            self._again.append(piece if piece.is_divided else Piece(source=piece.source))
            uri = piece.source.uri
            self.reporter.message(1, f"a worker died while {uri} was at work: it runs alone next")
        for uri, source_id in result.quarantined.items():
            job = self.jobs.of(uri)
            job.source_id = source_id or job.source_id
            if job.state in ("new", "open"):
                self.quarantine(job, "ended its worker process or took too long, twice")
            self._own(job.source_id)
        self._next += result.cut
        pieces = result.pieces
        if len(pieces) == 1 and pieces[0].piece.source.uri in self._changed:
            self._held.setdefault(pieces[0].piece.source.uri, []).extend(result.parts)
        else:
            self._parts += result.parts
        for each in pieces:
            self._take_piece(each)
        if result.figures is not None:
            self.progress.record(result.actor, result.figures)

    def _take_piece(self, result: PieceResult) -> None:
        piece, opened = result.piece, result.piece.opened
        assert opened is not None
        job = self.jobs.of(piece.source.uri)
        if piece.is_copy and opened.source_id not in self._owned:
            self._copies.setdefault(opened.source_id, []).append(result)
            return
        if job.state == "new":
            if piece.description is not None:
                self._descriptions[job.file.uri] = piece.description
            self._opened[job.file.uri] = piece
            self.states.opened(job, opened)
            self._own(job.source_id)
        if job.state == "open" and not job.is_duplicate:
            if result.failed is not None:
                self.fail(job, _on_a_worker(result.failed))
            elif result.done is not None and piece.shard_index in job.waiting:
                job.waiting.remove(piece.shard_index)
                if len(job.shards) == 1:
                    job.stages = job.stages[-1:]  # the actor went through all of them
                self.tell_traces(result.done.traces)
                self.states.shard_done(job, result.done)
        self.states.open.clear()  # the pipeline has its own order
        while self.states.to_merge:
            self._start_merge(self.states.to_merge.popleft())

    def _own(self, source_id: str) -> None:
        """The first with some content is known: now come its copies that were faster."""
        self._owned.add(source_id)
        for copy in self._copies.pop(source_id, ()):
            self._take_piece(copy)

    def _start_merge(self, job: Job) -> None:
        request = self.merge_request(job, self._earlier)
        # Laying rows end to end takes no model.
        runs_models = any(
            self.plan.ops[op].key["models"]
            for op in request.ops
            if self.plan.ops[op].reads is Reads.TABLES or load_op(op).merge is not Op.merge
        )
        self._merges.start(job, request, self.pool.gpus if runs_models else 0.0)

    def _earlier(self, job: Job, ops: Sequence[str]) -> dict[str, tuple[Part, ...]]:
        """As `JobStates.earlier`, with what the first stage of this source wrote and nobody committed yet."""
        earlier = self.states.earlier(job, ops)
        for part in self._held.get(job.file.uri, ()):
            if part.table in earlier:
                earlier[part.table] = (*earlier[part.table], part)
        return earlier

    def _take_merges(self, timeout_seconds: float) -> None:
        for job, result in self._merges.take(timeout_seconds):
            self._stall.note()
            if result.failed is not None:
                self.fail(job, _on_a_worker(result.failed))
                continue
            self._held.setdefault(job.file.uri, []).extend(result.parts)
            self.tell_traces(result.merged.traces)
            self.states.merged(job, result.merged)
            if self.states.open:
                # The second decode of a divided source: its frames, now that its shots are known.
                self.states.open.clear()
                self._next += self._next_stage(job)

    def _next_stage(self, job: Job) -> list[Piece]:
        piece = self._opened[job.file.uri]
        ops = piece.claim.ops
        stage = sum(not set(ops).isdisjoint(each) for each in self.plan.stages()) - len(job.stages)
        claim = msgspec.structs.replace(piece.claim, earlier=self._earlier(job, job.stages[0]))
        return [
            msgspec.structs.replace(piece, claim=claim, stage=stage, shard=shard, shard_index=i)
            for i, shard in enumerate(job.shards)
        ]

    # --- commits -----------------------------------------------------------------------------------

    def is_ready_to_commit(self, job: Job, is_last: bool) -> bool:
        """Changed files come last: their old rows may go only when no other file may still have them."""
        return is_last or job.file.uri not in self._changed

    def write(self, pending: PendingCommit | PendingRun) -> None:
        """Writes rows of `media`, `errors` and `runs`, and parts without what is replaced.

        They are little, and it takes the whole run to know them; all else the workers wrote.
        """
        request = msgspec.structs.replace(pending.request, tables={})
        written = self._writer.write(request, {}, self._descriptions.__getitem__)
        if written.refused:
            return self.write_without(pending, written.refused)
        parts: list[Part] = []
        if pending.jobs:
            parts, self._parts = self._parts, []
        for job in pending.jobs:
            held = self._held.pop(job.file.uri, [])
            parts += held if job.is_usable else []
        self.commit(pending, [*parts, *written.parts])

    def forget(self, job: Job) -> None:
        self._descriptions.pop(job.file.uri, None)
        self._opened.pop(job.file.uri, None)


def _on_a_worker(failure: Failure) -> Failure:
    """Where a failure that concerns the run was met; one that concerns a file says enough."""
    if not failure.fatal:
        return failure
    return msgspec.structs.replace(failure, message=f"{failure.message} (on a worker)")
