"""What a run has done so far, and saying so."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from framemill.cluster.request import Reporter, Snapshot
from framemill.cluster.run.jobs import Job

TELL_SECONDS = 0.2


@dataclass(slots=True)
class Outcome:
    """What a run of the engine tells besides its jobs.

    Attributes:
        frames: frames decoded.
        seconds: stage or operation -> seconds of work, added over threads.
        providers: model role -> what ran it.
        sessions: model role -> state of its session, see `actors.session_stats`.
        device_memory_bytes: the most device memory in use at once, by whomever; 0 without a device.
        interrupted: whether a person ended it early.
    """

    frames: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    sessions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device_memory_bytes: int = 0
    interrupted: bool = False


class Progress:
    """Adds up what the workers of a run tell, of which there are several when some died."""

    def __init__(self, jobs: Sequence[Job], num_cached: int, started: float) -> None:
        self.outcome = Outcome()
        self._jobs = jobs
        self._num_cached = num_cached
        self._started = started
        self._next_tell = 0.0
        self._notes: list[str] = []
        self._num_told = 0
        self._frames_before = 0
        self._seconds_before: Mapping[str, float] = {}

    def note(self, told: Mapping[str, Any]) -> None:
        """Takes what the present worker says of all that it has done."""
        self.outcome.frames = self._frames_before + told["frames"]
        seconds = dict(self._seconds_before)
        for stage, spent in told["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
        self.outcome.seconds = seconds
        self.outcome.providers = {**self.outcome.providers, **told["providers"]}
        self.note_devices(told)
        self._notes += [note for note in told["notes"] if note not in self._notes]

    def note_devices(self, told: Mapping[str, Any]) -> None:
        """Takes what a worker says of its sessions and of device memory."""
        self.outcome.sessions = {**self.outcome.sessions, **told.get("sessions", {})}
        peak = told.get("device_memory_bytes", 0)
        self.outcome.device_memory_bytes = max(self.outcome.device_memory_bytes, peak)

    def begin_worker(self) -> None:
        """The next worker counts from nothing."""
        self._frames_before = self.outcome.frames
        self._seconds_before = self.outcome.seconds

    def tell(self, reporter: Reporter) -> None:
        """Shows progress, a few times a second at most."""
        for note in self._notes[self._num_told :]:
            reporter.message(1, note)
        self._num_told = len(self._notes)
        now = time.monotonic()
        if now < self._next_tell:
            return
        done = [job for job in self._jobs if job.state in ("finished", "committed")]
        reporter.progress(
            Snapshot(
                files_done=len(done) + self._num_cached,
                files_total=len(self._jobs) + self._num_cached,
                files_failed=sum(job.is_failed for job in done),
                frames=self.outcome.frames,
                rows=sum(sum(job.rows.values()) for job in self._jobs),
                media_seconds_done=sum(job.duration_seconds for job in done),
                media_seconds_total=sum(job.duration_seconds for job in self._jobs),
                elapsed_seconds=now - self._started,
                stage="finishing" if self.outcome.interrupted else "extracting",
            )
        )
        # With a hundred thousand jobs the counting takes a while: at most a twentieth of the time goes there.
        self._next_tell = now + max(TELL_SECONDS, 20 * (time.monotonic() - now))
