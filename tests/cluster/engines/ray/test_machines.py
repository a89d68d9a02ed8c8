"""The main job on a Ray of several machines: what is killed costs time and nothing else."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

pytest.importorskip("ray")

from benchmarks.machines import Machines, machines
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import slow_down
from tests.cluster.engines.ray.ray_watching import find_actors, finish, num_done, wait
from tests.cluster.extraction import OPS, PROJECT, extract, num_runs, render_clip, tables_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NUM_FILES, MANY_FILES = 17, 150


@pytest.fixture(scope="module")
def corpus(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen short clips of different content and a long one."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(NUM_FILES - 1):
        free = b"\0\0\0\x08free" * (40 * number)
        (folder / f"{number}.mp4").write_bytes((clips / "b.mp4").read_bytes() + free)
    render_clip(folder / "long.mkv", seed=7, seconds=11.0)
    return folder


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local engine makes of it."""
    out = divided(tmp_path_factory.mktemp("undisturbed") / "out")
    assert extract(corpus, out=out).exit_code == 0
    return out


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Machines]:
    """A head without actors and two workers, where each short file takes a second."""
    path = os.pathsep.join((str(slow_down(tmp_path)), str(PROJECT)))
    with machines(1, 2, 2, environment={"PYTHONPATH": path}) as started:
        yield started


def test_an_actor_a_machine_and_the_driver_killed_in_turn(
    cluster: Machines, corpus: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = divided(tmp_path / "out")
    line = ("extract", corpus, "-o", out, "--ops", ",".join(OPS), "--actors", "2", "--actor-cpus", "1.5")
    head, *workers = cluster.all
    run = cluster.submit(*line)
    try:
        wait(run, lambda: num_done(out) >= 1, "the first rows")
        machine, actor = find_actors(workers)[0]
        os.kill(actor, signal.SIGKILL)
        before = num_done(out)
        wait(run, lambda: num_done(out) > before, "rows after an actor was killed")
        taken = next(one for one, _ in find_actors(workers) if one is not machine)
        taken.kill()
        before = num_done(out)
        wait(run, lambda: num_done(out) > before, "rows after a machine was killed")
        (driver,) = head.find("-m framemill extract", str(out), "python -m")[-1:]
        os.kill(driver, signal.SIGKILL)
        said = finish(run)
        assert run.returncode != 0, said
    finally:
        run.kill()
    done = num_done(out)
    again = cluster.submit(*("1" if word == "2" else word for word in line))
    said = finish(again)
    assert again.returncode == 0, said
    assert 0 < done < NUM_FILES and num_runs(out) == 1
    assert tables_of(out) == tables_of(undisturbed)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Machines]:
    """A head without actors and one worker, where each short file takes a second."""
    with _small(tmp_path) as started:
        yield started


def _small(folder: Path) -> AbstractContextManager[Machines]:
    path = os.pathsep.join((str(slow_down(folder)), str(PROJECT)))
    return machines(1, 3, environment={"PYTHONPATH": path})


def _line(cluster: Machines, corpus: Path, out: Path, actors: str = "1") -> tuple[Path | str, ...]:
    asked = ("--ops", ",".join(OPS), "--actors", actors, "--actor-cpus", "1.5")
    return ("extract", corpus, "-o", out, "--address", cluster.gcs, *asked)


def test_the_head_lost(pair: Machines, corpus: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = divided(tmp_path / "out")
    head, worker = pair.all
    run = pair.run_on(worker, *_line(pair, corpus, out))
    try:
        wait(run, lambda: num_done(out) >= 1, "the first rows")
        head.kill()
        started = time.monotonic()
        said = finish(run)
    finally:
        run.kill()
    assert run.returncode == 1 and "the head of the Ray cluster at" in said, said
    assert "run the same command again" in said and "Traceback" not in said
    assert time.monotonic() - started < 120
    pair.close()
    with _small(tmp_path) as other:
        again = other.run_on(other.all[1], *_line(other, corpus, out))
        said = finish(again)
        assert again.returncode == 0, said
    assert tables_of(out) == tables_of(undisturbed)


def test_interrupted_and_gone_on(pair: Machines, corpus: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = divided(tmp_path / "out")
    worker = pair.all[1]
    run = pair.run_on(worker, *_line(pair, corpus, out))
    try:
        wait(run, lambda: num_done(out) >= 1, "the first rows")
        started = time.monotonic()
        os.kill(worker.find(sys.executable, "-m framemill extract", str(out))[-1], signal.SIGINT)
        said = finish(run)
    finally:
        run.kill()
    assert run.returncode == 130 and "interrupted" in said and "Traceback" not in said, said
    assert time.monotonic() - started < 60 and 0 < num_done(out) < NUM_FILES
    again = pair.run_on(worker, *_line(pair, corpus, out))
    said = finish(again)
    assert again.returncode == 0, said
    assert tables_of(out) == tables_of(undisturbed)


def test_a_machine_that_comes_late_and_one_that_is_taken_away(
    pair: Machines, corpus: Path, undisturbed: Path, tmp_path: Path
) -> None:
    if not pair.in_namespaces:
        pytest.skip("needs machines with addresses of their own, for which this process has no rights")
    out, videos = tmp_path / "out", tmp_path / "videos"
    videos.mkdir()
    for number in range(MANY_FILES):  # more than a minute of work for one actor
        clip = (corpus / f"{number % (NUM_FILES - 1)}.mp4").read_bytes()
        (videos / f"{number}.mp4").write_bytes(clip + b"\0\0\0\x0cfree" + number.to_bytes(4, "big"))
    first = pair.all[1]
    run = pair.run_on(pair.all[0], *_line(pair, videos, out, actors="1-3"))
    try:
        wait(run, lambda: num_done(out) >= 1, "the first rows")
        late = pair.add(3)
        wait(run, lambda: find_actors([late]), "an actor on the machine that came late")
        pair.drain(first, seconds=5)
        time.sleep(5)
        first.kill()
        said = finish(run)
        assert run.returncode == 0, said
    finally:
        run.kill()
    assert num_runs(out) == 1
    extract(videos, out=tmp_path / "local")
    assert tables_of(out) == tables_of(tmp_path / "local")


def test_a_machine_without_the_output_folder(corpus: Path, tmp_path: Path) -> None:
    """It has a folder of that name, and that is another one."""
    folder = tmp_path / "shared"
    folder.mkdir()
    with machines(1, environment={"PYTHONPATH": str(PROJECT)}) as cluster:
        if not cluster.in_namespaces:
            pytest.skip("needs machines with mounts of their own, for which this process has no rights")
        other = cluster.add(3, prepare=("mount", "-t", "tmpfs", "none", str(folder)))
        line = ("extract", corpus, "-o", folder / "out", "--address", cluster.gcs, "--actor-cpus", "1")
        run = cluster.run_on(cluster.all[0], *line)
        told = finish(run)
        assert run.returncode == 5, told
        assert "every node mounts at the same path" in told and f"not there on node {other.address}" in told
