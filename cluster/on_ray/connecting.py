"""Connecting to Ray, and checking before any work that the cluster can do it: what does not fit hangs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import ray
import ray.data
import ray.exceptions
import ray.util
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.machine import usable_cores
from cluster.on_ray.pools import TASK_CPUS, Pool, plan_pool
from cluster.request import ExtractRequest
from cluster.results.layout import SYSTEM_FOLDER
from cluster.results.storage import ResultPath, open_root
from cluster.run.workerprocess import ENVIRONMENT
from models.errors import SetupError, UsageError

CHECK_SECONDS = 10.0
# A worker on a busy or cold node takes its time to start; that alone is no reason to refuse.
LOOK_SECONDS = 60.0
CONNECT_SECONDS = 5.0
# How a client of HTTP/2 begins: a preface and an empty frame of settings (RFC 9113, 3.4 and 6.5). Ray's
# control store speaks it by gRPC, and answers with a frame of settings.
_SETTINGS = b"\x04"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0\0\0\0\0"
_PROJECT = Path(__file__).resolve().parents[2]


def connect(request: ExtractRequest) -> None:
    """Connects to the cluster at `request.address`, to that of the surrounding job, or starts one here.

    Raises:
        UsageError: the address is none of a head. SetupError: no cluster answers there.
    """
    if ray.is_initialized():
        return _hush()
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": request.verbosity > 1}
    # Ray Data's own actors make Ray's core complain to the terminal of a healthy run.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a run is told to anybody
    _require_answer(request.address)
    variables = {name: value for name, value in ENVIRONMENT.items() if name not in _job_variables()}
    try:
        if request.address or "RAY_ADDRESS" in os.environ:
            with _without_stderr():
                ray.init(address=request.address or "auto", runtime_env={"env_vars": variables}, **quiet)
        else:
            path = filter(None, (str(_PROJECT), os.environ.get("PYTHONPATH")))
            variables["PYTHONPATH"] = os.pathsep.join(path)
            os.environ.setdefault("RAY_worker_niceness", "0")  # the local engine's worker is as nice
            # With fewer logical CPUs none is left for reading beside the mills: Ray Data waits for ever.
            with _without_stderr():
                ray.init(
                    num_cpus=max(4, usable_cores()),
                    include_dashboard=False,
                    runtime_env={"env_vars": variables},
                    **quiet,
                )
    except Exception as exc:  # a node that is too slow to start raises nothing more exact
        raise SetupError(
            f"no Ray cluster at {request.address or 'this machine'}: {str(exc).splitlines()[0]}; "
            "check the address, or start one with `ray start --head`"
        ) from exc
    _hush()


def _job_variables() -> Mapping[str, str]:
    """Variables that the surrounding job sets for its workers; Ray refuses to set one of them again."""
    told = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    variables: Mapping[str, str] = (told.get("runtime_env") or {}).get("env_vars") or {}
    return variables


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
    """Ray itself tries for a minute to reach an address where nobody listens, or for ever another server.

    Raises:
        UsageError: it is no address of a head. SetupError: no head answers there.
    """
    if "://" in address:
        raise UsageError(f"--address {address}: give HOST:PORT of the cluster's head, such as 127.0.0.1:6379")
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # a word such as auto
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as there:
            if "RAY_USE_TLS" not in os.environ:
                there.sendall(_HELLO)
            if "RAY_USE_TLS" in os.environ or there.recv(9, socket.MSG_WAITALL)[3:4] == _SETTINGS:
                return
            problem = "another kind of server listens there, such as the dashboard"
    except OSError as exc:
        problem = exc.strerror or str(exc)
    raise SetupError(
        f"no Ray cluster at {address}: {problem}; check the address (`ray start --head` tells it, with port "
        "6379 by default), or start one"
    )


def _hush() -> None:
    """The user's terminal shows our progress, not Ray's."""
    warnings.filterwarnings("ignore", module=r"ray\.")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Else Ray ends the run when nothing is finished for half an hour, as happens where one long shard is
    # left. Tasks have deadlines of their own, and `StallWatch` tells when none is at work.
    context.execution_no_progress_timeout_s = -1


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


def open_pool(request: ExtractRequest, root: ResultPath, models: Mapping[str, str], run_id: str) -> Pool:
    """Connects, and plans and checks the pool of mills.

    Args:
        models: role -> name or path, of every model that the run needs.

    Raises:
        UsageError, SetupError: as the steps do.
    """
    connect(request)
    known: Any = ray
    nodes = {node["NodeID"]: node["Resources"] for node in known.nodes() if node["Alive"]}
    pool = plan_pool(request, list(nodes.values()))
    check_workers(root, pool, nodes, models, run_id)
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
    shared = f"results must lie in a folder that every node mounts at the same path, and {root}"
    try:
        folder = open_root(root) / SYSTEM_FOLDER
        if not (folder / token).exists():
            return f"{shared} is not there {where}"
        (folder / f"{token}-{ray.get_runtime_context().get_task_id()}").write_text("")
    except OSError as exc:
        return f"{shared} cannot be written {where}: {exc.strerror}"
    except FramemillError as error:
        return f"{error} ({where})"
    try:
        for role, choice in models.items():
            entry = resolve(role, choice)
            # A download may take longer than a check: the first mill does it, and says what goes wrong.
            if locate(entry) is not None or is_offline():
                find(entry)
    except FramemillError as error:
        return f"no model for the role {role}: {error} ({where})"
    return ""


def _require_room(pool: Pool) -> None:
    """Whether one of each kind finds room now. Reserving tells it at once, however long a worker takes to
    start.
    """
    bundles = [{"CPU": pool.cpus, **({"GPU": pool.gpus} if pool.gpus else {})}]
    wanted = ["a mill"]
    if pool.decoders is not None:
        bundles.append({"CPU": pool.decoders.cpus})
        wanted.append("a decoder")
    room = placement_group(bundles)
    try:
        if not room.wait(CHECK_SECONDS):
            raise SetupError(
                f"no room for {' and '.join(wanted)} within {CHECK_SECONDS:g} s. Wanted: {pool.describe()}. "
                f"{describe_cluster()}"
            )
    finally:
        remove_placement_group(room)


def check_workers(
    root: ResultPath,
    pool: Pool,
    nodes: Mapping[str, Mapping[str, float]],
    models: Mapping[str, str],
    run_id: str,
) -> None:
    """Tries on every node what will be needed there, and that one mill finds room.

    Args:
        nodes: id -> resources. Models are needed where a mill has room; files are opened and pieces merged
            wherever there is a CPU.

    Raises:
        SetupError: one clear message, as soon as a node tells what is wrong; within `CHECK_SECONDS` where
            there is no room.
    """
    token = f"check-{run_id}"
    marker = root / SYSTEM_FOLDER / token
    marker.write_text("")
    # Wrapped here and not where it is defined: so it travels by name, and the node's own code is what runs.
    looking: Any = ray.remote(max_retries=0)(look)
    code = code_digest()
    waiting = []
    try:
        _require_room(pool)
        for node_id, there in nodes.items():
            has_mill = there.get("CPU", 0.0) >= pool.cpus and there.get("GPU", 0.0) >= pool.gpus
            if has_mill or there.get("CPU", 0.0) >= TASK_CPUS:
                here = NodeAffinitySchedulingStrategy(node_id, soft=True)
                look_there = looking.options(num_cpus=0, scheduling_strategy=here)
                wanted = dict(models) if has_mill else {}
                waiting.append(look_there.remote(str(root), token, wanted, code))
        num_asked, deadline = len(waiting), time.monotonic() + LOOK_SECONDS
        while waiting:
            left = max(0.0, deadline - time.monotonic())
            answers, waiting = ray.wait(waiting, num_returns=1, timeout=left)
            if not answers:
                raise SetupError(
                    f"{len(waiting)} of {num_asked} nodes had no answer within {LOOK_SECONDS:g} s; either no "
                    f"worker starts there, or {root} does not answer. {describe_cluster()}"
                )
            problem = ray.get(answers[0])
            if problem:
                raise SetupError(problem)
    except ray.exceptions.RayError as exc:
        last = str(exc.cause if isinstance(exc, ray.exceptions.RayTaskError) else exc).splitlines()[-1]
        raise SetupError(
            f"a worker cannot run Framemill: {last}; install it there, or submit the job with --working-dir"
        ) from exc
    finally:
        for answer in waiting:
            ray.cancel(answer, force=True)
        for path in marker.parent.glob(f"{token}*"):
            path.unlink(missing_ok=True)
