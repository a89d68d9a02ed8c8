"""The simulated clusters are as busy as the planner can make them, and what bounds them is told."""

from __future__ import annotations

import pytest

pytest.importorskip("ray")

from benchmarks.cluster_simulation import CASES, Cluster, heavy_tail, plan, simulate

LARGE = "64 nodes of 8 GPUs, 1 million files with a heavy tail"


def test_the_plan_holds_every_second_once_and_begins_with_the_long_files() -> None:
    lengths = heavy_tail(5000)
    tasks = list(plan(lengths, Cluster(4, 2, 8, 100.0)))
    assert sum(tasks) == pytest.approx(sum(lengths))
    assert max(tasks) <= 630, "no piece is much longer than a shard"
    assert sum(tasks[: len(tasks) // 10]) > 3 * sum(tasks[-len(tasks) // 10 :])


def test_a_long_file_beside_many_short_ones_keeps_every_node_busy() -> None:
    _, cluster = CASES["4 nodes, a file of 10 hours beside 1,000 of 30 s"]
    found = simulate([36_000.0, *[30.0] * 1000], cluster)
    assert found.idlest >= 0.95 and found.bound == "the actors"


def test_a_large_cluster_is_busy_until_the_driver_bounds_it() -> None:
    # A tenth of the cluster and of its files: the tail of single pieces weighs as much.
    count, cluster = CASES[LARGE]
    few = Cluster(cluster.nodes // 16, cluster.actors_a_node, cluster.calls, cluster.speed)
    found = simulate(heavy_tail(count // 16), few)
    assert found.busy >= 0.95 and found.idlest >= 0.95 and found.bound == "the actors"
    fast = simulate(heavy_tail(count // 16), Cluster(64, 8, 8, 500.0))
    assert fast.busy < 0.95 and "the driver" in fast.bound


def test_one_piece_alone_bounds_a_cluster_that_is_too_large_for_it() -> None:
    found = simulate([500.0, 1.0], Cluster(4, 1, 4, 8.0))
    assert found.bound == "the longest piece of a file" and found.busy < 0.5
