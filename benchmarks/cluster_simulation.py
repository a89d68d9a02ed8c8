"""Clusters that are not at hand, simulated with the planner of real runs: how busy they are, and why.

`python -m benchmarks.cluster_simulation` prints a line a cluster. Tasks are cut and ordered by the functions
of a run on Ray; what is simulated is that each free call of an actor takes the next task. How fast an actor
works, and how many sources the driver commits a second, is given.
"""

from __future__ import annotations

import argparse
import heapq
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from framemill.actors.shards import SHARD_SECONDS
from framemill.cluster.engines.ray.messages import Source
from framemill.cluster.engines.ray.opening import TASK_PIECES, TASK_SECONDS
from framemill.cluster.engines.ray.pipeline import OPEN_SOURCES, SMALL_BYTES, plan_groups

BYTES_A_SECOND = 500_000  # 4 Mbit/s
# Measured with files without any work on them (`python -m benchmarks ray_overhead`), on two cores.
DRIVER_FILES_A_SECOND = 841.0
# Of each task: Ray's scheduler and the message.
TASK_OVERHEAD_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes of one kind.

    Attributes:
        nodes, actors_a_node, calls: actors on each node, and tasks that each works on at once.
        speed: seconds of media that an actor does in a second, all its calls together.
    """

    nodes: int
    actors_a_node: int
    calls: int
    speed: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a simulated run.

    Attributes:
        seconds: from the first task to the last result. work_seconds: what the work alone takes.
        busy: share of all actors' time that is work. idlest: the same of the idlest node.
        bound: what keeps it from being shorter.
    """

    seconds: float
    work_seconds: float
    busy: float
    idlest: float
    bound: str


def heavy_tail(count: int, seed: int = 1) -> list[float]:
    """Seconds of files: half are under a minute, one in a hundred takes half an hour, none over ten hours."""
    rng = random.Random(seed)
    return [min(36_000.0, rng.lognormvariate(4.0, 1.5)) for _ in range(count)]


def plan(lengths: Sequence[float], cluster: Cluster) -> Iterator[float]:
    """Tasks in the order in which a run on Ray begins them, each as seconds of media."""
    num_calls = cluster.nodes * cluster.actors_a_node * cluster.calls
    sizes = array("q", (round(length * BYTES_A_SECOND) for length in lengths))
    large = sorted((at for at, size in enumerate(sizes) if size > SMALL_BYTES), key=lambda at: -sizes[at])
    for start in range(0, len(large), OPEN_SOURCES):
        yield from _opened([lengths[at] for at in large[start : start + OPEN_SOURCES]])
    small = [at for at, size in enumerate(sizes) if size <= SMALL_BYTES]
    sources = [Source(uri="", path=b"", num_bytes=sizes[at], mtime_ns=0) for at in small]
    for group in plan_groups(sources, num_calls):
        yield sum(lengths[small[at]] for at in group)


def _opened(lengths: Sequence[float]) -> Iterator[float]:
    """Tasks of some files that were looked at: long ones in pieces, short ones together."""
    short: list[float] = []
    for length in lengths:
        if length > SHARD_SECONDS:
            pieces = -(-int(length) // int(SHARD_SECONDS))
            yield from [length / pieces] * pieces
            continue
        short.append(length)
        if sum(short) >= TASK_SECONDS or len(short) >= TASK_PIECES:
            yield sum(short)
            short = []
    if short:
        yield sum(short)


def simulate(lengths: Sequence[float], cluster: Cluster) -> Outcome:
    """Gives each task to the call that is free first. A call has its share of its actor, busy or not."""
    num_actors = cluster.nodes * cluster.actors_a_node
    speed = cluster.speed / cluster.calls
    # Calls of all nodes in turn, as Ray Data gives tasks to the actors that have the fewest.
    free = [(0.0, call * num_actors + actor) for call in range(cluster.calls) for actor in range(num_actors)]
    heapq.heapify(free)
    worked = [0.0] * cluster.nodes
    end = total = longest = 0.0
    for seconds in plan(lengths, cluster):
        took = seconds / speed + TASK_OVERHEAD_SECONDS
        at, slot = heapq.heappop(free)
        heapq.heappush(free, (at + took, slot))
        worked[slot % num_actors // cluster.actors_a_node] += seconds / speed
        end, longest, total = max(end, at + took), max(longest, took), total + seconds
    slots_a_node = cluster.actors_a_node * cluster.calls
    bounds = {
        "the actors": total / (cluster.speed * num_actors),
        f"the driver, which commits {DRIVER_FILES_A_SECOND:g} files a second": len(lengths)
        / DRIVER_FILES_A_SECOND,
        "the longest piece of a file": longest,
    }
    bound = max(bounds, key=lambda name: bounds[name])
    end = max(end, *bounds.values())
    return Outcome(
        seconds=end,
        work_seconds=bounds["the actors"],
        busy=sum(worked) / (end * slots_a_node * cluster.nodes),
        idlest=min(worked) / (end * slots_a_node),
        bound=bound,
    )


CASES = {
    "64 nodes of 8 GPUs, 1 million files with a heavy tail": (1_000_000, Cluster(64, 8, 8, 100.0)),
    "the same, five times as fast": (1_000_000, Cluster(64, 8, 8, 500.0)),
    "4 nodes, a file of 10 hours beside 1,000 of 30 s": (0, Cluster(4, 1, 4, 8.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the files, for a quick look")
    share = parser.parse_args().share
    for name, (count, cluster) in CASES.items():
        lengths = heavy_tail(round(count * share)) if count else [36_000.0, *[30.0] * 1000]
        found = simulate(lengths, cluster)
        print(
            f"{name}: {found.seconds:.0f} s, busy {found.busy:.1%}, the idlest node {found.idlest:.1%}; "
            f"bound by {found.bound} ({found.work_seconds:.0f} s of work)"
        )


if __name__ == "__main__":
    main()
