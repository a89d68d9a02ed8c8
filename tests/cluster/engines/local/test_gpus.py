"""Several GPUs on one machine, with a made-up number of them: a worker each, and the same rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.engines.local import engine as local_engine
from framemill.cluster.engines.local.process import WorkerProcess
from framemill.cluster.machine import take_gpus, visible_gpus
from framemill.models.memory_plan import VARIABLE, plan_memory
from tests.cluster.engines.local.test_deaths import MISBEHAVE
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.extraction import OPS, check_only, extract, patch_worker, render_clip, six_alike, tables_of

WITH_MODEL = (*OPS, "speech")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The GPU of each worker process as it is started, on a machine that seems to have three."""
    gpus: list[str] = []

    class Recorded(WorkerProcess):
        def __init__(self, gpu: str = "", others: WorkerProcess | None = None) -> None:
            gpus.append(gpu)
            super().__init__(gpu, others)

    monkeypatch.setattr(local_engine, "WorkerProcess", Recorded)
    monkeypatch.setattr(local_engine, "visible_gpus", lambda: ["0", "1", "2"])
    return gpus


def test_each_gpu_has_a_worker_and_rows_stay_the_same(
    started: list[str], clips: Path, tmp_path: Path
) -> None:
    videos = six_alike(tmp_path / "videos", clips / "b.mp4")
    render_clip(videos / "long.mkv", seed=7, seconds=11.0)
    summary = extract(videos, out=divided(tmp_path / "out"), ops=WITH_MODEL, threads=6)
    assert summary.exit_code == 0 and started == ["0", "1", "2"]
    parts = {path.name for path in (tmp_path / "out" / "scenes").glob("*.parquet")}
    assert len(parts) >= 3, "a commit takes the rows of one worker, and each had some"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_engine, "visible_gpus", list)
        extract(videos, out=divided(tmp_path / "one"), ops=WITH_MODEL)
    assert started[3:] == [""]
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "one")


def test_without_a_model_there_is_one_worker(started: list[str], clips: Path, tmp_path: Path) -> None:
    assert extract(clips, out=tmp_path / "out").exit_code == 0
    assert started == ["0"]


@pytest.mark.slow
def test_a_file_that_kills_one_worker_costs_the_others_nothing_but_time(
    started: list[str], clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_worker(monkeypatch, tmp_path, MISBEHAVE)
    videos = six_alike(tmp_path / "videos", clips / "b.mp4")
    render_clip(videos / "crash.mp4", seed=20, seconds=3.0)
    summary = extract(videos, out=tmp_path / "out", ops=WITH_MODEL, threads=6)
    assert (summary.exit_code, summary.files_failed) == (3, 1) and set(started) == {"0", "1", "2"}
    check_only({"crash.mp4": "quarantined"}, videos, tmp_path / "out")


@pytest.mark.parametrize(
    ("named", "found"),
    [(None, ["0", "1", "2"]), ("", []), ("-1", []), ("1,3", ["1", "3"]), ("GPU-ab12", ["GPU-ab12"])],
)
def test_gpus_are_counted_without_a_library(
    named: str | None, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia7", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus(tmp_path) == found
    assert named is not None or visible_gpus(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("gpus", "kept", "share"), [(0.5, {}, 0.5), (1.0, {}, 1.0), (0.25, {VARIABLE: "0.1"}, 0.1)]
)
def test_a_part_of_a_gpu_is_a_part_of_its_memory(
    gpus: float, kept: dict[str, Any], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {"CUDA_VISIBLE_DEVICES": "3", **kept})
    take_gpus(gpus)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert plan_memory(80 << 30) == plan_memory(80 << 30, share)
    take_gpus(0.0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
