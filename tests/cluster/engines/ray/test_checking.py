"""Nodes that Ray lists and that do not answer: named before any work, soon enough."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")

from benchmarks.machines import Machines, machines
from tests.cluster.engines.ray.ray_watching import finish
from tests.cluster.extraction import PROJECT

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def _refused(cluster: Machines, clips: Path, out: Path, actors: str = "1") -> tuple[str, float]:
    """What a run on the head says that ends with exit code 5, and how long it took."""
    line = ("extract", clips, "-o", out, "--address", cluster.gcs, "--actors", actors, "--actor-cpus", "1")
    started = time.monotonic()
    run = cluster.run_on(cluster.all[0], *line)
    told = finish(run)
    assert run.returncode == 5 and "Traceback" not in told, told
    return " ".join(told.split()), time.monotonic() - started


def test_a_node_that_is_suspended_or_unplugged(clips: Path, tmp_path: Path) -> None:
    with machines(1, 3, environment={"PYTHONPATH": str(PROJECT)}) as cluster:
        told, usual_seconds = _refused(cluster, clips, tmp_path / "out", actors="99")
        assert "99 actors of 1 CPUs do not fit" in told
        raylet = cluster.all[1].find("raylet/raylet", "--raylet_socket_name")[-1]
        os.kill(raylet, signal.SIGSTOP)
        try:
            told, seconds = _refused(cluster, clips, tmp_path / "out")
        finally:
            os.kill(raylet, signal.SIGCONT)
        address = cluster.all[1].address
        assert f"1 of 2 nodes of the cluster cannot be reached: {address} (no answer within 8 s)" in told
        # What it takes to start Python and to connect depends on the machine, and not on the node.
        assert seconds - usual_seconds < 20
        if not cluster.in_namespaces:
            return
        cluster.wait()
        cluster.all[1].unplug()
        told, seconds = _refused(cluster, clips, tmp_path / "out")
        assert f"1 of 2 nodes of the cluster cannot be reached: {address} (" in told
        assert seconds - usual_seconds < 20
