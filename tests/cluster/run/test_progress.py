"""Figures of a run add up over the workers that it used."""

from __future__ import annotations

from framemill.cluster.request import SilentReporter, Snapshot
from framemill.cluster.run.jobs import Job
from framemill.cluster.run.progress import Tally
from framemill.cluster.run.sources import SourceFile


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
    tally = Tally([], 0, 0.0)
    tally.note({"frames": 5, "seconds": {"read": 1.0}, "providers": {"vad": "cpu"}, "notes": []})
    tally.note({"frames": 9, "seconds": {"read": 2.0, "hash": 0.5}, "providers": {"vad": "cpu"}, "notes": []})
    tally.begin_worker()
    tally.note({"frames": 1, "seconds": {"read": 0.25}, "providers": {}, "notes": []})
    tally.note({"frames": 4, "seconds": {"read": 0.5}, "providers": {}, "notes": []})
    assert tally.outcome.frames == 13
    assert tally.outcome.seconds == {"read": 2.5, "hash": 0.5}
    assert tally.outcome.providers == {"vad": "cpu"}


def test_progress_is_shown_now_and_then() -> None:
    screen = Screen()
    tally = Tally([_job("committed", 3), _job("finished", 4), _job("open", 5)], 10, 0.0)
    for _ in range(100):
        tally.tell(screen)
    (shown,) = screen.shown
    assert (shown.files_done, shown.files_total, shown.rows) == (12, 13, 12)
    assert (shown.media_seconds_done, shown.media_seconds_total) == (4.0, 6.0)


def test_what_a_model_runs_on_is_said_once() -> None:
    screen, tally = Screen(), Tally([], 0, 0.0)
    for notes in (["vad: on cpu"], ["vad: on cpu", "objects: on cpu"]):
        tally.note({"frames": 0, "seconds": {}, "providers": {}, "notes": notes})
        tally.tell(screen)
    tally.begin_worker()
    tally.note({"frames": 0, "seconds": {}, "providers": {}, "notes": ["vad: on cpu"]})
    tally.tell(screen)
    assert screen.said == [(1, "vad: on cpu"), (1, "objects: on cpu")]


def test_sessions_and_the_peak_of_device_memory_outlive_a_worker() -> None:
    tally = Tally([], 0, 0.0)
    told = {"frames": 0, "seconds": {}, "providers": {}, "notes": []}
    tally.note({**told, "sessions": {"vad": {"max_batch": 32}}, "device_memory_bytes": 7})
    tally.begin_worker()
    tally.note({**told, "sessions": {"vad": {"max_batch": 8}, "faces": {}}, "device_memory_bytes": 5})
    assert tally.outcome.sessions == {"vad": {"max_batch": 8}, "faces": {}}
    assert tally.outcome.device_memory_bytes == 7
