"""An actor builds engines as a task of its own, before it takes any of a file's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from framemill.cluster.engines.ray import actor as actor_module
from framemill.cluster.engines.ray.actor import PREPARE_SECONDS, ShardProcessorActor
from framemill.cluster.engines.ray.coordinator import STOPPED, Coordinator
from framemill.cluster.engines.run import DEATHS_ALONE


class Runner:
    """Builds one engine, if it may."""

    def __init__(self, coordinator: Any, builds: bool) -> None:
        self.coordinator, self.builds = coordinator, builds
        self.at_work: list[int] = []

    def builds_engines(self) -> bool:
        return self.builds

    def prepare(self, tell: Any) -> None:
        tell("engine of m: built")
        self.at_work.append(len(self.coordinator.real._at_work))


class Handle:
    """A coordinator without Ray around it; calls are answered at once."""

    def __init__(self) -> None:
        self.real = Coordinator.__new__(Coordinator)
        self.real._is_stopped = False
        self.real._said = []
        self.real._attempts, self.real._at_work, self.real._settled = {}, {}, set()

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.real, name))


def prepared(monkeypatch: pytest.MonkeyPatch, handle: Handle, builds: bool = True) -> Runner:
    monkeypatch.setattr(actor_module.ray, "get", lambda answer: answer)
    made: Any = ShardProcessorActor.__new__(ShardProcessorActor)
    made._coordinator, made._name, made._runner = handle, "actor-1", Runner(handle, builds)
    made._prepare()
    runner: Runner = made._runner
    return runner


def test_the_coordinator_knows_of_the_work_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Handle()
    runner = prepared(monkeypatch, handle)
    assert runner.at_work == [1], "the run would be ended as one in which nothing works"
    assert not handle.real._at_work and not handle.real._attempts and PREPARE_SECONDS >= 600
    assert handle.real.said() == ["engine of m: built"] and handle.real.said() == []


def test_nothing_is_asked_where_no_engine_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Handle()
    handle.real.start = None  # type: ignore[assignment,method-assign]
    assert prepared(monkeypatch, handle, builds=False).at_work == []


def test_a_build_that_ended_its_actor_again_and_again_is_left_to_the_first_shard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handle = Handle()
    for _ in range(DEATHS_ALONE):
        handle.real.start("engines for actor-1", "actor-1", 1.0)
    assert prepared(monkeypatch, handle).at_work == []
    handle.real._is_stopped = True
    assert handle.real.start("x") == STOPPED and prepared(monkeypatch, handle).at_work == []
