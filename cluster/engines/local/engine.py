"""The engine of one machine, and when it starts its worker process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from framemill.cluster.engines.base import Engine, Setup
from framemill.cluster.engines.local.process import WorkerProcess
from framemill.errors import UsageError

if TYPE_CHECKING:
    from framemill.cluster.run.committing import PendingRun
    from framemill.cluster.run.progress import Outcome


class LocalEngine(Engine):
    """A supervisor in this process, and one worker process beside it."""

    name = "local"
    _worker: WorkerProcess | None = None

    def check(self) -> None:
        if self.request.topology == "split":
            raise UsageError("`topology='split'` needs Ray: add `engine='ray'` or `address`, or leave it out")

    def prepare(self) -> None:
        self._worker = WorkerProcess()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.kill()

    def run(self, setup: Setup, conclude: Callable[[Outcome], PendingRun]) -> Outcome:
        from framemill.cluster.engines.local.run import LocalRun
        from framemill.cluster.run.needed_models import require_models

        report = setup.reporter.message
        require_models(setup.plan, setup.jobs.ops, setup.request, lambda text: report(0, text))
        worker = self._worker or WorkerProcess()
        self._worker = None  # the run owns it now
        return LocalRun(setup, worker).run(conclude)
