"""The engine of a Ray cluster, and what it asks of a request."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framemill.actors.object_store import is_remote
from framemill.cluster.engines import is_elsewhere
from framemill.cluster.engines.base import Engine, Setup
from framemill.errors import SetupError

if TYPE_CHECKING:
    from framemill.cluster.engines.ray.preflight import ModelTrouble
    from framemill.cluster.run.committing import PendingRun
    from framemill.cluster.run.progress import Outcome

_RUN = "framemill.cluster.engines.ray.run"


class RayEngine(Engine):
    """Long-lived actors on the nodes of a cluster, fed by Ray Data."""

    name = "ray"

    def check(self) -> None:
        # A job starts in a temporary folder, and workers elsewhere know nothing of this one.
        paths = (self.request.output, *self.request.sources) if is_elsewhere(self.request) else ()
        for path in paths:
            if not is_remote(path) and not Path(path.removeprefix("@")).is_absolute():
                raise SetupError(
                    f"{path!r} is a relative path, which a cluster cannot find: give an absolute one"
                )

    def run(self, setup: Setup, conclude: Callable[[Outcome], PendingRun]) -> Outcome:
        from framemill.cluster.engines.ray.connecting import (
            beside_driver,
            connect,
            current_folder,
            describe_release,
            open_pool,
            return_to,
            share_machines,
        )
        from framemill.cluster.engines.ray.coordinator import open_coordinator
        from framemill.cluster.engines.ray.pools import count_files
        from framemill.cluster.engines.ray.preflight import code_digest
        from framemill.cluster.engines.ray.stream import open_runner
        from framemill.cluster.run.sandbox import describe

        roles = {role for op in setup.plan.ops.values() for role in op.key["models"]}
        models = {role: setup.request.models.get(role, "") for role in roles}
        root, config, report = setup.dataset.root, setup.config, setup.reporter.message
        if release := describe_release():
            report(0, release)
        report(
            0, describe({"privileges": "", "calls": "", **config.sandbox.open} if config.sandbox.open else {})
        )
        code, here = code_digest(), current_folder()
        connect(setup.request)
        actors: tuple[Any, ...] = ()

        def open_actors() -> tuple[Any, Any]:
            here = beside_driver()
            return open_runner(here), open_coordinator(setup, here)

        # They start, and Ray Data is imported, which takes a second, while the workers are looked at; after
        # that where code may just be unpacked meanwhile.
        if not share_machines():
            actors = open_actors()
            threading.Thread(target=importlib.import_module, args=(_RUN,), daemon=True).start()
        pool = open_pool(
            setup.request,
            root,
            models,
            config.plugins,
            config.run_id,
            code,
            sum(
                count_files(group.num_files, group.known_bytes + group.other_bytes)
                for group in setup.jobs.groups
            ),
            partial(_explain, setup),
            lambda text: report(0, text),
        )
        return_to(here)
        from framemill.cluster.engines.ray.run import RayRun

        return RayRun(setup, pool, *(actors or open_actors())).run(conclude)


def _explain(setup: Setup, trouble: ModelTrouble) -> str:
    """As on one machine, of the models that a node lacks: what it has of the others is no matter of ours."""
    from framemill.cluster.run.needed_models import explain_problems
    from framemill.models.registry import resolve

    names = {
        role: resolve(role, setup.request.models.get(role, "")).name
        for op in setup.plan.ops.values()
        for role in op.key["models"]
    }
    there = set(names.values()) - {names[role] for role in trouble.absent}
    return explain_problems(
        setup.plan, setup.request, trouble.problems, lambda entry: entry.name not in there
    )
