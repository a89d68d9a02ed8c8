"""The engine of one machine, and when it starts its worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from framemill.cluster.engines.base import Engine, Setup
from framemill.cluster.engines.local.process import WorkerProcess
from framemill.cluster.machine import visible_gpus
from framemill.errors import UsageError

if TYPE_CHECKING:
    from framemill.cluster.run.committing import PendingRun
    from framemill.cluster.run.progress import Outcome


class LocalEngine(Engine):
    """A supervisor in this process, and worker processes beside it.

    For models there is one for each GPU; without any GPU there are as many as the cores need.
    """

    name = "local"
    _worker: WorkerProcess | None = None

    def check(self) -> None:
        if self.request.topology == "split":
            raise UsageError("`topology='split'` needs Ray: add `engine='ray'` or `address`, or leave it out")

    def prepare(self) -> None:
        self._worker = self._worker or _first_worker()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.close()

    def run(self, setup: Setup, conclude: Callable[[Outcome], PendingRun]) -> Outcome:
        from framemill.cluster.engines.local.run import LocalRun
        from framemill.cluster.engines.local.worker_counts import count_workers
        from framemill.cluster.run.needed_models import require_models

        report = setup.reporter.message
        require_models(setup.plan, setup.jobs.ops, setup.request, lambda text: report(0, text))
        workers = [self._worker or _first_worker()]
        self._worker = None  # the run owns it now
        gpus = visible_gpus()
        if not gpus:
            workers += [WorkerProcess("", workers[0]) for _ in range(count_workers(setup) - 1)]
        elif any(setup.plan.ops[op].key["models"] for op in setup.jobs.ops):
            workers += [WorkerProcess(gpu, workers[0]) for gpu in gpus[1:]]
        return LocalRun(setup, workers).run(conclude)


def _first_worker() -> WorkerProcess:
    gpus = visible_gpus()
    return WorkerProcess(gpus[0] if len(gpus) > 1 else "")
