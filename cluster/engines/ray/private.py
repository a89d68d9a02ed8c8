"""All that is used of Ray beyond its public interface. A release may lack it: then runs go on without."""

from __future__ import annotations

import importlib
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
