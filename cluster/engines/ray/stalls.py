"""When nothing happens: noticing it, and saying what waits for what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from framemill.cluster.engines.ray.placing import alive_nodes
from framemill.cluster.engines.ray.pools import Pool, fits
from framemill.cluster.engines.ray.ray_logging import log_folder


class StallWatch:
    """Notices when nothing happens for long.

    Args:
        seconds: after so long it is told, and again after as long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = self._told = time.monotonic()

    def note(self) -> None:
        """Something happened."""
        self._since = self._told = time.monotonic()

    def waited(self, num_at_work: int) -> float:
        """Seconds without anything happening, each time that it is to be told; otherwise 0.

        Args:
            num_at_work: tasks begun and not finished: they have deadlines of their own.
        """
        if num_at_work:
            self.note()
        now = time.monotonic()
        if now - self._told < self._seconds:
            return 0.0
        self._told = now
        return now - self._since

    @property
    def idle_seconds(self) -> float:
        """Seconds since something happened, or was at work when `waited` was called."""
        return time.monotonic() - self._since


def describe_cluster() -> str:
    """What is there and what is free, in words."""
    known: Any = ray
    there, free = known.cluster_resources(), known.available_resources()
    alive = alive_nodes()
    num_lost = len(known.nodes()) - len(alive)
    lost = f" ({num_lost} more were lost)" if num_lost else ""
    widest = max((node["Resources"].get("CPU", 0.0) for node in alive), default=0.0)
    return (
        f"The cluster has {len(alive)} nodes{lost}, the largest with {widest:g} CPUs; "
        f"{free.get('CPU', 0):g} of {there.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} of "
        f"{there.get('GPU', 0):g} GPUs are free; other jobs may hold the rest (`ray status`, "
        "`ray list actors`), or nodes may still be starting"
    )


def describe_stall(seconds: float, num_waiting: int, num_merges: int, pool: Pool, num_actors: int) -> str:
    """What waits for what, where nothing was at work for so long.

    Args:
        num_waiting: files that wait for an actor. num_merges: files that wait to have their pieces merged.
        num_actors: actors that are there.
    """
    waits = [f"{num_waiting} files wait for an actor"] if num_waiting or not num_merges else []
    if num_merges:
        waits.append(f"{num_merges} files wait to have their pieces merged")
    missing = describe_missing(pool, num_actors, [node["Resources"] for node in alive_nodes()])
    return (
        f"no progress for {seconds:.0f} s: {' and '.join(waits)}, and none works. Wanted: {pool.describe()}. "
        f"{missing}. {describe_cluster()}. Free some, add a node, or stop and run again with fewer or "
        f"smaller actors (`actors`, `actor_cpus`). Ray's own messages: {log_folder()}"
    )


def describe_missing(pool: Pool, num_actors: int, nodes: Sequence[Mapping[str, float]]) -> str:
    """Which actors are not there, and whether a node could ever hold one.

    Args:
        num_actors: actors that are there. nodes: resources of those that are alive.
    """
    if num_actors >= pool.least:
        return f"All {num_actors} actors are there and idle, and no task reaches them"
    wants = f"{pool.cpus:g} CPUs{f' and {pool.gpus:g} GPUs' if pool.gpus else ''}"
    text = f"Of at least {pool.least} actors {num_actors} are there; each of the others waits for {wants}"
    if fits(nodes, pool.cpus, pool.gpus) > num_actors:
        return f"{text}, which nodes have but others hold"
    shapes = Counter(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
    left = ", ".join(f"{count} of {shape}" for shape, count in shapes.items()) or "none"
    return f"{text}, which no node has left (nodes: {left})"
