"""What a run on Ray tells while it works: metrics for Prometheus, and a line of JSON for each shard."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from benchmarks.stand_ins import in_workers
from framemill.cluster.engines.ray.metrics import without_credentials
from framemill.cluster.engines.ray.ray_logging import log_folder
from framemill.cluster.exposure import ray_servers
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import OPS, extract, render_clip, tables_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NUM_CLIPS = 12


# Where there is a folder `together`, an actor goes on once two of them have left word in it.
TOGETHER = """
def stand_in():
    import os, time, framemill.actors.shard_processor as shard_processor
    real = shard_processor.read_shard
    def read_shard(path, *rest):
        time.sleep(0.3)
        folder = os.path.join(os.path.dirname(path), 'together')
        if os.path.isdir(folder):
            open(os.path.join(folder, str(os.getpid())), 'w').close()
            until = time.monotonic() + 120
            while len(os.listdir(folder)) < 2 and time.monotonic() < until:
                time.sleep(0.05)
        yield from real(path, *rest)
    shard_processor.read_shard = read_shard
"""


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = tmp_path_factory.mktemp("patch")
    (patch / "sitecustomize.py").write_text(in_workers(TOGETHER))
    with small_ray(patch, num_cpus=6, _system_config={"metrics_report_interval_ms": 500}):
        yield


def _lines(run_id: str) -> list[dict[str, Any]]:
    logs = Path(log_folder())
    texts = [path.read_text(errors="replace") for path in logs.glob("worker-*.err")]
    lines = [json.loads(line) for text in texts for line in text.splitlines() if '"event": "shard"' in line]
    return [line for line in lines if line["run_id"] == run_id]


@pytest.fixture(scope="module")
def told(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict[str, Any]]]:
    """A run over short files, a divided one and a bad one, and its lines."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(NUM_CLIPS):
        free = b"\0\0\0\x08free" * number
        (folder / f"{number}.mp4").write_bytes((clips / "b.mp4").read_bytes() + free)
    render_clip(folder / "long.mkv", seed=7, seconds=11.0)
    (folder / "garbage.mp4").write_bytes(bytes(range(256)) * 64)
    out = divided(tmp_path_factory.mktemp("ray") / "out", 4.0)
    summary = extract_on_ray(folder, out=out, ops=OPS, sample="every:1")
    return summary, _lines(summary.run_id)


def test_a_line_for_each_shard(told: tuple[Any, list[dict[str, Any]]]) -> None:
    summary, lines = told
    by_name: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_name.setdefault(Path(line["uri"]).name, []).append(line)
    assert len(by_name) == NUM_CLIPS + 2
    (first,) = by_name["0.mp4"]
    assert first["status"] == "ok" and first["rows"]["scenes"] > 0 and first["frames"] > 0
    assert first["seconds"]["read"] > 0.3 and first["seconds"]["read"] <= first["elapsed_seconds"]
    (bad,) = by_name["garbage.mp4"]
    assert bad["status"] == "failed" and "*" in bad["failures"]
    long = by_name["long.mkv"]
    assert sorted(line["shard_index"] for line in long) == list(range(long[0]["num_shards"]))
    assert summary.frames == sum(line["frames"] for line in lines)


def test_more_actors_come_when_there_is_work(clips: Path, tmp_path: Path) -> None:
    for number in range(NUM_CLIPS):
        free = b"\0\0\0\x08free" * number
        (tmp_path / f"{number}.mp4").write_bytes((clips / "b.mp4").read_bytes() + free)
    (tmp_path / "together").mkdir()
    summary = extract_on_ray(tmp_path, out=tmp_path / "out", actors="1-3")
    assert summary.files_computed == NUM_CLIPS
    assert 1 < len({line["actor"] for line in _lines(summary.run_id)}) <= 3


def test_a_long_file_is_shared_by_the_actors(tmp_path: Path) -> None:
    long = render_clip(tmp_path / "long.mkv", seed=8, seconds=21.0)
    (tmp_path / "together").mkdir()
    summary = extract_on_ray(long, out=divided(tmp_path / "out"), ops=OPS, sample="every:1", actors="2")
    lines = _lines(summary.run_id)
    assert sorted(line["shard_index"] for line in lines) == list(range(lines[0]["num_shards"]))
    assert lines[0]["num_shards"] >= 10
    by_actor = [sum(line["actor"] == actor for line in lines) for actor in {line["actor"] for line in lines}]
    assert len(by_actor) == 2
    extract(long, out=tmp_path / "whole", ops=OPS, sample="every:1")
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "whole")


def test_metrics_on_the_node(told: tuple[Any, list[dict[str, Any]]]) -> None:
    import ray

    known: Any = ray
    summary, lines = told
    (node,) = known.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + 40
    values: dict[str, float] = {}
    while time.monotonic() < deadline and values.get("shards") != len(lines):
        with urllib.request.urlopen(address, timeout=10) as answer:
            values = _sums(answer.read().decode(), summary.run_id)
        time.sleep(0.5)
    assert values["shards"] == len(lines)
    assert values["frames"] == summary.frames
    assert values["errors"] == 1
    assert values["read_bytes"] > 0 and values["stage_seconds"] > 0.3 * NUM_CLIPS
    assert values["rows"] == sum(summary.rows.values()) - summary.rows["media"]  # the driver makes those


def _sums(text: str, run_id: str) -> dict[str, float]:
    """Name of a counter of ours -> the sum over processes and tags."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        found = re.match(r"ray_framemill_(\w+?)(?:_total)?\{(.*)\} (\S+)", line)
        if found and f'run="{run_id}"' in found[2].replace("Run", "run"):
            sums[found[1]] = sums.get(found[1], 0.0) + float(found[3])
    return sums


def test_the_head_is_found_among_the_processes(told: tuple[Any, list[dict[str, Any]]]) -> None:
    assert any("GCS" in server.kind for server in ray_servers())


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/videos/a?b#c.mp4", "/videos/a?b#c.mp4"),
        ("s3://key:secret@bucket/a.mp4", "s3://bucket/a.mp4"),
        ("https://host/a.mp4?X-Amz-Signature=1", "https://host/a.mp4"),
    ],
)
def test_credentials_do_not_reach_the_log(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown
