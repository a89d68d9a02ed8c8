"""The seam between a run and where its work is placed.

An engine is a folder beside this file with a module `engine` (see `cluster.engines.ENGINES`). It says whether
it can serve a request, and runs its jobs: it places work and takes what comes back. What does not depend
on the place, such as when rows are committed, is `cluster.engines.run`.

Light on purpose: it is imported before the worker process of the local engine starts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from framemill.cluster.request import ExtractRequest, Reporter
    from framemill.cluster.results.dataset import Dataset
    from framemill.cluster.run.committing import PendingRun
    from framemill.cluster.run.job_list import Jobs
    from framemill.cluster.run.messages import WorkerConfig
    from framemill.cluster.run.planning import OpsPlan
    from framemill.cluster.run.progress import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What a run is given.

    Attributes:
        jobs: sources with something to compute.
        config: what workers have to know. started: monotonic time at which the run began.
    """

    request: ExtractRequest
    reporter: Reporter
    dataset: Dataset
    plan: OpsPlan
    jobs: Jobs
    config: WorkerConfig
    started: float


class Engine(ABC):
    """Where work can be placed. Made before it is known whether there is any."""

    name: ClassVar[str]

    def __init__(self, request: ExtractRequest) -> None:
        self.request = request

    def check(self) -> None:  # noqa: B027  an engine may leave it out
        """Refuses a request that it cannot serve, before anything is looked at.

        Raises:
            UsageError, SetupError: it cannot.
        """

    def prepare(self) -> None:  # noqa: B027  an engine may leave it out
        """There will be work: what takes long to start may start now. It may be said more than once."""

    def close(self) -> None:  # noqa: B027  an engine may leave it out
        """Ends what `prepare` started and no run took over."""

    @abstractmethod
    def run(self, setup: Setup, conclude: Callable[[Outcome], PendingRun]) -> Outcome:
        """Works until every job is committed or a person interrupts; see `cluster.engines.run.Run.run`.

        Raises:
            SetupError: something is missing here, such as a model or room; nothing was done.
            FramemillError: the run cannot go on; what was committed stays.
        """
