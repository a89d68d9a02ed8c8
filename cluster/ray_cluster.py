"""Connecting to Ray, and checking before any work that the cluster can do it: what does not fit hangs."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
import ray.data
import ray.exceptions
import ray.util
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.layout import SYSTEM_FOLDER
from cluster.machine import usable_cores
from cluster.request import ExtractRequest
from models.errors import SetupError, UsageError

CHECK_SECONDS = 15.0
CONNECT_SECONDS = 5.0
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

    def describe(self) -> str:
        """In words."""
        size = self.size.get("size") or f"{self.size['min_size']} to {self.size['max_size']}"
        return f"{size} mills of {self.cpus:g} CPUs and {self.gpus:g} GPUs"


def connect(request: ExtractRequest) -> None:
    """Connects to the cluster at `request.address`, to that of the surrounding job, or starts one here.

    Raises:
        SetupError: no cluster answers there.
    """
    if ray.is_initialized():
        return _hush()
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": request.verbosity > 1}
    # Ray Data's own actors make Ray's core complain to the terminal of a healthy run.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a run is told to anybody
    _require_answer(request.address)
    try:
        if request.address or "RAY_ADDRESS" in os.environ:
            with _without_stderr():
                ray.init(address=request.address or "auto", **quiet)
        else:
            path = filter(None, (str(_PROJECT), os.environ.get("PYTHONPATH")))
            # With fewer logical CPUs none is left for reading beside the mills: Ray Data waits for ever.
            with _without_stderr():
                ray.init(
                    num_cpus=max(4, usable_cores()),
                    include_dashboard=False,
                    runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(path)}},
                    **quiet,
                )
    except (ConnectionError, ValueError, RuntimeError) as exc:
        raise SetupError(
            f"no Ray cluster at {request.address or 'this machine'}: {str(exc).splitlines()[0]}; "
            "check the address, or start one with `ray start --head`"
        ) from exc
    _hush()


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Ray's core announces its log level there, whatever the level; what goes wrong is raised."""
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _require_answer(address: str) -> None:
    """Ray itself tries for a minute to reach an address where nobody listens.

    Raises:
        SetupError: it is so.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # a word such as auto
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as exc:
        raise SetupError(
            f"no Ray cluster at {address}: {exc.strerror or exc}; "
            "check the address, or start one with `ray start --head`"
        ) from exc


def _hush() -> None:
    """The user's terminal shows our progress, not Ray's."""
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def describe_cluster() -> str:
    """What is there and what is free, in words."""
    known: Any = ray
    there, free = known.cluster_resources(), known.available_resources()
    num_nodes = sum(node["Alive"] for node in known.nodes())
    return (
        f"The cluster has {num_nodes} nodes, {free.get('CPU', 0):g} of {there.get('CPU', 0):g} CPUs and "
        f"{free.get('GPU', 0):g} of {there.get('GPU', 0):g} GPUs free; other jobs may hold them "
        "(`ray status`, `ray list actors`), or nodes may still be starting"
    )


def plan_pool(request: ExtractRequest, nodes: Sequence[Mapping[str, float]]) -> Pool:
    """Mills that fit the cluster, leaving one CPU for reading and opening.

    Args:
        request: `mills` (N or MIN-MAX; empty for as many as fit), `mill_cpus`, `mill_gpus`.
        nodes: resources of each node, as `ray.nodes()` tells.

    Raises:
        UsageError: a value that is no number.
        SetupError: what is asked for does not fit.
    """
    there = [node.get("CPU", 0.0) for node in nodes]
    gpus_there = sum(node.get("GPU", 0.0) for node in nodes)
    gpus = request.mill_gpus
    cpus = request.mill_cpus or max(1.0, min(4.0, max(there, default=0.0) - 2))
    if gpus and gpus_there < gpus:
        raise SetupError(
            f"each mill wants {gpus:g} GPUs, and the cluster has {gpus_there:g}: "
            "add GPU nodes, or leave out --mill-gpus"
        )
    # A mill lies on one node.
    fit = sum(
        min(int(node.get("CPU", 0.0) // cpus), int(node.get("GPU", 0.0) // gpus) if gpus else 1 << 30)
        for node in nodes
    )
    fit = min(fit, int((sum(there) - 1) // cpus))
    low, high = _range(request.mills, max(fit, 1))
    if low > fit:
        raise SetupError(
            f"{low} mills of {cpus:g} CPUs{f' and {gpus:g} GPUs' if gpus else ''} do not fit the cluster's "
            f"{sum(there):g} CPUs on {len(nodes)} nodes with one CPU left for reading (at most {max(fit, 0)} "
            "do): lower --mills or --mill-cpus, or add nodes"
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
    known: Any = ray
    nodes = [node for node in known.nodes() if node["Alive"]]
    pool = plan_pool(request, [node["Resources"] for node in nodes])
    able = [node for node in nodes if node["Resources"].get("CPU", 0.0) >= pool.cpus]
    check_workers(root, pool, [node["NodeID"] for node in able], models, run_id)
    return pool


def code_digest() -> str:
    """Tells two versions of Framemill's packages apart."""
    digest = hashlib.blake2b(digest_size=8)
    for package in ("cluster", "actors", "ops", "models"):
        for path in sorted((_PROJECT / package).rglob("*.py")):
            digest.update(path.relative_to(_PROJECT).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def look(root: str, token: str, models: Mapping[str, str], code: str) -> str:
    """What is wrong where this runs, or an empty text.

    Args:
        root: result folder. token: name of a file in it that must be there.
        models: role -> name or path. code: `code_digest` of the driver.
    """
    from models.download import is_offline
    from models.errors import FramemillError
    from models.registry import resolve
    from models.store import find, locate

    where = f"on node {cast(Any, ray.util).get_node_ip_address()}"
    if code_digest() != code:
        return (
            f"another Framemill is installed {where}, in {_PROJECT}: "
            "install the same there, or submit the job with --working-dir"
        )
    folder = Path(root) / SYSTEM_FOLDER
    shared = f"results must lie in a folder that every node mounts at the same path, and {root}"
    if not (folder / token).exists():
        return f"{shared} is not there {where}"
    try:
        (folder / f"{token}-{ray.get_runtime_context().get_task_id()}").write_text("")
    except OSError as exc:
        return f"{shared} cannot be written {where}: {exc.strerror}"
    try:
        for role, choice in models.items():
            entry = resolve(role, choice)
            # A download may take longer than a check: the first mill does it, and says what goes wrong.
            if locate(entry) is not None or is_offline():
                find(entry)
    except FramemillError as error:
        return f"{error} ({where})"
    return ""


def check_workers(
    root: Path, pool: Pool, node_ids: Sequence[str], models: Mapping[str, str], run_id: str
) -> None:
    """Tries on every node what a mill will need there, and that one mill finds room.

    Raises:
        SetupError: one clear message, within `CHECK_SECONDS`.
    """
    token = f"check-{run_id}"
    marker = root / SYSTEM_FOLDER / token
    marker.write_text("")
    asked = (str(root), token, dict(models), code_digest())
    # Wrapped here and not where it is defined: so it travels by name, and the node's own code is what runs.
    looking: Any = ray.remote(max_retries=0)(look)
    there = [NodeAffinitySchedulingStrategy(node_id, soft=True) for node_id in node_ids]
    try:
        answers = [looking.options(num_cpus=0, scheduling_strategy=one).remote(*asked) for one in there]
        answers.append(looking.options(num_cpus=pool.cpus, num_gpus=pool.gpus or None).remote(*asked))
        _, waiting = ray.wait(answers, num_returns=len(answers), timeout=CHECK_SECONDS)
        for answer in waiting:
            ray.cancel(answer, force=True)
        problems = [ray.get(answer) for answer in answers if answer not in waiting]
        if waiting and not any(problems):
            raise SetupError(
                f"{len(waiting)} of {len(answers)} checks had no answer within {CHECK_SECONDS:g} s. "
                f"Wanted: {pool.describe()}. {describe_cluster()}"
            )
    except ray.exceptions.RayError as exc:
        last = str(exc.cause if isinstance(exc, ray.exceptions.RayTaskError) else exc).splitlines()[-1]
        raise SetupError(
            f"a worker cannot run Framemill: {last}; install it there, or submit the job with --working-dir"
        ) from exc
    finally:
        for path in marker.parent.glob(f"{token}*"):
            path.unlink(missing_ok=True)
    for problem in filter(None, problems):
        raise SetupError(problem)
