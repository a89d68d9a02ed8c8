"""Checking before any work that the cluster can do it: what does not fit hangs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
import ray.exceptions
import ray.util
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from framemill.cluster.engines.ray.health_check import REFUSED, problem_with
from framemill.cluster.engines.ray.pools import Pool
from framemill.cluster.engines.ray.ray_logging import log_folder, one_line
from framemill.cluster.engines.ray.stalls import describe_cluster
from framemill.cluster.machine import import_root
from framemill.cluster.results.layout import SYSTEM_FOLDER
from framemill.cluster.results.storage import ResultPath, open_root
from framemill.errors import SetupError
from framemill.plugins import Plugin, load_plugins

# How long there may be no room, a node may be silent, and storage may take; each is a failure by itself.
CHECK_SECONDS = 10.0
ANSWER_SECONDS = 8.0
STORAGE_SECONDS = 10.0
# A worker on a busy or cold node takes its time to start; that alone is no reason to refuse. It is reported
# after some seconds, and meanwhile the nodes are asked again whether they are there.
LOOK_SECONDS = 60.0
TELL_SECONDS = 5.0
MOST_ASKED = 256  # nodes at once
# Ray 2.60: each raylet that begins with a job removes the folder that the job's code was unpacked to, and
# unpacks it again. Raylets of one machine share that folder: what reads it meanwhile finds parts, or nothing.
UNPACK_SECONDS = 10.0


# As `ray.nodes()` gives it.
Node = Mapping[str, Any]


def code_digest() -> str:
    """Tells two versions of Framemill's packages apart.

    Raises:
        OSError: a file went away meanwhile.
    """
    digest = hashlib.blake2b(digest_size=8)
    home = import_root() / "framemill"
    for folder, folders, files in os.walk(home, followlinks=True):  # in the repository they are links
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                path = Path(folder, name)
                digest.update(path.relative_to(home).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_same_code(code: str) -> bool:
    """Whether the code here is the driver's; waits where it is just being unpacked."""
    deadline = time.monotonic() + UNPACK_SECONDS
    while True:
        try:
            if code_digest() == code:
                return True
        except OSError:
            pass  # as below: a file that was listed is gone
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


@dataclass(frozen=True, slots=True)
class ModelTrouble:
    """Models that cannot be had on a node.

    Attributes:
        problems: role -> what is wrong with its model there.
        absent: the roles among these whose models would have to be fetched.
    """

    problems: Mapping[str, str]
    absent: frozenset[str]


# Puts what is wrong with models on a node into words.
Explain = Callable[[ModelTrouble], str]


def look(
    root: str, token: str, models: Mapping[str, str], plugins: Sequence[Plugin], code: str
) -> str | ModelTrouble:
    """What is wrong where this runs, or an empty text.

    Args:
        root: result folder. token: name of a file in it that must be there.
        models: role -> name or path. plugins: operations that are not ours.
        code: `code_digest` of the driver.
    """
    from framemill.errors import FramemillError

    where = f"on node {cast(Any, ray.util).get_node_ip_address()}"
    if not _is_same_code(code):
        return (
            f"another Framemill is installed {where}, in {import_root()}: "
            "install the same there, or use `ray job submit --working-dir .`"
        )
    task_id = ray.get_runtime_context().get_task_id()
    problem = _look_at_storage(root, token, f"{token}-{task_id}", where)
    if problem:
        return problem
    try:
        load_plugins(plugins)
    except FramemillError as error:
        return (
            f"{error} ({where}: put the module into the folder that the job is submitted with, "
            "--working-dir, or install it on every node)"
        )
    return look_at_models(models, where)


def look_at_models(models: Mapping[str, str], where: str) -> str | ModelTrouble:
    """Which models cannot be had on this machine, or an empty text.

    What has an address is no trouble where it may be fetched: a download may take longer than a check, so the
    first actor does it, and says what goes wrong.

    Args:
        models: role -> name or path. where: this machine, in words.
    """
    from framemill.errors import FramemillError
    from framemill.models.download import is_offline
    from framemill.models.registry import resolve
    from framemill.models.store import find, locate

    problems: dict[str, str] = {}
    absent: set[str] = set()
    for role, choice in models.items():
        try:
            entry = resolve(role, choice)
            is_here = locate(entry) is not None
            if is_here or is_offline() or not entry.urls:
                absent |= set() if is_here else {role}
                find(entry)
        except FramemillError as error:
            problems[role] = f"{error} ({where})"
    return ModelTrouble(problems, frozenset(absent)) if problems else ""


def _looking(seconds: float) -> Callable[..., Any]:
    """What has a worker `look`: the node's own code is what runs, once it can be imported.

    Args:
        seconds: how long the code may be missing, since it is being unpacked.
    """

    # An inner function travels whole. By its name, a worker that cannot import it would never try again.
    def look_there(*given: Any) -> Any:
        import importlib
        import sys
        import time

        deadline = time.monotonic() + seconds
        while True:
            try:
                module = importlib.import_module("framemill.cluster.engines.ray.preflight")
                if importlib.import_module("framemill").__file__ is None:
                    raise ImportError("framemill is a folder without its __init__.py")
                return module.look(*given)
            except (ImportError, OSError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)
            for name in [name for name in sys.modules if name.partition(".")[0] == "framemill"]:
                del sys.modules[name]  # parts of what was there a moment ago
            importlib.invalidate_caches()

    return look_there


def _look_at_storage(root: str, token: str, own: str, where: str) -> str:
    """What is wrong with the result folder, or an empty text; a share that hangs is given up.

    Args:
        token, own: names in it: of a file that must be there, and of one to write.
    """
    answer: Future[str] = Future()

    def try_it() -> None:
        try:
            answer.set_result(_try_folder(root, token, own, where))
        except BaseException as error:  # crosses to the thread that waits
            answer.set_exception(error)

    # No pool of threads: this process would wait for them at its end.
    threading.Thread(target=try_it, name="storage", daemon=True).start()
    try:
        return answer.result(STORAGE_SECONDS)
    except TimeoutError:
        return f"{root} does not answer within {STORAGE_SECONDS:g} s {where}: check the mount or the network"


def _try_folder(root: str, token: str, own: str, where: str) -> str:
    from framemill.errors import FramemillError

    shared = f"results must lie in a folder that every node mounts at the same path, and {root}"
    try:
        folder = open_root(root) / SYSTEM_FOLDER
        if not (folder / token).exists():
            return f"{shared} is not there {where}"
        (folder / own).write_text("")
    except OSError as exc:
        return f"{shared} cannot be written {where}: {exc.strerror}"
    except FramemillError as error:
        return f"{error} ({where})"
    return ""


def nodes_there(nodes: Sequence[Node]) -> list[Node]:
    """Those of the nodes that answer: Ray lists one that is frozen or unplugged for a minute more.

    One that refuses the connection has ended; Ray will find out by itself, and the others can work.

    Args:
        nodes: as `ray.nodes()` tells.

    Raises:
        SetupError: it names those that do not answer within `ANSWER_SECONDS`, or all have ended.
    """

    def ask(node: Node) -> str:
        return problem_with(node["NodeManagerAddress"], node["NodeManagerPort"], ANSWER_SECONDS)

    with ThreadPoolExecutor(max(1, min(MOST_ASKED, len(nodes)))) as threads:
        problems = list(threads.map(ask, nodes))
    have_all_ended = all(problem == REFUSED for problem in problems)
    silent = [
        f"{node['NodeManagerAddress']} ({problem})"
        for node, problem in zip(nodes, problems, strict=True)
        if problem and (problem != REFUSED or have_all_ended)
    ]
    if silent:
        raise SetupError(
            f"{len(silent)} of {len(nodes)} nodes of the cluster cannot be reached: {', '.join(silent[:5])}"
            f"{', ...' if len(silent) > 5 else ''}; they may be suspended, unplugged or behind a firewall: "
            "mend or stop them, or wait until `ray status` no longer lists them, and run again"
        )
    return [node for node, problem in zip(nodes, problems, strict=True) if not problem]


def _require_room(pool: Pool, seconds: float) -> None:
    """Whether one of each kind finds room now. Reserving tells it at once, however long a worker takes to
    start.
    """
    bundles = [{"CPU": pool.cpus, **({"GPU": pool.gpus} if pool.gpus else {})}]
    wanted = ["an actor"]
    if pool.decoders is not None:
        bundles.append({"CPU": pool.decoders.cpus})
        wanted.append("a decoder")
    room = placement_group(bundles)
    try:
        if not room.wait(seconds):
            raise SetupError(
                f"no room for {' and '.join(wanted)} within {seconds:g} s. Wanted: {pool.describe()}. "
                f"{describe_cluster()}"
            )
    finally:
        remove_placement_group(room)


def check_workers(
    root: ResultPath,
    pool: Pool,
    nodes: Sequence[Node],
    models: Mapping[str, str],
    plugins: Sequence[Plugin],
    run_id: str,
    code: str,
    explain: Explain,
    report: Callable[[str], None] = lambda text: None,
    room_seconds: float = CHECK_SECONDS,
) -> None:
    """Tries on every node what will be needed there, and that one actor finds room.

    Args:
        nodes: as `ray.nodes()` tells. Models are needed where an actor has room; files are opened and pieces
            merged wherever there is a CPU, each with all the `plugins`.
        code: `code_digest` of the driver, from before it connected.
        explain: puts what is wrong with models into words.
        report: called with a line where workers take long to start.
        room_seconds: how long there may be no room.

    Raises:
        SetupError: one clear message, as soon as a node tells what is wrong; within `room_seconds` where
            there is no room, and within `ANSWER_SECONDS` where a node does not answer any more.
    """
    token = f"check-{run_id}"
    marker = root / SYSTEM_FOLDER / token
    marker.write_text("")
    looking: Any = ray.remote(max_retries=0)(_looking(UNPACK_SECONDS))
    waiting: dict[Any, Node] = {}
    try:
        _require_room(pool, room_seconds)
        for node in nodes:
            there = node["Resources"]
            has_actor = there.get("CPU", 0.0) >= pool.cpus and there.get("GPU", 0.0) >= pool.gpus
            if has_actor or there.get("CPU", 0.0) > 0:
                here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
                look_there = looking.options(num_cpus=0, scheduling_strategy=here)
                wanted = dict(models) if has_actor else {}
                waiting[look_there.remote(str(root), token, wanted, plugins, code)] = node
        _await_answers(waiting, explain, report)
    except ray.exceptions.RayError as exc:
        raise SetupError(
            f"a worker cannot run Framemill: {one_line(exc)}; install it there, or use "
            f"`ray job submit --working-dir .` (Ray's own messages: {log_folder()})"
        ) from exc
    finally:
        for answer in waiting:
            ray.cancel(answer, force=True)
        for path in marker.parent.glob(f"{token}*"):
            path.unlink(missing_ok=True)


def _await_answers(waiting: dict[Any, Node], explain: Explain, report: Callable[[str], None]) -> None:
    """Takes from `waiting`, answer -> node, what comes.

    Raises:
        SetupError: a node answer what is wrong, or it is gone, or no worker answered within `LOOK_SECONDS`.
    """
    started = time.monotonic()
    is_reported = False
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=TELL_SECONDS)
        for answer in ready:
            trouble: str | ModelTrouble = ""
            # A node may go at any time: those that are left work.
            with contextlib.suppress(ray.exceptions.NodeDiedError):
                trouble = ray.get(answer)
            del waiting[answer]
            if trouble:
                raise SetupError(trouble if isinstance(trouble, str) else explain(trouble))
        if ready:
            continue
        there = {node["NodeID"] for node in nodes_there(list(waiting.values()))}
        for answer in [answer for answer, node in waiting.items() if node["NodeID"] not in there]:
            ray.cancel(answer, force=True)
            del waiting[answer]
        if not waiting:
            return
        addresses = sorted({node["NodeManagerAddress"] for node in waiting.values()})
        where = ", ".join(addresses[:5]) + (", ..." if len(addresses) > 5 else "")
        if time.monotonic() - started > LOOK_SECONDS:
            raise SetupError(
                f"no worker answered within {LOOK_SECONDS:g} s on {len(waiting)} nodes ({where}), though "
                f"Ray runs there: a worker does not start, or hangs (Ray's own messages: {log_folder()} on "
                f"that node). {describe_cluster()}"
            )
        if not is_reported:
            report(f"waiting for a worker to start on {where} ({LOOK_SECONDS:g} s at most)")
            is_reported = True
