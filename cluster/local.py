"""The local engine: a small supervisor, and one worker process that does the work.

The supervisor plans, watches and commits; it touches no media and no arrays. When the worker dies, what was
at work runs alone next; a source that kills its worker twice on its own is quarantined.
"""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cluster import layout
from cluster.committing import PendingCommit
from cluster.dataset import Dataset
from cluster.flow import Flow
from cluster.jobs import Job
from cluster.planning import OpsPlan
from cluster.request import ExtractRequest, Reporter, Snapshot
from cluster.workerprocess import WorkerProcess, describe_death
from models import errors
from models.errors import DatasetError, FramemillError, SetupError

# Finished sources wait this long for others, so that one part and one commit serve many.
COMMIT_SECONDS = 2.0
COMMIT_SOURCES = 256
# A shard may take this long, plus `deadline_factor` times its duration.
DEADLINE_SECONDS = 120.0
DEATHS_ALONE = 2
TICK_SECONDS = 0.1


@dataclass(slots=True)
class _Task:
    kind: str
    job: Job | None
    started: float
    deadline: float
    pending: PendingCommit | None = None


@dataclass(slots=True)
class Outcome:
    """What a run of the engine tells besides its jobs."""

    frames: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    interrupted: bool = False


class LocalRun:
    """One run over some jobs. `worker` may have been started ahead, unconfigured."""

    def __init__(
        self,
        request: ExtractRequest,
        reporter: Reporter,
        dataset: Dataset,
        plan: OpsPlan,
        jobs: list[Job],
        config: Mapping[str, Any],
        worker: WorkerProcess,
        started: float,
        num_cached: int,
    ) -> None:
        self.request = request
        self.reporter = reporter
        self.dataset = dataset
        self.plan = plan
        self.jobs = jobs
        self.config = config
        self.worker = worker
        self.flow = Flow(dataset, plan, request.retry_failed)
        self.outcome = Outcome()
        self._started = started
        self._num_cached = num_cached
        # The longest first: the last source to finish should be a short one.
        self._new = deque(sorted(jobs, key=lambda job: -job.file.num_bytes))
        self._suspects: deque[Job] = deque()
        self._tasks: dict[int, _Task] = {}
        self._next_id = 0
        self._last_commit = 0.0
        self._frames_before = 0
        self._frames_now = 0
        self._last_progress = 0.0
        self._stopping = False
        self._blame: Job | None = None
        self._blame_reason = ""
        self._is_ready = False

    def run(self) -> Outcome:
        """Works until every job is committed, or until it is interrupted.

        Raises:
            FramemillError: the run cannot go on (a model or the storage); what was committed stays.
        """
        self._suspect_marked()
        self.worker.configure(self.config)
        try:
            try:
                self._loop()
            except KeyboardInterrupt:
                self.outcome.interrupted = self._stopping = True
                self.reporter.message(
                    0, "interrupted: committing what is finished (press Ctrl-C again to stop at once)"
                )
                self._loop()
            if not self.outcome.interrupted:
                self._ask_report()
        finally:
            self._marks_file().unlink(missing_ok=True)
            if self._tasks:
                self.worker.kill()
            self.worker.close()
        self.outcome.frames = self._frames_before + self._frames_now
        return self.outcome

    def _loop(self) -> None:
        while True:
            self._schedule()
            if not self._tasks:
                return
            with contextlib.suppress(queue.Empty):
                self._handle(self.worker.messages.get(timeout=TICK_SECONDS))
            self._watch()
            self._tell()

    # --- what to do next ---------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._stopping:
            self._schedule_work()
        if self.flow.finished and not any(task.kind == "write" for task in self._tasks.values()):
            idle = self._stopping or not any(task.kind != "write" for task in self._tasks.values())
            waited = time.monotonic() - self._last_commit
            if idle or waited >= COMMIT_SECONDS or len(self.flow.finished) >= COMMIT_SOURCES:
                self._write()

    def _schedule_work(self) -> None:
        busy = [task.job for task in self._tasks.values() if task.job is not None]
        alone = next((job for job in busy if job.is_suspect), None)
        if alone is None and self._suspects:
            if not busy and not self.flow.open:
                self._start_open(self._suspects.popleft())
            if not self.flow.open:
                return
        while self.flow.to_merge:
            self._start_merge(self.flow.to_merge.popleft())
        room = self.config["in_flight"]
        shards = sum(task.kind == "shard" for task in self._tasks.values())
        while self.flow.open and shards < room:
            job = self.flow.open[0]
            if not job.waiting:
                self.flow.open.popleft()
                continue
            self._start_shard(job, job.waiting.pop(0))
            shards += 1
        opening = sum(task.kind == "open" for task in self._tasks.values())
        waiting = len(self.flow.open)
        while self._new and alone is None and not self._suspects and opening + waiting < room + 1:
            self._start_open(self._new.popleft())
            opening += 1

    def _send(self, kind: str, job: Job | None, seconds: float, message: Mapping[str, Any]) -> _Task:
        self._next_id += 1
        now = time.monotonic()
        task = _Task(kind, job, now, now + DEADLINE_SECONDS + self.request.deadline_factor * seconds)
        self._tasks[self._next_id] = task
        if job is not None:
            job.running += 1
            self._write_marks()
        self.worker.send({"id": self._next_id, "do": kind, **message})
        return task

    def _start_open(self, job: Job) -> None:
        job.state = "opening"
        # A terabyte an hour is the slowest storage that is waited for.
        self._send("open", job, job.file.num_bytes / 3e8, {"uri": job.file.uri, "path": job.file.path})

    def _start_shard(self, job: Job, shard_index: int) -> None:
        shard = job.shards[shard_index]
        ops = job.stages[0]
        waiting = sum(len(other.waiting) for other in self.flow.open) + len(self._new)
        busy = sum(task.kind == "shard" for task in self._tasks.values())
        shots = None
        if self.plan.sampling.kind == "scenes" and "scenes" not in ops:
            shots = [asdict(part) for part, _ in self.dataset.plan_drop("scenes", {job.source_id})]
        self._send(
            "shard",
            job,
            shard["seconds"],
            {
                "uri": job.file.uri,
                "path": job.file.path,
                "source_id": job.source_id,
                "shard": shard,
                "shard_index": shard_index,
                "num_shards": len(job.shards),
                "ops": ops,
                "shots": shots,
                # Alone, a file may use every core; beside others, one thread decodes best.
                "threads": max(1, self.config["threads"] // (1 + waiting + busy)),
            },
        )

    def _start_merge(self, job: Job) -> None:
        failed = {failure.operation for failure in job.failures}
        ops = [op for op in job.stages[0] if op not in failed]
        message = {"source_id": job.source_id, "ops": ops, "num_shards": len(job.shards)}
        self._send("merge", job, job.duration_seconds, message)

    def _write(self) -> None:
        batch, self.flow.finished = self.flow.finished[:COMMIT_SOURCES], self.flow.finished[COMMIT_SOURCES:]
        pending = PendingCommit(self.dataset, self.plan, self.config["run_id"], batch)
        self._send("write", None, 3600.0, pending.request).pending = pending

    # --- what came back ----------------------------------------------------------------------------

    def _handle(self, message: Mapping[str, Any]) -> None:
        if "died" in message:
            self._bury(message["died"])
        elif "ready" in message:
            self._is_ready = True
        elif "frames" in message:
            self._frames_now = message["frames"]
        elif (task := self._tasks.pop(message["id"], None)) is not None:
            if task.job is not None:
                task.job.running -= 1
            if "failed" in message:
                self._failed(task, message["failed"])
            else:
                getattr(self, "_after_" + task.kind)(task, message["done"])

    def _failed(self, task: _Task, failure: Mapping[str, Any]) -> None:
        if failure["trace"]:
            self.reporter.message(2, failure["trace"])
        if failure["fatal"] or task.job is None:
            kind = getattr(errors, failure["error"], FramemillError)
            raise kind(failure["message"])
        self.flow.failed(task.job, failure)

    def _after_open(self, task: _Task, done: Mapping[str, Any]) -> None:
        assert task.job is not None
        self.flow.opened(task.job, done)

    def _after_shard(self, task: _Task, done: Mapping[str, Any]) -> None:
        assert task.job is not None
        self.flow.shard_done(task.job, done)

    def _after_merge(self, task: _Task, done: Mapping[str, Any]) -> None:
        assert task.job is not None
        self.flow.merged(task.job, done)

    def _after_write(self, task: _Task, done: Mapping[str, Any]) -> None:
        assert task.pending is not None
        task.pending.commit(done["parts"])
        self._last_commit = time.monotonic()
        for job in task.pending.jobs:
            self.worker.send({"id": 0, "do": "forget", "uri": job.file.uri})
            if len(job.shards) > 1:
                shutil.rmtree(layout.partials_folder(self.dataset.root, job.source_id), ignore_errors=True)

    def _after_report(self, task: _Task, done: Mapping[str, Any]) -> None:
        self.outcome.seconds, self.outcome.providers = done["seconds"], done["providers"]

    def _ask_report(self) -> None:
        self._send("report", None, 0.0, {})
        self._loop()

    # --- when things go wrong ----------------------------------------------------------------------

    def _watch(self) -> None:
        """Kills a worker that holds a shard for too long, or takes too much memory."""
        now = time.monotonic()
        late = next((t for t in self._tasks.values() if now > t.deadline and t.job is not None), None)
        if late is not None:
            self._blame = late.job
            self._blame_reason = f"took longer than {late.deadline - late.started:.0f} seconds (raise --deadline-factor if it may)"
            self.worker.kill()
        elif self._tasks and self.worker.memory_bytes() > self.config["memory_bytes"]:
            self._blame_reason = (
                f"took more than {self.config['memory_bytes'] >> 20} MiB of memory (raise --memory if it may)"
            )
            self.worker.kill()

    def _bury(self, code: int) -> None:
        """The worker is dead: finds out whom to suspect, and starts another."""
        reason = self._blame_reason or f"ended its worker process ({describe_death(code)})"
        busy = {id(t.job): t.job for t in self._tasks.values() if t.job is not None}
        if not self._is_ready or (not busy and not any(t.kind == "write" for t in self._tasks.values())):
            raise SetupError(
                f"the worker process ended at its start ({describe_death(code)}); run `framemill doctor`. "
                f"It said: {self.worker.last_words() or 'nothing'}"
            )
        self.reporter.message(
            1, f"a worker died ({reason}); starting another. It said: {self.worker.last_words()}"
        )
        guilty = self._blame or (next(iter(busy.values())) if len(busy) == 1 else None)
        self._blame, self._blame_reason, self._is_ready = None, "", False
        self._frames_before, self._frames_now = self._frames_before + self._frames_now, 0
        self._tasks.clear()
        self.flow.clear()
        self._new.clear()
        self._suspects.clear()
        quarantined = []
        for job in self.jobs:
            if job.state == "committed":
                continue
            job.reset()
            if job is guilty:
                job.deaths += 1
            job.is_suspect = job.is_suspect or id(job) in busy
            if job.deaths >= DEATHS_ALONE:
                job.fail(
                    {
                        "status": "quarantined",
                        "error": "LimitError",
                        "message": f"quarantined: it {reason}, twice",
                        "transient": False,
                    }
                )
                quarantined.append(job)
            else:
                (self._suspects if job.is_suspect else self._new).append(job)
        for job in quarantined:
            self.flow.finish(job)
        self.worker.close()
        self.worker = WorkerProcess()
        self.worker.configure(self.config)

    def _marks_file(self) -> Any:
        return self.dataset.root / layout.SYSTEM_FOLDER / "in_flight.json"

    def _write_marks(self) -> None:
        """Notes what is at work, for a run after this one has been killed with the machine."""
        uris = sorted({t.job.file.uri for t in self._tasks.values() if t.job is not None})
        try:
            self._marks_file().write_text(json.dumps(uris))
        except OSError as exc:
            raise DatasetError(
                f"{self._marks_file()} cannot be written: {exc.strerror}; free some space"
            ) from exc

    def _suspect_marked(self) -> None:
        """What a killed run was working on runs alone first: it may be what killed it."""
        try:
            marked = set(json.loads(self._marks_file().read_text()))
        except (OSError, ValueError):
            return
        for job in [job for job in self._new if job.file.uri in marked]:
            self._new.remove(job)
            job.is_suspect = True
            self._suspects.append(job)

    # --- progress ----------------------------------------------------------------------------------

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._last_progress < 0.2:
            return
        self._last_progress = now
        done = [job for job in self.jobs if job.state in ("finished", "committed")]
        known = sum(job.duration_seconds for job in self.jobs)
        self.reporter.progress(
            Snapshot(
                files_done=len(done) + self._num_cached,
                files_total=len(self.jobs) + self._num_cached,
                files_failed=sum(job.is_failed for job in done),
                frames=self._frames_before + self._frames_now,
                rows=sum(sum(job.rows.values()) for job in self.jobs),
                media_seconds_done=sum(job.duration_seconds for job in done),
                media_seconds_total=known,
                elapsed_seconds=time.monotonic() - self._started,
                stage="finishing" if self._stopping else "extracting",
            )
        )
