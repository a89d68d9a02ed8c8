"""Calls of one function, spread over a Ray cluster: no result is large, and none needs another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
import ray.exceptions

from framemill.cluster.engines.ray.connecting import connect
from framemill.cluster.request import ExtractRequest

# Nodes go, too: a call is blamed for its worker's end only when that came so often.
DEATHS = 3
Result = TypeVar("Result")


def run_tasks(
    function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], address: str = ""
) -> Iterator[tuple[int, Result | None]]:
    """Runs `function(*call)` for each of `calls`, one a CPU, wherever there is room.

    A call whose worker dies runs again: it has to take being begun twice.

    Args:
        address: of the cluster; empty for that of the surrounding job, or else one that is started here.

    Yields:
        The place of each call, in order of completion, and what it returned; None where its worker died
        `DEATHS` times.

    Raises:
        SetupError: no cluster answers. Whatever else a call raises.
    """
    connect(ExtractRequest(sources=(), output="", engine="ray", address=address))
    remote = ray.remote(num_cpus=1, max_retries=DEATHS - 1)(function)
    waiting = {remote.remote(*call): number for number, call in enumerate(calls)}
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            for reference in ready:
                number = waiting.pop(reference)
                try:
                    yield number, ray.get(reference)
                except ray.exceptions.RayTaskError as exc:
                    raise exc.cause from exc
                except ray.exceptions.RayError:
                    yield number, None
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
