"""A node that is lost for good in the middle of a run: what it was working on is done again, nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from benchmarks.machines import Machines, machines
from framemill.cluster.engines.ray.pipeline import SMALL_BYTES
from tests.cluster.engines.ray.ray_local import slow_down
from tests.cluster.engines.ray.ray_watching import finish, num_done, wait
from tests.cluster.extraction import OPS, PROJECT, extract, num_runs, tables_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NUM_FILES = 24
EXTRA_SECONDS = 30.0


def fill(folder: Path, clip: bytes, num_bytes: int) -> Path:
    """Files of different content and of this size at least; a hole on the disk makes them so large."""
    folder.mkdir()
    for number in range(NUM_FILES):
        path = folder / f"{number}.mp4"
        box = clip + max(16, num_bytes - len(clip)).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        path.write_bytes(box)
        os.truncate(path, max(len(box), num_bytes))
    return folder


@pytest.fixture(scope="module")
def corpora(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that actors open themselves, and such as are opened for them."""
    folder, clip = tmp_path_factory.mktemp("corpora"), (clips / "b.mp4").read_bytes()
    return {"small": fill(folder / "small", clip, 0), "large": fill(folder / "large", clip, SMALL_BYTES + 1)}


@pytest.fixture(scope="module")
def undisturbed(corpora: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the local engine makes of them."""
    outs = {size: tmp_path_factory.mktemp("undisturbed") / size for size in corpora}
    for size, out in outs.items():
        assert extract(corpora[size], out=out).exit_code == 0
    return outs


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A head without CPUs and three workers of two, where each file takes a second."""
    path = os.pathsep.join((str(slow_down(tmp_path_factory.mktemp("cluster"))), str(PROJECT)))
    with machines(0, 2, 2, 2, environment={"PYTHONPATH": path}) as started:
        yield started


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("actors", [3, 6], ids=["with a spare CPU", "without a spare CPU"])
def test_a_node_lost_for_good_costs_what_it_was_working_on(
    cluster: Machines,
    corpora: dict[str, Path],
    undisturbed: dict[str, Path],
    tmp_path: Path,
    size: str,
    actors: int,
) -> None:
    elapsed = {}
    for lost_at in (None, 0.1, 0.5, 0.9):
        cluster.wait()  # a busy machine may lose one that nobody killed
        out = tmp_path / f"{lost_at}"
        line = ("extract", corpora[size], "-o", out, "--ops", ",".join(OPS), "--address", cluster.gcs)
        started = time.monotonic()
        run = cluster.run_on(cluster.all[0], *line, "--actors", str(actors), "--actor-cpus", "1")
        try:
            if lost_at is not None:
                wait(run, lambda out=out, at=lost_at: num_done(out) >= at * NUM_FILES, "rows")
                next(one for one in cluster.all[1:] if one.is_meant_to_run).kill()
            said = finish(run)
        finally:
            run.kill()
        elapsed[lost_at] = time.monotonic() - started
        assert run.returncode == 0, said
        assert tables_of(out) == tables_of(undisturbed[size]) and num_runs(out) == 1
        if lost_at is not None:
            cluster.add(2)
    for lost_at, seconds in elapsed.items():
        assert seconds <= elapsed[None] * 1.5 + EXTRA_SECONDS, f"lost at {lost_at}: {elapsed}"
    print(elapsed)
