"""Connecting to Ray: to a cluster, to that of the surrounding job, or to one that is started here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from framemill.cluster.engines.local.process import ENVIRONMENT
from framemill.cluster.engines.ray.autoscaling import await_pool
from framemill.cluster.engines.ray.health_check import problem_with
from framemill.cluster.engines.ray.pools import Pool
from framemill.cluster.engines.ray.preflight import CHECK_SECONDS, Explain, check_workers
from framemill.cluster.engines.ray.ray_logging import LOUD, keep_printed_logs, log_to_file, one_line
from framemill.cluster.machine import import_root, usable_cores
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.storage import ResultPath
from framemill.errors import SetupError, UsageError
from framemill.plugins import Plugin

CONNECT_SECONDS = 5.0
# The release of Ray that the tests run with; `pyproject.toml` asks for it.
TESTED = "2.60"


def connect(request: ExtractRequest) -> None:
    """Connects to the cluster at `request.address`, to that of the surrounding job, or starts one here.

    Raises:
        UsageError: the address is none of a head. SetupError: no cluster answers there.
    """
    if ray.is_initialized():
        return log_to_file(request.verbosity)
    address = request.address or os.environ.get("RAY_ADDRESS", "")
    is_loud = request.verbosity >= LOUD
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": is_loud}
    if not is_loud:
        # Ray Data's own actors make Ray's core complain to the terminal of a healthy run.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a run is sent to anybody
    variables = {name: value for name, value in ENVIRONMENT.items() if name not in _job_variables()}
    keep_printed_logs()
    _require_answer(address)
    with _keeping_sigterm():
        try:
            if address:
                with _without_stderr():
                    ray.init(address=address, runtime_env={"env_vars": variables}, **quiet)
            else:
                path = filter(None, (str(import_root()), os.environ.get("PYTHONPATH")))
                variables["PYTHONPATH"] = os.pathsep.join(path)
                os.environ.setdefault("RAY_worker_niceness", "0")  # the local engine's worker is as nice
                # With fewer logical CPUs none is left for reading beside the actors: Ray Data waits for ever.
                with _without_stderr():
                    ray.init(
                        address="local",  # else Ray takes one that somebody started on this machine
                        num_cpus=max(4, usable_cores()),
                        include_dashboard=False,
                        runtime_env={"env_vars": variables},
                        **quiet,
                    )
        except Exception as exc:  # a node that is too slow to start raises nothing more exact
            raise SetupError(
                f"no Ray cluster at {address or 'this machine'}: {one_line(exc)}; "
                "check the address, or start one with `ray start --head`"
            ) from exc
    log_to_file(request.verbosity)


@contextlib.contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """After the body, SIGTERM does what it did before it, if only to end the process at once.

    Ray puts a handler in place that ends with another code, and its core one that prints a stack.
    """
    ending = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # None is a handler that somebody put there outside of Python.
        if ending is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ending)


def _job_variables() -> Mapping[str, str]:
    """Variables that the surrounding job sets for its workers; Ray refuses to set one of them again."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    variables: Mapping[str, str] = (job.get("runtime_env") or {}).get("env_vars") or {}
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
        raise UsageError(
            f"`address={address!r}`: give HOST:PORT of the cluster's head, such as 127.0.0.1:6379"
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # a word such as auto
    problem = problem_with(host, int(port), CONNECT_SECONDS)
    if problem:
        raise SetupError(
            f"no Ray cluster at {address}: {problem}; check the address (`ray start --head` tells it, with "
            "port 6379 by default), or start one"
        )


def describe_release(version: str = ray.__version__) -> str:
    """What to tell where another Ray is installed than the tests run with; empty otherwise."""
    if version.split(".")[:2] == TESTED.split("."):
        return ""
    return (
        f"Ray {version} is installed, and Framemill is tested with {TESTED}: where it fails, install that one"
    )


def beside_driver() -> Any:
    """The scheduling strategy for what no other node is to take with it."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def open_pool(
    request: ExtractRequest,
    root: ResultPath,
    models: Mapping[str, str],
    plugins: Sequence[Plugin],
    run_id: str,
    code: str,
    num_files: int,
    explain: Explain,
    report: Callable[[str], None] = lambda text: None,
) -> Pool:
    """Plans and checks the pool of actors; Ray must be connected.

    Args:
        models: role -> name or path, of every model that the run needs.
        plugins: the operations of the run that are not ours.
        num_files: there are to work on, see `pools.count_files`.
        code: `preflight.code_digest`, from before it was connected: once it is, other raylets of this machine
            may be unpacking anew what this process runs in.
        explain: puts what is wrong with models on a node into words.
        report: called with a line where the check takes long.

    Raises:
        UsageError, SetupError: as the steps do.
    """
    pool, nodes, is_growing = await_pool(request, bool(models), num_files, report)
    room_seconds = request.room_seconds if is_growing else CHECK_SECONDS
    check_workers(root, pool, nodes, models, plugins, run_id, code, explain, report, room_seconds)
    return pool


def share_machines() -> bool:
    """Whether several nodes of the cluster run on one machine."""
    known: Any = ray
    hosts = [node["NodeManagerHostname"] for node in known.nodes() if node["Alive"]]
    return len(set(hosts)) < len(hosts)


def current_folder() -> str:
    """The current folder; empty where it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def return_to(folder: str) -> None:
    """Enters the current folder again where it was removed meanwhile: there is another of its name now."""
    if not current_folder():
        with contextlib.suppress(OSError):
            os.chdir(folder)
