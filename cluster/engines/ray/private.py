"""All that is used of Ray beyond its public interface. A release may lack it: then runs go on without."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any


def take_printed_lines(take: Callable[[str, str], None]) -> bool:
    """Has lines about workers and nodes, which a thread of Ray's would print, taken instead.

    Ray has no setting for it. To be called before Ray is connected.

    Args:
        take: called with who speaks, such as raylet, and a line.

    Returns:
        Whether Ray has what this takes; otherwise the lines are printed.
    """

    def replacement(data: Mapping[str, Any], *rest: object, **options: object) -> None:
        for line in data.get("lines", ()):
            take(str(data.get("pid", "ray")), line)

    try:
        worker: Any = importlib.import_module("ray._private.worker")
    except ImportError:
        return False
    if not hasattr(worker, "print_to_stdstream"):
        return False
    worker.print_to_stdstream = replacement
    return True


def kinds_of_nodes() -> list[str] | None:
    """What an autoscaler calls the kinds of the nodes that are there, as it leaves it in the control store.

    Returns:
        The kinds; None where the second autoscaler of Ray works, which leaves them elsewhere; empty where
        nothing is told, or Ray lacks what this reads.
    """
    try:
        if importlib.import_module("ray.autoscaler.v2.utils").is_autoscaler_v2(fetch_from_server=True):
            return None
        store: Any = importlib.import_module("ray.experimental.internal_kv")
        told = json.loads(store._internal_kv_get("__autoscaling_status") or b"{}")  # noqa: SLF001
    except Exception:
        return []
    return [*(told.get("autoscaler_report", {}).get("node_type_mapping") or {}).values()]
