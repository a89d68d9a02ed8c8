"""Nodes that come as they are asked for, by Ray's fake autoscaler: from none to several, and away again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from benchmarks.machines import Machines, can_have_namespaces, machines
from benchmarks.stand_ins import SLEEPING, environment
from framemill.cluster.engines.ray import autoscaling, private
from framemill.cluster.engines.ray.autoscaling import await_pool, has_autoscaler
from framemill.cluster.request import ExtractRequest
from framemill.errors import SetupError
from tests.cluster.engines.ray.ray_watching import MOST_SECONDS, finish
from tests.cluster.extraction import extract, tables_of

# More than a minute and a half of work for two actors: a node takes its time to come.
NUM_FILES, FILE_SECONDS = 100, 4


def _node(cpus: float, gpus: float = 0.0) -> dict[str, Any]:
    return {"Resources": {"CPU": cpus, "GPU": gpus}}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, Any]]]:
    """What is there at each look; the last stays."""
    looks: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(autoscaling, "alive_nodes", lambda: looks.pop(0) if len(looks) > 1 else looks[0])
    monkeypatch.setattr(autoscaling, "nodes_there", lambda there: there)
    monkeypatch.setattr(autoscaling, "LOOK_SECONDS", 0.01)
    return looks


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[dict[str, float]]]:
    """What the autoscaler was asked for, in turn."""
    bundles: list[Sequence[dict[str, float]]] = []
    monkeypatch.setattr(autoscaling, "has_autoscaler", lambda: True)
    monkeypatch.setattr(autoscaling, "request_resources", lambda bundles: asked_for(bundles))

    def asked_for(some: Sequence[dict[str, float]]) -> None:
        bundles.append(some)

    return bundles


def _request(**asked: Any) -> ExtractRequest:
    return ExtractRequest(sources=("x",), output="out", **asked)


def test_a_job_asks_for_gpus_that_are_not_there_and_waits_for_them(
    nodes: list[list[dict[str, Any]]], asked: list[Sequence[dict[str, float]]]
) -> None:
    nodes += [[_node(0)], [_node(0), _node(8)], [_node(0), _node(8), _node(8, 1)]]
    said: list[str] = []
    pool, there, is_growing = await_pool(_request(actor_gpus=1.0), True, 1000, said.append)
    assert (pool.least, pool.cpus, pool.gpus, len(there), is_growing) == (16, 7.0, 1.0, 3, True)
    assert asked == [[{"CPU": 1.0, "GPU": 1.0}], []], "asked once, and let go in the end"
    assert len(said) == 1 and said[0].startswith("waiting for nodes, 600 s at most (`room_seconds`)")


def test_nodes_that_never_come_end_the_job_with_what_to_do(
    nodes: list[list[dict[str, Any]]], asked: list[Sequence[dict[str, float]]]
) -> None:
    nodes += [[_node(2)]]
    with pytest.raises(SetupError, match=r"no nodes came within 0.05 s.*3 actors of 4 CPUs.*ray status"):
        await_pool(_request(actors="3", actor_cpus=4.0, room_seconds=0.05), False, 9, lambda text: None)
    assert asked == [[{"CPU": 4.0}] * 3, []]


def test_a_head_alone_waits_for_its_workers_and_a_cluster_that_is_too_small_does_not(
    nodes: list[list[dict[str, Any]]],
    asked: list[Sequence[dict[str, float]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(autoscaling, "has_autoscaler", lambda: False)
    nodes += [[_node(0)], [_node(0), _node(4)]]
    pool, _, is_growing = await_pool(_request(), False, 9999, lambda text: None)
    assert dict(pool.size) == {"size": 1} and not is_growing and not asked
    started = time.monotonic()
    with pytest.raises(SetupError, match="9 actors of 2 CPUs do not fit"):
        await_pool(_request(actors="9"), False, 9999, lambda text: None)
    assert time.monotonic() - started < 5


@contextmanager
def _cluster(folder: Path, most_workers: int) -> Iterator[Machines]:
    """A head without CPUs, whose autoscaler starts nodes of two CPUs and takes idle ones away."""
    if not can_have_namespaces():
        pytest.skip("the fake autoscaler needs Ray's usual ports, for which this process has no rights")
    kinds = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": most_workers},
    }
    settings = {
        "cluster_name": "fake", "max_workers": most_workers, "upscaling_speed": 9.0,
        "idle_timeout_minutes": 0.1,
        # All nodes of it have one address: without their ids for it, the autoscaler takes them for dead. It
        # would also log in to set each up, which fails, and end those that are not alive by then.
        "provider": {"type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True},
        "auth": {"ssh_user": "nobody"}, "docker": {},
        "available_node_types": kinds, "head_node_type": "ray.head.default", "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [],
        "initialization_commands": [], "setup_commands": [], "head_setup_commands": [],
        "worker_setup_commands": [], "head_start_ray_commands": [], "worker_start_ray_commands": [],
    }  # fmt: skip
    path = folder / "autoscaler.json"
    path.write_text(json.dumps(settings))
    variables = {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        **environment(folder / "stand in", SLEEPING, STAND_IN_SECONDS=str(FILE_SECONDS)),
    }
    with machines(environment=variables) as cluster:
        cluster.add(0, f"--autoscaling-config={path}")
        yield cluster


@pytest.mark.cluster
@pytest.mark.slow
def test_from_no_node_to_several_and_back(clips: Path, tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    clip = (clips / "b.mp4").read_bytes()
    for number in range(NUM_FILES):
        (videos / f"{number}.mp4").write_bytes(clip + b"\0\0\0\x0cfree" + number.to_bytes(4, "big"))
    with _cluster(tmp_path, 3) as cluster:
        run = cluster.run_on(cluster.all[0], "extract", videos, "-o", out, "--address", cluster.gcs)
        seen = [1]
        is_over = threading.Event()

        def look() -> None:
            while not is_over.wait(1):
                seen.append(len(cluster._alive()))

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            said = finish(run)
        finally:
            is_over.set()
            run.kill()
            looking.join(60)
        assert run.returncode == 0, said
        assert "waiting for nodes, 600 s at most (--wait-for-room)" in said
        assert max(seen) > 2, "more than the one that was asked for"
        deadline = time.monotonic() + MOST_SECONDS
        while len(cluster._alive()) > 1:
            assert time.monotonic() < deadline, "nodes stay that nobody needs"
            time.sleep(1)
    assert extract(videos, out=tmp_path / "local", ops=()).exit_code == 0
    assert tables_of(out) == tables_of(tmp_path / "local")


@pytest.mark.cluster
@pytest.mark.slow
def test_a_cluster_that_may_not_grow_ends_the_job(clips: Path, tmp_path: Path) -> None:
    with _cluster(tmp_path, 0) as cluster:
        line = ("extract", clips, "-o", tmp_path / "out", "--address", cluster.gcs, "--wait-for-room", "10")
        run = cluster.run_on(cluster.all[0], *line)
        said = finish(run)
        assert run.returncode == 5 and "no nodes came within 10 s" in said and "ray status" in said, said


def test_a_release_that_keeps_its_state_elsewhere_counts_as_one_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(private.importlib, "import_module", gone)
    assert has_autoscaler() is False
