"""Extraction without a result folder: files in, their tables in memory out."""

from __future__ import annotations

import logging
import queue
import tempfile
import threading
import time
from concurrent.futures import Future
from dataclasses import fields
from typing import TYPE_CHECKING

from framemill.cluster.request import ExtractRequest, SilentReporter
from framemill.cluster.results.commits import new_run_id
from framemill.errors import FramemillError, UsageError

if TYPE_CHECKING:
    from framemill.cluster.engines.local.serving import Asked, SourceTables
    from framemill.cluster.run.planning import OpsPlan

# Settings that say what is computed and with what; others speak of a result folder, or of a run.
MEANT = (
    *("ops", "sample", "video_track", "audio_track", "cascade", "options", "models", "quality", "precision"),
    *("require_provider", "accept_licence", "threads", "memory_bytes", "deadline_factor"),
    *("sandbox", "sandbox_allow"),
    *("actors", "actor_cpus", "actor_gpus", "actors_per_gpu"),
)
# What speaks of all files of a folder, and the command that makes it there.
OF_A_FOLDER = ("people", "duplicates", "thumbnails", "highlights")


def plan_in_memory(request: ExtractRequest) -> tuple[ExtractRequest, OpsPlan]:
    """Checks a request, as far as that is possible without working; also answers it with its models named.

    Raises:
        UsageError: a setting has no meaning without a result folder, or as `plan_ops`.
        ModelError: as `plan_ops`.
    """
    from framemill.actors.shards import SHARD_SECONDS
    from framemill.cluster.run.planning import plan_ops
    from framemill.cluster.run.precision import with_precision
    from framemill.cluster.run.quality import with_quality

    usual = ExtractRequest(sources=(), output="")
    for field in fields(ExtractRequest):
        value = getattr(request, field.name)
        if field.name not in MEANT and value != getattr(usual, field.name):
            raise UsageError(
                f"`{field.name}={value!r}` has no meaning where rows go on in memory: leave it out, or name "
                "a result folder by `output`"
            )
    for op in request.ops:
        if op in OF_A_FOLDER:
            raise UsageError(
                f"{op!r} looks at all files at once, and here each is looked at alone: extract into a result "
                f"folder by `output`, then run `framemill {op}` on it"
            )
    request = with_quality(request)
    request = with_precision(request, SHARD_SECONDS, {}, True, lambda text: None)
    return request, plan_ops(request, SHARD_SECONDS)


class _Logged(SilentReporter):
    """What a run tells of its workers, for who turns on the logger `framemill`."""

    def message(self, level: int, text: str) -> None:
        logging.getLogger("framemill").log(logging.INFO if level <= 0 else logging.DEBUG, text)


class InMemoryExtraction:
    """Holds one worker process with its models; files are asked for from any thread.

    Args:
        request: as `plan_in_memory` takes it. in_flight: pieces of files at work at once; 0 for one a thread.

    Raises:
        UsageError: the request is wrong. ModelError: a model cannot be had.
    """

    def __init__(self, request: ExtractRequest, in_flight: int = 0) -> None:
        from framemill.cluster.run.needed_models import require_models

        self.request, self.plan = plan_in_memory(request)
        require_models(self.plan, self.plan.ops, self.request, lambda text: None)
        self._in_flight = in_flight
        self._asked: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open: set[Future[SourceTables]] = set()
        self._failure: BaseException | None = None
        # The kernel ends the worker with the thread that started it, so that one lives as long.
        self._thread = threading.Thread(target=self._serve, name="framemill", daemon=True)
        self._thread.start()

    def ask(self, uri: str | None) -> Future[SourceTables]:
        """The tables of one file, once they are there; asked for again meanwhile, it is read once.

        The future raises FramemillError where nothing can be extracted any more.

        Args:
            uri: as `framemill.cluster.run.sources.find_source` takes it; None for a file that nobody named.
        """
        from framemill.cluster.engines.local.serving import Asked, nothing_of
        from framemill.cluster.run.sources import find_source

        answer: Future[SourceTables] = Future()
        if not uri:
            answer.set_result(
                nothing_of("", UsageError.__name__, "no file is named here: null, or an empty text")
            )
            return answer
        try:
            file = find_source(uri)
        except FramemillError as error:
            answer.set_result(nothing_of(uri, type(error).__name__, str(error)))
            return answer
        with self._lock:
            if self._failure is not None:
                answer.set_exception(self._failure)
                return answer
            self._open.add(answer)
        answer.add_done_callback(self._forget)
        self._asked.put(Asked(file, answer))
        return answer

    def close(self) -> None:
        """Ends the worker; what is at work is given up."""
        self._asked.put(None)
        self._thread.join()

    def _forget(self, answer: Future[SourceTables]) -> None:
        with self._lock:
            self._open.discard(answer)

    def _serve(self) -> None:
        failure: BaseException = FramemillError("this extraction was closed: open another one")
        try:
            self._run()
        except BaseException as error:  # crosses to those who wait
            failure = error
        with self._lock:
            self._failure = failure
            left = list(self._open)
        for answer in left:
            answer.set_exception(failure)

    def _run(self) -> None:
        from framemill.actors.shards import SHARD_SECONDS
        from framemill.cluster.engines.base import Setup
        from framemill.cluster.engines.local.process import WorkerProcess
        from framemill.cluster.engines.local.serving import AskedJobs, ServingRun
        from framemill.cluster.results.dataset import Dataset
        from framemill.cluster.run.sandbox_plan import sandbox_in_memory
        from framemill.cluster.run.worker_config import worker_config

        run_id = new_run_id()
        with tempfile.TemporaryDirectory(prefix="framemill-") as folder:
            dataset = Dataset.open(folder, create=True, constants={"shard_seconds": SHARD_SECONDS})
            jobs = AskedJobs(self.plan, dataset)
            sandbox = sandbox_in_memory(self.request, self.plan, dataset.root)
            setup = Setup(
                request=self.request,
                reporter=_Logged(),
                dataset=dataset,
                plan=self.plan,
                jobs=jobs,
                config=worker_config(self.request, self.plan, dataset, run_id, sandbox, self._in_flight),
                started=time.monotonic(),
            )
            with dataset.hold(run_id):
                ServingRun(setup, jobs, WorkerProcess(), self._asked).serve()
