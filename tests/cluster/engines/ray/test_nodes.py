"""Whole nodes and drivers that are killed: the tables end up as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")

from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import extract_on_ray, slow_down, start_patiently
from tests.cluster.engines.ray.ray_watching import MOST_SECONDS, finish, wait
from tests.cluster.extraction import OPS, PROJECT, extract, num_runs, render_clip, rows_of, tables_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def corpus(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve short clips of different content and a long one."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(12):
        free = b"\0\0\0\x08free" * (40 * number)
        (folder / f"{number}.mp4").write_bytes((clips / "b.mp4").read_bytes() + free)
    render_clip(folder / "long.mkv", seed=7, seconds=11.0)
    return folder


def _wait_for_rows(out: Path) -> None:
    deadline = time.monotonic() + MOST_SECONDS
    while not any(out.glob("media/*.parquet")):
        assert time.monotonic() < deadline, f"nothing was committed in {MOST_SECONDS} s"
        time.sleep(0.02)


def test_a_node_killed_in_the_middle(corpus: Path, tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    out = divided(tmp_path / "out")
    cluster = Cluster()
    try:
        start_patiently(lambda: cluster.add_node(num_cpus=1, include_dashboard=False))
        nodes = [start_patiently(lambda: cluster.add_node(num_cpus=2)) for _ in range(2)]
        path = os.pathsep.join((str(slow_down(tmp_path)), str(PROJECT)))
        ray.init(
            address=cluster.address,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": {"PYTHONPATH": path}},
        )

        def kill() -> None:
            _wait_for_rows(out)
            cluster.remove_node(nodes[0], allow_graceful=False)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        summary = extract_on_ray(corpus, out=out, actors="2", actor_cpus=1.5)
        killer.join()
        assert sum(node["Alive"] for node in ray.nodes()) == 2
        assert (summary.exit_code, summary.files_failed) == (0, 0)
    finally:
        ray.shutdown()
        cluster.shutdown()
    extract(corpus, out=divided(tmp_path / "local"))
    assert tables_of(out) == tables_of(tmp_path / "local")


def _start(line: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        line, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def _kill(run: subprocess.Popen[str]) -> None:
    """The driver and the Ray that it started, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait(30)


def test_a_driver_killed_and_the_same_command_again(corpus: Path, tmp_path: Path) -> None:
    out = divided(tmp_path / "out")
    line = [
        sys.executable, "-m", "framemill", "extract", str(corpus), "-o", str(out), "--ops", ",".join(OPS),
        "--engine", "ray", "--actors", "1", "--actor-cpus", "1",
    ]  # fmt: skip
    path = os.pathsep.join((str(slow_down(tmp_path)), str(PROJECT)))
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": path}

    def until_the_first_rows() -> None:
        run = _start(line, environment)
        try:
            wait(run, lambda: any(out.glob("media/*.parquet")), "the first rows")
        finally:
            _kill(run)

    def to_the_end() -> None:
        run = _start(line, environment)
        said = finish(run)
        _kill(run)
        assert run.returncode == 0, said

    start_patiently(until_the_first_rows)
    done = len(rows_of(out, "media"))
    start_patiently(to_the_end)
    assert done > 0 and num_runs(out) == 1
    extract(corpus, out=divided(tmp_path / "local"))
    assert tables_of(out) == tables_of(tmp_path / "local")
    shutil.rmtree(out)
