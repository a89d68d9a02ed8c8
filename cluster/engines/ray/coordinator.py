"""The coordinator of a run on Ray: who does what, so that nothing is done twice and what kills is found."""

from __future__ import annotations

import time
from collections.abc import Collection
from sys import intern
from typing import TYPE_CHECKING, Any

import ray

from framemill.cluster.engines.ray.messages import Claim
from framemill.cluster.results.commits import OWNED_BY_URI, DatasetState
from framemill.cluster.results.dataset import load_state
from framemill.cluster.results.storage import name_root
from framemill.cluster.run.jobs import Job, earlier_parts, missing_ops
from framemill.cluster.run.messages import Failure
from framemill.cluster.run.source_files import SourceFile
from framemill.ops import load_op
from framemill.ops.operation import runnable
from framemill.plugins import load_plugins

if TYPE_CHECKING:
    from framemill.cluster.engines.base import Setup
    from framemill.cluster.run.planning import OpsPlan

STOPPED = -1


def open_coordinator(setup: Setup, here: Any) -> Any:
    """Starts the `Coordinator` of a run, and gives its handle. It holds no CPU, for a head often has none.

    Args:
        here: the scheduling strategy that keeps it beside the driver.
    """
    actor: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(Coordinator)
    root, jobs = str(setup.dataset.root), setup.jobs
    return actor.remote(root, setup.plan, setup.request.retry_failed, len(jobs))


class Coordinator:
    """Who does what: an actor beside the driver. Its answers decide, so that nothing is done twice.

    Args:
        state: what the dataset holds as the run begins, or the result folder, to read it here: a million
            files on their way from the driver would take its memory twice more.
        plan: the operations of the run.
        retry_failed: whether what failed for good is tried again.
        num_sources: of the run.
    """

    def __init__(
        self, state: DatasetState | str, plan: OpsPlan, retry_failed: bool, num_sources: int
    ) -> None:
        load_plugins(plan.plugins)  # what may fail before them is asked of their classes
        self._state = load_state(name_root(state))[0] if isinstance(state, str) else state
        self._plan = plan
        self._retry_failed = retry_failed
        self._num_sources = num_sources
        self._settled: set[str] = set()  # uris of sources that are long or through
        self._said: list[str] = []
        self._claims: dict[str, str] = {}
        self._attempts: dict[str, int] = {}
        self._actors: dict[str, bytes] = {}
        self._nodes: dict[str, str] = {}
        self._at_work: dict[str, tuple[str, float]] = {}
        self._is_stopped = False
        self._failure: Failure | None = None

    def claim(self, uri: str, source_id: str, lost: Collection[str] = ()) -> Claim | None:
        """What the caller is to do for this content; None when another uri has it already.

        Args:
            lost: operations whose track cannot be used: the driver says so of them, and of what needs them.
        """
        if self._claims.setdefault(source_id, intern(uri)) != uri:
            return None
        job = Job(SourceFile(uri, "", 0, 0), source_id)
        missing = missing_ops(job, self._plan, self._state, self._retry_failed)
        needs = {op: load_op(op).required(self._plan.ops[op].key["after"]) for op in missing}
        # What needs something that failed is given up by the driver, which says so.
        failed = {
            need
            for required in needs.values()
            for need in required
            if need not in missing and not self._has_rows(need, source_id)
        }
        able, _ = runnable({op: needs[op] for op in missing if op not in lost}, failed | {*lost})
        ops = tuple(op for op in able if op not in OWNED_BY_URI)
        others = {need for op in ops for need in self._plan.ops[op].key["after"]} - set(ops)
        earlier = {
            need: () if need in missing else earlier_parts(self._state, self._plan.ops[need], source_id)
            for need in sorted(others)
        }
        record = self._state.sources.get(uri)
        is_told = record is not None and record.source_id == source_id and "media" not in missing
        # What an earlier run decoded knows better than what the file states.
        seconds = record.duration_seconds or None if record is not None and is_told else None
        return Claim(ops=ops, earlier=earlier, duration_seconds=seconds)

    def _has_rows(self, op: str, source_id: str) -> bool:
        entry = self._state.entries.get((op, source_id))
        return entry is not None and entry.status in ("ok", "partial")

    def content_of(self, uri: str) -> str:
        """Content id that this uri was the first to claim, empty where it never came so far."""
        return next((source_id for source_id, first in self._claims.items() if first == uri), "")

    def register(self, actor_id: str, actor: bytes, node_id: str = "") -> None:
        """An actor that begins, perhaps anew, tells its handle, to be killed by, and its node.

        Args:
            actor: the pickled handle: to have it here, all of Ray Data would be imported.
        """
        self._actors[actor_id] = actor
        self._nodes[actor_id] = node_id
        self._at_work = {task: held for task, held in self._at_work.items() if held[0] != actor_id}

    def count_actors(self, nodes: Collection[str]) -> int:
        """How many actors began on these nodes."""
        return sum(node in nodes for node in self._nodes.values())

    def start(self, task_id: str, actor_id: str = "", allowed_seconds: float = 0.0) -> int:
        """How often this task was begun before and not finished; `STOPPED` when nothing is to begin any more.

        Args:
            actor_id: of the actor that begins it; empty for a task that ends by itself when it is late.
            allowed_seconds: how long it may take.
        """
        if self._is_stopped:
            return STOPPED
        before = self._attempts.get(task_id, 0)
        self._attempts[task_id] = before + 1
        if allowed_seconds:
            self._at_work[task_id] = (actor_id, time.monotonic() + allowed_seconds)
        return before

    def allow(self, task_id: str, seconds: float) -> None:
        """How long a task may take from now on: its actor has just learnt how much it is."""
        if task_id in self._at_work:
            self._at_work[task_id] = (self._at_work[task_id][0], time.monotonic() + seconds)

    def others_left(self, uri: str) -> bool:
        """Whether a source that may be short is not through yet; `uri` is that of one that is long."""
        self._settled.add(intern(uri))
        return len(self._settled) < self._num_sources

    def finish(self, task_id: str, uris: Collection[str] = ()) -> None:
        """The task gave its result, and for these sources all that this round gives."""
        self._settled.update(map(intern, uris))
        self._attempts.pop(task_id, None)
        self._at_work.pop(task_id, None)

    def watch(self, nodes: Collection[str] | None = None) -> tuple[int, list[bytes]]:
        """How many tasks are at work, and the pickled handles of actors that hold one for too long.

        Args:
            nodes: those that are alive, if known: what an actor on another one held is not at work.
        """
        if nodes is not None:
            gone = {actor_id for actor_id, node_id in self._nodes.items() if node_id not in nodes}
            self._at_work = {task: held for task, held in self._at_work.items() if held[0] not in gone}
        now = time.monotonic()
        late = {actor_id for actor_id, deadline in self._at_work.values() if now > deadline} - {""}
        self._at_work = {
            task: held for task, held in self._at_work.items() if held[0] not in late and now <= held[1]
        }
        return len(self._at_work), [self._actors[actor_id] for actor_id in late]

    def say(self, text: str) -> None:
        """An actor has something to tell the person at once."""
        self._said.append(text)

    def said(self) -> list[str]:
        """What was said since the last call."""
        told, self._said = self._said, []
        return told

    def give_up(self, failure: Failure) -> None:
        """Why the run cannot go on; the first counts."""
        self._failure = self._failure or failure

    def failure(self) -> Failure | None:
        """What was given to `give_up`."""
        return self._failure

    def stop(self) -> list[bytes]:
        """Begins nothing any more, and tells the pickled handle of every actor."""
        self._is_stopped = True
        return list(self._actors.values())
