"""Where work is placed: one folder an engine, and what all of them share."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from framemill.errors import UsageError

if TYPE_CHECKING:
    from framemill.cluster.engines.base import Engine
    from framemill.cluster.request import ExtractRequest

# name -> module and class; the module is imported only when the engine is chosen.
ENGINES: dict[str, str] = {
    "local": "framemill.cluster.engines.local.engine:LocalEngine",
    "ray": "framemill.cluster.engines.ray.engine:RayEngine",
}


def is_elsewhere(request: ExtractRequest) -> bool:
    """Whether workers may run on machines that do not share this one's current folder."""
    # What `ray job submit` sets for the program that it starts.
    return bool(request.address) or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def load_engine(request: ExtractRequest) -> Engine:
    """The engine that a request asks for: auto is ray inside a Ray job or where an address is given.

    Raises:
        UsageError: there is no such engine.
    """
    name = request.engine
    if name == "auto":
        name = "ray" if is_elsewhere(request) else "local"
    if name not in ENGINES:
        raise UsageError(f"`engine={name!r}`: choose auto, local or ray")
    module, _, cls = ENGINES[name].partition(":")
    engine: type[Engine] = getattr(importlib.import_module(module), cls)
    return engine(request)
