"""A small Ray on this machine, shared by the tests of a module."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.stand_ins import in_workers
from framemill.cluster.request import RunSummary, SilentReporter
from tests.cluster.extraction import PROJECT, extract

START_ATTEMPTS = 4
TOO_SLOW = "timed out during startup"  # what Ray says then
Started = TypeVar("Started")


@contextmanager
def small_ray(
    patch: Path | None = None,
    environment: Mapping[str, str] | None = None,
    num_cpus: int = 4,
    **started: Any,
) -> Iterator[None]:
    """A Ray of one node and four logical CPUs.

    Args:
        patch: a folder with a `sitecustomize.py` that its workers run at their start.
        environment: further variables for the workers.
        started: further arguments of `ray.init`, such as GPUs that are not there.
    """
    import ray

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    path = os.pathsep.join(str(folder) for folder in (patch, PROJECT) if folder)
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    asked = {
        "num_cpus": num_cpus,
        "runtime_env": {"env_vars": {"PYTHONPATH": path, **(environment or {})}},
        **quiet,
        **started,
    }
    start_patiently(lambda: ray.init("local", **asked))
    try:
        yield
    finally:
        ray.shutdown()


def start_patiently(start: Callable[[], Started]) -> Started:
    """Starts a node of Ray, which gives it 30 s: that is little on a busy machine."""
    import ray

    for _ in range(START_ATTEMPTS - 1):
        try:
            return start()
        except Exception as error:
            if TOO_SLOW not in str(error):
                raise
            ray.shutdown()
    return start()


def extract_on_ray(
    *sources: Path | str, out: Path, reporter: SilentReporter | None = None, **asked: Any
) -> RunSummary:
    """The main job on the Ray that is running, with two actors unless told otherwise."""
    return extract(
        *sources, out=out, reporter=reporter, **{"engine": "ray", "actors": "2", "actor_cpus": 1.0, **asked}
    )


def slow_down(folder: Path) -> Path:
    """A folder for PYTHONPATH that makes the workers take a second for each short file."""
    patch = folder / "slow"
    patch.mkdir(exist_ok=True)
    (patch / "sitecustomize.py").write_text(in_workers(_SLOW))
    return patch


_SLOW = """
def stand_in():
    import time, framemill.actors.shard_processor as shard_processor
    real = shard_processor.read_shard
    def read_shard(*given):
        time.sleep(1)
        yield from real(*given)
    shard_processor.read_shard = read_shard
"""
