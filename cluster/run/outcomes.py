"""What came of contents that are committed: it holds for further files with the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from framemill.actors.shortfalls import Delivered, add_up
from framemill.cluster.run.jobs import Job, JobFailure


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job leaves for another of the same content.

    Attributes:
        failures, keeps_partial: as in `Job`. duration_seconds: as well, None where it is as the file states.
        delivered: of all its pieces, but for the length.
    """

    failures: Sequence[JobFailure]
    keeps_partial: bool
    duration_seconds: float | None
    delivered: Delivered


class Outcomes:
    """Content id -> outcome. Those without a failure, as almost all of a million, share few objects."""

    def __init__(self) -> None:
        self._plain: dict[str, Outcome] = {}
        self._shared: dict[Delivered, Outcome] = {}
        self._others: dict[str, Outcome] = {}

    def __contains__(self, source_id: str) -> bool:
        return source_id in self._plain or source_id in self._others

    def put(self, job: Job) -> None:
        """Remembers a committed job, unless one of the same content is known."""
        if job.source_id in self:
            return
        outcome = outcome_of(job)
        if outcome.failures or outcome.keeps_partial or outcome.duration_seconds != job.stated_seconds:
            self._others[job.source_id] = outcome
            return
        # Who opens the same bytes is told the same length.
        outcome = replace(outcome, duration_seconds=None)
        self._plain[job.source_id] = self._shared.setdefault(outcome.delivered, outcome)

    def get(self, source_id: str) -> Outcome | None:
        """What came of a content, None where none of it is committed."""
        return self._plain.get(source_id) or self._others.get(source_id)


def outcome_of(job: Job) -> Outcome:
    """That of a finished job."""
    told = replace(add_up(job.delivered.values()), duration_seconds=None)
    return Outcome(tuple(job.failures), job.keeps_partial, job.duration_seconds, told)
