"""How many worker processes a run on many cores has: planned, simulated, and with the same rows."""

from __future__ import annotations

import heapq
import random
from pathlib import Path

import pytest

from framemill.cluster.engines.local import worker_counts
from framemill.cluster.engines.local.process import WorkerProcess
from framemill.cluster.engines.local.worker_counts import (
    HELD_IN_FILES,
    HELD_IN_MEDIA,
    LEAST_BYTES,
    Load,
    cores_of_one,
    efficiency,
    plan_workers,
)
from framemill.cluster.engines.local.workers import Workers
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.extraction import OPS, extract, render_clip, six_alike, tables_of

AMPLE = 1 << 40
# A thousand hours of film; a hundred thousand files of which only the index is wanted; and in between.
FILM = Load(shards=6000, media_seconds=40_000.0, file_seconds=50.0)
TINY = Load(shards=100_000, media_seconds=100.0, file_seconds=5_000.0)
CLIPS = Load(shards=10_000, media_seconds=2_000.0, file_seconds=500.0)


def simulated_efficiency(cores: int, held: float, turns: int = 40_000) -> float:
    """Cores that compute, then wait in a queue for a lock, hold it, and compute again."""
    rng = random.Random(cores)

    def compute() -> float:
        return rng.expovariate(1 / (1 - held))

    asking = [compute() for _ in range(cores)]
    heapq.heapify(asking)
    free = 0.0
    for _ in range(turns):
        free = max(free, heapq.heappop(asking)) + rng.expovariate(1 / held)
        heapq.heappush(asking, free + compute())
    return turns / free / cores


@pytest.mark.parametrize(("cores", "held"), [(1, 0.3), (2, 0.1), (8, 0.1), (16, 0.05), (4, 0.5), (64, 0.1)])
def test_the_formula_gives_what_a_simulation_of_the_lock_gives(cores: int, held: float) -> None:
    assert efficiency(cores, held) == pytest.approx(simulated_efficiency(cores, held), rel=0.03)


@pytest.mark.parametrize("load", [FILM, TINY, CLIPS])
@pytest.mark.parametrize("cores", [4, 8, 16, 48, 64, 96])
def test_planned_processes_reach_nine_tenths_of_the_ideal_on_many_cores(load: Load, cores: int) -> None:
    num = plan_workers(load, cores, AMPLE, 0)
    rooms = [cores // num + (number < cores % num) for number in range(num)]
    reached = sum(room * simulated_efficiency(room, load.held) for room in rooms) / cores
    assert reached >= 0.9


def test_one_process_for_all_of_64_cores_would_reach_far_less() -> None:
    assert simulated_efficiency(64, FILM.held) < 0.5
    assert plan_workers(FILM, 64, AMPLE, 0) > 4


@pytest.mark.parametrize("load", [FILM, CLIPS])
def test_on_two_cores_there_is_one_process(load: Load) -> None:
    assert plan_workers(load, 2, AMPLE, 0) == 1
    assert plan_workers(load, 1, AMPLE, 0) == 1


def test_there_are_no_more_processes_than_there_is_work_for() -> None:
    assert plan_workers(Load(shards=1, media_seconds=600.0, file_seconds=0.05), 64, AMPLE, 0) == 1
    assert plan_workers(Load(shards=200, media_seconds=1.0, file_seconds=10.0), 64, AMPLE, 0) == 1
    assert plan_workers(Load(shards=0, media_seconds=0.0, file_seconds=0.0), 64, AMPLE, 0) == 1


def test_there_are_no_more_processes_than_their_models_and_frames_have_memory_for() -> None:
    assert plan_workers(FILM, 64, 3 * LEAST_BYTES, 0) == 3
    assert plan_workers(FILM, 64, 3 * LEAST_BYTES, LEAST_BYTES // 4) == 2
    assert plan_workers(FILM, 64, LEAST_BYTES // 2, 0) == 1


def test_files_need_more_processes_than_what_they_hold() -> None:
    assert TINY.held == pytest.approx(HELD_IN_FILES, rel=0.05)
    assert FILM.held == pytest.approx(HELD_IN_MEDIA, rel=0.05)
    assert cores_of_one(TINY.held, 64) < cores_of_one(CLIPS.held, 64) < cores_of_one(FILM.held, 64)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Workers]:
    """The workers of each run."""
    found: list[Workers] = []
    real = Workers.configure

    def configure(workers: Workers) -> None:
        found.append(workers)
        real(workers)

    monkeypatch.setattr(Workers, "configure", configure)
    return found


def test_rows_are_those_of_one_process_and_all_room_is_used(
    started: list[Workers], clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = six_alike(tmp_path / "videos", clips / "b.mp4")
    render_clip(videos / "long.mkv", seed=7, seconds=11.0)
    assert extract(videos, out=divided(tmp_path / "one"), threads=8).exit_code == 0
    assert len(started[0]) == 1, "so few files are no work for two"
    monkeypatch.setattr(worker_counts, "LEAST_WORK_SECONDS", 0.01)
    monkeypatch.setattr(worker_counts, "cores_of_one", lambda held, cores: 3)
    monkeypatch.setattr(worker_counts, "LEAST_BYTES", 1 << 20)
    assert extract(videos, out=divided(tmp_path / "three"), threads=8).exit_code == 0
    processes: list[WorkerProcess] = list(started[1])
    assert [started[1].room_of(one) for one in processes] == [3, 3, 2]
    assert tables_of(tmp_path / "three") == tables_of(tmp_path / "one")
    assert set(tables_of(tmp_path / "one")) == set(OPS)
