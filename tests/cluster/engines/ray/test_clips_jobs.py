"""Extraction and clips as one submitted job on two nodes, with a worker that is killed while it cuts."""

from __future__ import annotations

import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

import framemill
from benchmarks.machines import Machines, machines
from framemill.cluster.results.queries import query
from tests.cluster.engines.ray.ray_watching import finish, wait
from tests.cluster.extraction import PROJECT, tables_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NUM_FILES = 6
OPTIONS = {"max_seconds": 1, "min_seconds": 0.5, "format": "webdataset", "dedupe": "hash", "reencode": True}
OPS = ("media", "frames")
# Workers take half a second more for each clip, so that one of them can be met at its work.
SLOWLY = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "framemill.cluster.clips.cutting":
            sys.meta_path.remove(self)
            import time
            from framemill.cluster.clips import target
            real = target.place_clip
            def place(*given):
                time.sleep(0.5)
                return real(*given)
            target.place_clip = place
if "default_worker" in " ".join(sys.orig_argv):
    sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    patch = tmp_path_factory.mktemp("cluster")
    (patch / "sitecustomize.py").write_text(SLOWLY)
    with machines(2, 2, environment={"PYTHONPATH": f"{patch}{os.pathsep}{PROJECT}"}) as started:
        yield started


@pytest.fixture
def videos(clips: Path, tmp_path: Path) -> Path:
    """Files of different content, of which each picture is there three times."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(NUM_FILES):
        content = (clips / ("a.mp4", "b.mp4")[number % 2]).read_bytes()
        box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        (folder / f"{number}.mp4").write_bytes(content + box)
    return folder


def members(folder: Path) -> list[tuple[str, bytes]]:
    found = []
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found.append((member.name, file.read()))
    return found


def test_the_shards_of_a_job_hold_each_clip_once_whoever_dies_while_it_cuts(
    cluster: Machines, videos: Path, tmp_path: Path
) -> None:
    local, out = tmp_path / "local", tmp_path / "out"
    asked = {"plan": "shots", **OPTIONS}
    made = framemill.extract(videos, local, ops=OPS, sample="every:0.5", engine="local", clips=asked)
    assert made.exit_code == 0 and made.clips["dropped"]["double"] > 0
    line = ["extract", videos, "-o", out, "--ops", ",".join(OPS), "--sample", "every:0.5", "--clips", "shots"]
    line += ["--actors", "2", "--actor-cpus", "1"]
    for name, value in OPTIONS.items():
        line += ["--set", f"clips.{name}={str(value).lower()}"]
    run = cluster.submit(*line)
    waiting = tmp_path / "out-clips" / ".framemill" / "clips"
    killed = []
    try:
        wait(run, lambda: waiting.is_dir() and list(waiting.glob("*.mp4")), "clips")
        for machine in cluster.all:
            for pid in machine.find("ray::", "cut_source"):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                break
        said = finish(run)
    finally:
        run.kill()
    assert run.returncode == 0, said
    assert killed
    names = [name for name, _ in members(tmp_path / "out-clips")]
    assert len(names) == len(set(names)) == 2 * made.clips["num_clips"]
    assert members(tmp_path / "out-clips") == members(tmp_path / "local-clips")
    assert not [path for path in (tmp_path / "out-clips" / ".framemill").rglob("*.mp4")]
    counts = [
        query(str(each), "SELECT kept, count(*) FROM clips GROUP BY 1 ORDER BY 1") for each in (out, local)
    ]
    assert counts[0].rows == counts[1].rows
    assert query(str(out), "SELECT DISTINCT engine FROM runs").rows == [("ray",)]
    assert tables_of(out)["scenes"] == tables_of(local)["scenes"]
