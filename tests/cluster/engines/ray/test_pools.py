"""What is decided without a cluster about the split topology and about tasks of small files."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

pytest.importorskip("ray")

from framemill.cluster.config import read_settings
from framemill.cluster.engines.ray.messages import Source
from framemill.cluster.engines.ray.opening import TASK_PIECES
from framemill.cluster.engines.ray.pipeline import MOST_TASKS_PER_CALL, SMALL_BYTES, TASK_BYTES, plan_groups
from framemill.cluster.engines.ray.pools import MOST_STREAMS, STREAMS, Pool, plan_pool
from framemill.cluster.engines.ray.split import MESSAGE_BYTES, MESSAGES, message_bytes
from framemill.cluster.request import ExtractRequest
from framemill.errors import SetupError, UsageError
from tests.cluster.extraction import extract


def split(nodes: list[tuple[float, float]], **asked: Any) -> Pool:
    """A pool for nodes of so many CPUs and GPUs."""
    request = ExtractRequest(sources=("x",), output="out", topology="split", **asked)
    return plan_pool(request, [{"CPU": cpus, "GPU": gpus} for cpus, gpus in nodes])


@pytest.mark.parametrize(
    ("nodes", "asked", "actors", "decoders"),
    [
        ([(4, 0)], {}, {"size": 1}, {"size": 2}),
        ([(16, 0)], {"actors": "2"}, {"size": 2}, {"size": 13}),
        ([(8, 2)], {"actor_gpus": 1.0}, {"size": 2}, {"size": 5}),
        ([(32, 1)], {"actor_gpus": 0.1}, {"size": 10}, {"size": 21}),
        ([(8, 1), (16, 0)], {"actor_gpus": 0.5, "decoder_cpus": 2.0}, {"size": 2}, {"size": 10}),
        ([(8, 1)], {"actor_gpus": 1.0, "decoders": "1-64"}, {"size": 1}, {"min_size": 1, "max_size": 64}),
        ([(16, 0)], {"actors": "1-8", "decoders": "4"}, {"min_size": 1, "max_size": 8}, {"size": 4}),
    ],
)
def test_both_pools_leave_a_cpu_free(
    nodes: list[tuple[float, float]], asked: dict[str, Any], actors: dict[str, int], decoders: dict[str, int]
) -> None:
    pool = split(nodes, **asked)
    assert pool.decoders is not None
    assert (dict(pool.size), dict(pool.decoders.size)) == (actors, decoders)
    held = pool.least * pool.cpus + pool.decoders.least * pool.decoders.cpus
    assert held <= sum(cpus for cpus, _ in nodes) - 1
    assert pool.gpus == asked.get("actor_gpus", 0.0) and pool.decoders.gpus == 0
    assert 1 <= pool.calls <= MOST_STREAMS
    if pool.calls < MOST_STREAMS:
        assert pool.calls * pool.least >= STREAMS * pool.decoders.most, "no decoder need be idle"


@pytest.mark.parametrize(
    ("nodes", "asked", "said"),
    [
        ([(4, 0)], {"decoders": "4", "actors": "1"}, "4 decoders of 1 CPUs do not fit.*at most 3"),
        ([(3, 0)], {"actor_cpus": 3.0, "actors": "1"}, "1 decoders of 1 CPUs do not fit.*at most 0"),
        ([(2, 0), (2, 0)], {"decoder_cpus": 4.0, "actors": "1"}, "1 decoders of 4 CPUs do not fit"),
        ([(4, 0)], {"actor_gpus": 1.0}, "1 GPUs, and the cluster has 0"),
    ],
)
def test_pools_that_would_wait_for_ever_are_refused(
    nodes: list[tuple[float, float]], asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(SetupError, match=said):
        split(nodes, **asked)


def test_a_number_of_decoders_that_is_none() -> None:
    with pytest.raises(UsageError, match="`decoders='few'`"):
        split([(8, 0)], decoders="few")


def test_it_needs_ray(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="`topology='split'` needs Ray"):
        extract(tmp_path, out=tmp_path / "out", topology="split")


@pytest.mark.parametrize(("store_bytes", "cpus"), [(0, 4), (1 << 40, 4), (8 << 30, 16), (100 << 20, 64)])
def test_messages_leave_half_of_the_object_store(store_bytes: int, cpus: int) -> None:
    pool = split([(cpus, 0)])
    assert pool.decoders is not None
    size = message_bytes(
        [{"CPU": cpus, **({"object_store_memory": store_bytes} if store_bytes else {})}], pool
    )
    assert 0 < size <= MESSAGE_BYTES
    if store_bytes:
        assert size * MESSAGES * STREAMS * pool.decoders.most <= store_bytes / 2
        assert size * MESSAGES * pool.calls * pool.most <= store_bytes / 2
    if store_bytes >= 1 << 40 or not store_bytes:
        assert size == MESSAGE_BYTES


def test_a_message_holds_frames_however_many_nodes_decode() -> None:
    shapes = [(8.0, 1.0)] * 8 + [(64.0, 0.0)] * 16
    nodes = [{"CPU": cpus, "GPU": gpus, "object_store_memory": 4e9 * cpus / 8} for cpus, gpus in shapes]
    size = message_bytes(nodes, split(shapes, actor_gpus=1.0))
    assert size >= 3 * 1920 * 1080 * 1.5, "three frames of 1080p at the least"


def _sources(sizes: list[int], changed: Collection[int] = ()) -> list[Source]:
    return [
        Source(uri=f"{i}", path=f"/{i}".encode(), num_bytes=size, mtime_ns=0, is_changed=i in changed)
        for i, size in enumerate(sizes)
    ]


def _grouped(sizes: list[int], num_calls: int, changed: Collection[int] = ()) -> list[list[int]]:
    return [[*group] for group in plan_groups(_sources(sizes, changed), num_calls)]


def test_small_files_share_tasks_the_largest_first() -> None:
    assert _grouped([1, 3, 2], 4) == [[1], [2], [0]], "few files: none waits behind another"
    many = _grouped([1000] * 100_000, 64)
    counts = [len(group) for group in many]
    assert counts[0] == TASK_PIECES
    assert counts == sorted(counts, reverse=True), "smaller tasks towards the end, so that all end together"
    assert len(counts) <= MOST_TASKS_PER_CALL * 64
    assert sorted(i for group in many for i in group) == list(range(100_000))
    large = _grouped([SMALL_BYTES] * 5 + [TASK_BYTES // 4] * 400, 2)
    assert [len(group) for group in large[:5]] == [1] * 5
    assert max(len(group) for group in large) == 4, "bytes are a limit too"
    assert [3] in _grouped([5] * 400, 2, {3}), "a changed file is alone"


def test_the_settings_have_one_name_each(tmp_path: Any) -> None:
    path = tmp_path / "framemill.toml"
    path.write_text('topology = "split"\ndecoders = "1-4"\nstall_after = 60\n')
    environ = {"FRAMEMILL_DECODER_CPUS": "2", "FRAMEMILL_STALL_AFTER": "90"}
    read = read_settings({"stall_after": "30.5"}, environ, path)
    assert read == {"topology": "split", "decoders": "1-4", "decoder_cpus": 2.0, "stall_seconds": 30.5}
    for flags in ({"topology": "other"}, {"stall_after": "0"}, {"stall_after": "soon"}):
        with pytest.raises(UsageError, match=f"--{next(iter(flags)).replace('_', '-')}"):
            read_settings(flags, {}, path)
