"""The engines under which processes are killed: this machine, and a Ray on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil

from benchmarks.machines import Machines, machines
from tests.chaos.kills import SHARED, SUPERVISOR, Engine
from tests.cluster.extraction import PROJECT

# By the start of a process's name under Ray. Idle ones belong to no run, and agents to the machine, which
# ends with them.
ROLES = {
    "ray::ShardProcessorActor": "actor",
    "ray::Coordinator": "coordinator",
    "ray::_Stats": SHARED,
    "ray::_Autoscaling": SHARED,
    "ray::_UsageCollection": SHARED,
    "ray::ActorLocationTracker": SHARED,
    "ray::IDLE": "",
    "ray::DashboardAgent": "",
    "ray::RuntimeEnvAgent": "",
}
OF_RAY = "task or actor of Ray Data"


def local() -> Engine:
    """Runs on this machine: a supervisor and its worker."""

    def start(arguments: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "framemill", *arguments],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def processes(run: subprocess.Popen[str]) -> Mapping[str, list[int]]:
        return {SUPERVISOR: [run.pid], "worker": _children(run.pid)}

    return Engine("local", start, processes)


@contextmanager
def on_ray() -> Iterator[Engine]:
    """Runs on one cluster of one node, which is there for all of them."""
    with machines(4, environment={"PYTHONPATH": str(PROJECT)}) as cluster:

        def start(arguments: list[str]) -> subprocess.Popen[str]:
            where = ["--engine", "ray", "--address", cluster.gcs, "--actors", "2", "--actor-cpus", "1"]
            return cluster.run_on(cluster.all[0], *arguments, *where)

        yield Engine("ray", start, lambda run: _on_cluster(cluster, run), keeps_processes=True)


def _on_cluster(cluster: Machines, run: subprocess.Popen[str]) -> Mapping[str, list[int]]:
    # With a namespace the process that was started only waits for the command.
    drivers = _children(run.pid) if cluster.in_namespaces else [run.pid]
    found: dict[str, list[int]] = {SUPERVISOR: drivers}
    for pid in cluster.all[0].find("ray::"):
        try:
            name = " ".join(psutil.Process(pid).cmdline())
        except psutil.Error:
            continue  # it ended meanwhile
        if name.startswith("ray::"):
            role = next((role for start, role in ROLES.items() if name.startswith(start)), OF_RAY)
            found.setdefault(role, []).append(pid)
    found.pop("", None)
    return found


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []
