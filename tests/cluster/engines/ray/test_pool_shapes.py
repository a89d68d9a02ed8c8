"""How actors are laid over nodes with and without GPUs."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("ray")

from benchmarks.split_model import rates
from framemill.cluster.engines.ray.pools import MOST_GROWN, Pool, count_files, cpus_beside, plan_pool
from framemill.cluster.request import ExtractRequest
from framemill.errors import SetupError, UsageError

BIG, SMALL, CPU, T4, LAPTOP = (96, 8), (8, 1), (64, 0), (4, 1), (4, 0)


def plan(
    nodes: list[tuple[float, float]], runs_models: bool = True, num_files: int = 0, **asked: Any
) -> Pool:
    request = ExtractRequest(sources=("x",), output="out", **asked)
    shapes = [{"CPU": cpus, "GPU": gpus} for cpus, gpus in nodes]
    return plan_pool(request, shapes, runs_models, num_files)


@pytest.mark.parametrize(
    ("nodes", "asked", "expected"),
    [
        ([BIG] * 8, {}, (64, 11.0, 1.0)),
        ([SMALL], {}, (1, 7.0, 1.0)),
        ([CPU] * 16 + [BIG] * 8, {}, (64, 11.0, 1.0)),
        ([T4], {}, (1, 3.0, 1.0)),
        ([LAPTOP], {}, (1, 2.0, 0.0)),
        ([(224, 8)], {}, (8, 16.0, 1.0)),
        ([(8, 8)], {}, (8, 1.0, 1.0)),
        ([(4, 8)], {}, (8, 0.5, 1.0)),
        ([BIG] * 7 + [SMALL], {}, (57, 7.0, 1.0)),
        ([BIG], {"actors_per_gpu": 2}, (16, 5.0, 0.5)),
        ([BIG], {"actors_per_gpu": 3}, (24, 3.0, 0.3333)),
        ([BIG], {"actor_gpus": 0.5}, (16, 5.0, 0.5)),
        ([BIG], {"actor_gpus": 2.0}, (4, 16.0, 2.0)),
        ([BIG], {"actor_gpus": 0.0}, (23, 4.0, 0.0)),
        ([BIG], {"actor_cpus": 4.0}, (8, 4.0, 1.0)),
        ([BIG], {"actors": "3"}, (3, 11.0, 1.0)),
        ([BIG], {"runs_models": False}, (23, 4.0, 0.0)),
        ([BIG], {"runs_models": False, "actors_per_gpu": 1}, (8, 11.0, 1.0)),
    ],
)
def test_an_actor_a_gpu_with_the_cpus_beside_it(
    nodes: list[tuple[float, float]], asked: dict[str, Any], expected: tuple[int, float, float]
) -> None:
    pool = plan(nodes, **asked)
    assert (pool.least, pool.cpus, pool.gpus) == expected and pool.least == pool.most
    shared = sum(gpus // pool.gpus for _, gpus in nodes) if pool.gpus else 0
    assert not shared or pool.least <= shared + 1e-6, "no two have the same part of a GPU"
    assert (pool.threads == 0) == bool(pool.gpus and not asked.get("actor_cpus"))
    assert (8 if pool.gpus else 2) <= pool.calls <= 16


@pytest.mark.parametrize(
    ("node", "gpus", "cpus"),
    [
        (BIG, 1.0, 11.0),
        (SMALL, 1.0, 7.0),
        (T4, 1.0, 3.0),
        (T4, 0.5, 1.0),
        ((256, 8), 1.0, 16.0),
        (CPU, 1.0, 0.0),
    ],
)
def test_an_actor_uses_the_cpus_of_its_own_node(node: tuple[float, float], gpus: float, cpus: float) -> None:
    assert cpus_beside({"CPU": node[0], "GPU": node[1]}, gpus) == cpus


@pytest.mark.parametrize(
    ("nodes", "asked", "kind", "said"),
    [
        ([LAPTOP], {"actors_per_gpu": 2}, SetupError, "wants 0.5 GPUs, and the cluster has 0.*actor_gpus=0"),
        ([BIG], {"actors": "9"}, SetupError, r"9 actors of 11 CPUs and 1 GPUs do not fit.*8 GPUs.*at most 8"),
        ([BIG], {"actor_gpus": 1.0, "actors_per_gpu": 2}, UsageError, "leave one of them out"),
        ([BIG], {"actor_gpus": 1.5}, UsageError, "`actor_gpus=1.5`: give whole GPUs"),
        ([], {}, SetupError, "do not fit the cluster's 0 CPUs on 0 nodes"),
    ],
)
def test_what_does_not_fit_is_refused(
    nodes: list[tuple[float, float]], asked: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        plan(nodes, **asked)


@pytest.mark.parametrize(
    ("nodes", "asked", "size"),
    [
        ([BIG], {}, {"size": 1000 // (8 * 11) + 1}),
        ([BIG], {"num_files": 10}, {"size": 8}),
        ([BIG], {"num_files": 1_000_000}, {"size": MOST_GROWN}),
        ([LAPTOP], {"runs_models": False}, {"size": 63}),
        ([BIG], {"actors": "2-16"}, {"size": 12}),
        ([BIG], {"actors": "2-10"}, {"size": 10}),
        ([BIG], {"actors": "4"}, {"size": 4}),
    ],
)
def test_where_nodes_come_as_they_are_wanted_a_pool_is_as_large_as_its_work(
    nodes: list[tuple[float, float]], asked: dict[str, Any], size: dict[str, int]
) -> None:
    assert dict(plan(nodes, **{"num_files": 1000, **asked}).size) == size
    assert count_files(3, 50 << 20) == 6 and count_files(10, 50) == 10, "a large file is several"


def test_decoders_are_as_many_as_actors_take_shards_from() -> None:
    pool = plan([SMALL] * 8 + [CPU] * 16, topology="split")
    assert pool.decoders is not None
    assert (pool.least, pool.decoders.least, pool.calls) == (8, 256, 64), "not one for each of 1,079 CPUs"
    few = plan([SMALL] * 8, topology="split", actors="8")
    assert few.decoders is not None and few.decoders.least == 55 and few.calls == 14


def test_decoding_elsewhere_pays_where_cpus_stand_elsewhere_and_few_frames_are_looked_at() -> None:
    far = rates([SMALL] * 8 + [CPU] * 16, looked_at=1 / 30, model=1000.0)
    assert far.split > 4 * far.fused and (far.fused_bound, far.split_bound) == ("its CPUs", "its decoders")
    near = rates([BIG] * 8, looked_at=1.0, model=1000.0)
    assert near.split < near.fused / 4 and (near.fused_bound, near.split_bound) == (
        "the model",
        "the network",
    )
