"""Connecting to Ray, and checking before any work that the cluster can do it: what does not fit hangs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
import ray.data
import ray.exceptions

from cluster.layout import SYSTEM_FOLDER
from cluster.machine import usable_cores
from cluster.request import ExtractRequest
from models.errors import SetupError, UsageError

CHECK_SECONDS = 15.0
_PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool of mills.

    Attributes:
        size: as `ray.data.ActorPoolStrategy` takes it: {"size": n} or {"min_size": a, "max_size": b}.
        cpus, gpus: what each mill holds of the cluster; gpus may be a fraction.
        calls: tasks that each mill works on at once.
    """

    size: Mapping[str, int]
    cpus: float
    gpus: float
    calls: int

    @property
    def least(self) -> int:
        """Mills that must fit for the job to start."""
        return self.size.get("size", self.size.get("min_size", 1))


def connect(request: ExtractRequest) -> None:
    """Connects to the cluster at `request.address`, to that of the surrounding job, or starts one here.

    Raises:
        SetupError: no cluster answers there.
    """
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": request.verbosity > 1}
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        if request.address or "RAY_ADDRESS" in os.environ:
            ray.init(address=request.address or "auto", **quiet)
        else:
            # With fewer logical CPUs none is left for reading beside the mills: Ray Data waits for ever.
            ray.init(
                num_cpus=max(4, usable_cores()),
                include_dashboard=False,
                runtime_env={"env_vars": {"PYTHONPATH": str(_PROJECT)}},
                **quiet,
            )
    except (ConnectionError, ValueError, RuntimeError) as exc:
        raise SetupError(
            f"no Ray cluster at {request.address or 'this machine'}: {str(exc).splitlines()[0]}; "
            "check the address, or start one with `ray start --head`"
        ) from exc
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)  # the user's terminal shows our progress
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def plan_pool(request: ExtractRequest, resources: Mapping[str, float]) -> Pool:
    """Mills that fit the cluster, leaving one CPU for reading and opening.

    Args:
        request: `mills` (N or MIN-MAX; empty for as many as fit), `mill_cpus`, `mill_gpus`.
        resources: of the whole cluster, as `ray.cluster_resources()` tells.

    Raises:
        UsageError: a value that is no number.
        SetupError: what is asked for does not fit.
    """
    cpus_there, gpus_there = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    gpus = request.mill_gpus
    cpus = request.mill_cpus or max(1.0, min(4.0, cpus_there - 2))
    fit = int((cpus_there - 1) // cpus)
    if gpus:
        if gpus_there < gpus:
            raise SetupError(
                f"each mill wants {gpus:g} GPUs, and the cluster has {gpus_there:g}: "
                "add GPU nodes, or leave out --mill-gpus"
            )
        fit = min(fit, int(gpus_there // gpus))
    low, high = _range(request.mills, max(fit, 1))
    if low > fit:
        raise SetupError(
            f"{low} mills of {cpus:g} CPUs do not fit the cluster's {cpus_there:g} CPUs with one left for "
            f"reading (at most {fit} do): lower --mills or --mill-cpus, or add nodes"
        )
    size = {"size": low} if low == high else {"min_size": low, "max_size": high}
    return Pool(size, cpus, gpus, calls=8 if gpus else max(2, round(cpus)))


def _range(text: str, fit: int) -> tuple[int, int]:
    if not text:
        return fit, fit
    low, _, high = text.partition("-")
    try:
        least, most = int(low), int(high or low)
    except ValueError:
        least = most = 0
    if not 1 <= least <= most:
        raise UsageError(f"--mills {text!r}: give a number such as 4, or a range such as 1-16")
    return least, most


def open_pool(request: ExtractRequest, root: Path, models: Mapping[str, str], run_id: str) -> Pool:
    """Connects, and plans and checks the pool of mills.

    Args:
        models: role -> name or path, of every model that the run needs.

    Raises:
        UsageError, SetupError: as the steps do.
    """
    connect(request)
    pool = plan_pool(request, cast(Any, ray).cluster_resources())
    check_workers(root, pool, models, run_id)
    return pool


@ray.remote(max_retries=0)
def _look(root: str, token: str, models: Mapping[str, str]) -> str:
    """What is wrong where this runs, or an empty text."""
    from models.errors import FramemillError
    from models.registry import resolve
    from models.store import find

    folder = Path(root) / SYSTEM_FOLDER
    shared = f"results must lie in a folder that every node mounts at the same path, and {root}"
    if not (folder / token).exists():
        return f"{shared} is not there"
    try:
        (folder / f"{token}-worker").write_text("")
    except OSError as exc:
        return f"{shared} cannot be written: {exc.strerror}"
    try:
        for role, choice in models.items():
            find(resolve(role, choice))
    except FramemillError as error:
        return str(error)
    return ""


def check_workers(root: Path, pool: Pool, models: Mapping[str, str], run_id: str) -> None:
    """Tries on a worker what every mill will need.

    Raises:
        SetupError: one clear message, within `CHECK_SECONDS`.
    """
    token = f"check-{run_id}"
    marker = root / SYSTEM_FOLDER / token
    marker.write_text("")
    try:
        looking = _look.options(num_cpus=pool.cpus, num_gpus=pool.gpus or None)
        answer = looking.remote(str(root), token, dict(models))
        _, waiting = ray.wait([answer], timeout=CHECK_SECONDS)
        if waiting:
            ray.cancel(answer, force=True)
            free = cast(Any, ray).available_resources().get("CPU", 0.0)
            raise SetupError(
                f"no worker with {pool.cpus:g} CPUs, {pool.gpus:g} GPUs answered within {CHECK_SECONDS:g} s; "
                f"the cluster has {free:g} CPUs free: wait for other jobs, or lower --mill-cpus"
            )
        problem = ray.get(answer)
    except ray.exceptions.RayError as exc:
        last = str(exc.cause if isinstance(exc, ray.exceptions.RayTaskError) else exc).splitlines()[-1]
        raise SetupError(
            f"a worker cannot run Framemill: {last}; install it there, or submit the job with --working-dir"
        ) from exc
    finally:
        for path in (marker, marker.with_name(f"{token}-worker")):
            path.unlink(missing_ok=True)
    if problem:
        raise SetupError(f"{problem} (on a worker)")
