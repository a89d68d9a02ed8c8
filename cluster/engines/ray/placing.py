"""Where tasks run that open files or merge their pieces.

They hold no CPU: actors may have taken every one, of what is left after a node went, and wait idle for what
these tasks give them. So many at once are few beside what a node has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from framemill.cluster.engines.ray.pools import cpus_beside

# Tasks at once for each node: opening a file waits for storage and hashes, with little memory.
TASKS_PER_NODE = 4
LEAST_TASKS = 8


@dataclass(frozen=True, slots=True)
class TaskRoom:
    """Room for tasks beside the actors.

    Attributes:
        options: what `ray.remote` and `map_batches` take; tasks are to be spread.
        most: how many may be at work at once.
    """

    options: Mapping[str, Any]
    most: int


def plan_room(nodes: Sequence[Mapping[str, Any]]) -> TaskRoom:
    """Room on every node that was given CPUs, and on those that come later.

    A head without CPUs is meant to stay free of work, and may see neither sources nor results.

    Args:
        nodes: as `ray.nodes()` tells, those that are alive.
    """
    workers = [node for node in nodes if node["Resources"].get("CPU", 0.0) > 0]
    idle = sorted(node["NodeID"] for node in nodes if node["Resources"].get("CPU", 0.0) <= 0)
    options: dict[str, Any] = {"num_cpus": 0}
    if idle:
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(idle)})"}
    return TaskRoom(options, max(LEAST_TASKS, TASKS_PER_NODE * len(workers)))


def alive_nodes() -> list[Mapping[str, Any]]:
    """The nodes that the cluster takes for alive, as `ray.nodes()` tells."""
    known: Any = ray
    return [node for node in known.nodes() if node["Alive"]]


def threads_here(gpus: float) -> int:
    """CPU threads for an actor with so many GPUs of the node that it is on: nodes may differ."""
    here = ray.get_runtime_context().get_node_id()
    found = [node["Resources"] for node in alive_nodes() if node["NodeID"] == here]
    return max(1, round(cpus_beside(found[0], gpus))) if found else 1
