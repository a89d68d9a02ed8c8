"""What a run has done so far, and reporting it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from framemill.cluster.request import Reporter, SessionStats, Snapshot
from framemill.cluster.run.jobs import Job
from framemill.cluster.run.tally import Tally
from framemill.cluster.run.work import Measured, Work
from framemill.ops import OPS, PLUGINS

if TYPE_CHECKING:
    from framemill.cluster.run.job_list import Jobs
    from framemill.cluster.run.messages import Figures

REPORT_SECONDS = 0.2


@dataclass(slots=True)
class Outcome:
    """What a run of an engine gave besides its jobs.

    Attributes:
        frames: frames decoded.
        seconds: stage or operation -> seconds of work, added over threads and workers.
        providers: model role -> what ran it.
        sessions: model role -> state of its session, see `actors.session_stats`.
        device_memory_bytes: the most device memory in use at once, by whomever; 0 without a device.
        ended_by: number of the signal that ended it early, 0 for none.
    """

    frames: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    sessions: Mapping[str, SessionStats] = field(default_factory=dict)
    device_memory_bytes: int = 0
    ended_by: int = 0

    @property
    def interrupted(self) -> bool:
        """Whether it was ended early."""
        return self.ended_by != 0


class Progress:
    """Adds up the figures of the workers of a run, some of which may have died meanwhile."""

    def __init__(
        self,
        jobs: Jobs | Sequence[Job],
        num_cached: int,
        started: float,
        work: Work | None = None,
        through: Tally | None = None,
    ) -> None:
        self.outcome = Outcome()
        self._through = through or Tally()
        self._jobs = jobs
        self._num_cached = num_cached
        self._started = started
        self._work = work
        self._next_report = 0.0
        self._figures: dict[str, Figures] = {}
        self._notes: dict[str, None] = {}
        self._num_reported = 0

    def record(self, worker: str, figures: Figures) -> None:
        """Takes what a worker did since its start; `worker` is a name that no other of the run had.

        Of a worker that does several things at once, figures may come late: the larger are the newer.
        """
        known = self._figures.get(worker)
        if known is None or figures.frames >= known.frames:
            self._figures[worker] = figures
        all_figures = self._figures.values()
        outcome = self.outcome
        outcome.frames = sum(each.frames for each in all_figures)
        stages = {stage for each in all_figures for stage in each.seconds}
        outcome.seconds = {s: sum(each.seconds.get(s, 0.0) for each in all_figures) for s in stages}
        outcome.providers = {**outcome.providers, **figures.providers}
        outcome.sessions = {**outcome.sessions, **figures.sessions}
        outcome.device_memory_bytes = max(outcome.device_memory_bytes, figures.device_memory_bytes)
        self._notes.update(dict.fromkeys(figures.notes))

    def report(self, reporter: Reporter) -> None:
        """Shows progress, a few times a second at most."""
        for note in list(self._notes)[self._num_reported :]:
            reporter.message(1, note)
        self._num_reported = len(self._notes)
        now = time.monotonic()
        if now < self._next_report:
            return
        through = self._through
        done = [job for job in self._jobs if job.state in ("finished", "committed")]
        measured = self._work.measure(now) if self._work is not None else Measured(total=None)
        reporter.progress(
            Snapshot(
                files_done=through.num_committed + len(done) + self._num_cached,
                files_total=len(self._jobs) + self._num_cached,
                files_failed=through.num_failed + sum(job.is_failed for job in done),
                frames=self.outcome.frames,
                rows=through.rows.total() + sum(sum(job.rows.values()) for job in self._jobs),
                media_seconds_done=through.media_seconds + sum(job.duration_seconds for job in done),
                media_seconds_total=through.media_seconds + sum(job.duration_seconds for job in self._jobs),
                elapsed_seconds=now - self._started,
                stage="finishing" if self.outcome.interrupted else "extracting",
                work_done=measured.done,
                work_total=measured.total,
                file=measured.file,
                slowest=self._slowest(),
            )
        )
        # With many jobs at once the counting takes a while: at most a twentieth of the time goes there.
        self._next_report = now + max(REPORT_SECONDS, 20 * (time.monotonic() - now))

    def _slowest(self) -> str:
        took = {name: s for name, s in self.outcome.seconds.items() if name in OPS or name in PLUGINS}
        return max(took, key=lambda name: took[name], default="")
