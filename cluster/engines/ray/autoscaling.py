"""A cluster whose nodes come as they are asked for: noticing that, asking, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.autoscaler.sdk import request_resources

from framemill.cluster.engines.ray.placing import alive_nodes
from framemill.cluster.engines.ray.pools import Pool, plan_pool, wanted_bundles
from framemill.cluster.engines.ray.preflight import nodes_there
from framemill.cluster.engines.ray.private import kinds_of_nodes
from framemill.cluster.request import ExtractRequest
from framemill.errors import SetupError

LOOK_SECONDS = 2.0
# What Ray calls the kind of a node that no autoscaler started.
_PLAIN = ("node_", "local")


def has_autoscaler() -> bool:
    """Whether an autoscaler starts nodes of this cluster.

    Ray tells nobody in public. A release that keeps it elsewhere is taken for a cluster without one: then
    nodes have to be there before the job.
    """
    kinds = kinds_of_nodes()
    return kinds is None or any(not kind.startswith(_PLAIN) for kind in kinds)


def await_pool(
    request: ExtractRequest, runs_models: bool, num_files: int, report: Callable[[str], None]
) -> tuple[Pool, list[Mapping[str, Any]], bool]:
    """Plans the pool, where need be after waiting for nodes: an autoscaler is asked for them.

    A head alone is waited on, too: its workers may still be starting.

    Args:
        runs_models, num_files: as `plan_pool` takes them. report: called with a line where it waits.

    Returns:
        The pool, the nodes as `ray.nodes()` tells, and whether more come where they are wanted.

    Raises:
        UsageError: as `plan_pool`. SetupError: a node does not answer, or the pool does not fit, if need be
            within `room_seconds`.
    """
    is_growing = has_autoscaler()
    deadline = time.monotonic() + request.room_seconds
    is_waiting = False
    try:
        while True:
            nodes = nodes_there(alive_nodes())
            shapes = [node["Resources"] for node in nodes]
            try:
                pool = plan_pool(request, shapes, runs_models, num_files if is_growing else 0)
                return pool, nodes, is_growing
            except SetupError as error:
                if not is_growing and any(shape.get("CPU", 0.0) for shape in shapes):
                    raise
                limit = f"{request.room_seconds:g} s"
                if time.monotonic() > deadline:
                    raise SetupError(
                        f"no nodes came within {limit} (`room_seconds`): {error}; see `ray status` for what "
                        "the autoscaler says, such as a limit on nodes or a kind that the cloud has none of"
                    ) from error
                if not is_waiting:
                    is_waiting = True
                    asked = wanted_bundles(request)
                    report(f"waiting for nodes, {limit} at most (`room_seconds`); asked for {asked}: {error}")
                    if is_growing:
                        request_resources(bundles=asked)
            time.sleep(LOOK_SECONDS)
    finally:
        if is_waiting and is_growing:
            request_resources(bundles=[])  # else the nodes would stay after the job
