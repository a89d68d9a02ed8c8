"""Figures of a run add up over the workers that it used."""

from __future__ import annotations

from framemill.cluster.request import SilentReporter, Snapshot
from framemill.cluster.run.jobs import Job
from framemill.cluster.run.messages import Figures
from framemill.cluster.run.progress import Progress
from framemill.cluster.run.source_files import SourceFile


class Screen(SilentReporter):
    """Remembers what was shown."""

    def __init__(self) -> None:
        self.shown: list[Snapshot] = []
        self.said: list[tuple[int, str]] = []

    def progress(self, snapshot: Snapshot) -> None:
        self.shown.append(snapshot)

    def message(self, level: int, text: str) -> None:
        self.said.append((level, text))


def _job(state: str, rows: int) -> Job:
    job = Job(SourceFile("/a", "/a", 1, 1), state=state, duration_seconds=2.0)
    job.rows = {"frames": rows}
    return job


def test_a_second_worker_counts_on_top_of_the_first() -> None:
    progress = Progress([], 0, 0.0)
    progress.record("first", Figures(frames=5, seconds={"read": 1.0}, providers={"vad": "cpu"}))
    second = Figures(frames=9, seconds={"read": 2.0, "hash": 0.5}, providers={"vad": "cpu"})
    progress.record("first", second)
    progress.record("second", Figures(frames=1, seconds={"read": 0.25}))
    progress.record("second", Figures(frames=4, seconds={"read": 0.5}))
    assert progress.outcome.frames == 13
    assert progress.outcome.seconds == {"read": 2.5, "hash": 0.5}
    assert progress.outcome.providers == {"vad": "cpu"}


def test_progress_is_shown_now_and_then() -> None:
    screen = Screen()
    progress = Progress([_job("committed", 3), _job("finished", 4), _job("open", 5)], 10, 0.0)
    for _ in range(100):
        progress.report(screen)
    (shown,) = screen.shown
    assert (shown.files_done, shown.files_total, shown.rows) == (12, 13, 12)
    assert (shown.media_seconds_done, shown.media_seconds_total) == (4.0, 6.0)


def test_what_a_model_runs_on_is_said_once() -> None:
    screen, progress = Screen(), Progress([], 0, 0.0)
    for notes in (("vad: on cpu",), ("vad: on cpu", "objects: on cpu")):
        progress.record("first", Figures(notes=notes))
        progress.report(screen)
    progress.record("second", Figures(notes=("vad: on cpu",)))
    progress.report(screen)
    assert screen.said == [(1, "vad: on cpu"), (1, "objects: on cpu")]


def test_sessions_and_the_peak_of_device_memory_outlive_a_worker() -> None:
    progress = Progress([], 0, 0.0)
    progress.record("first", Figures(sessions={"vad": {"max_batch": 32}}, device_memory_bytes=7))
    sessions: dict[str, dict[str, int]] = {"vad": {"max_batch": 8}, "faces": {}}
    progress.record("second", Figures(sessions=sessions, device_memory_bytes=5))
    assert progress.outcome.sessions == {"vad": {"max_batch": 8}, "faces": {}}
    assert progress.outcome.device_memory_bytes == 7
