"""Processes of a pool that open media, each in the sandbox, for commands beside runs.

A process that dies takes those at work with it: they are done again one at a time, and what ends its process
alone is given up.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from framemill.cluster.engines.local.own_folder import OwnFolder
from framemill.cluster.engines.local.process import ENVIRONMENT
from framemill.cluster.machine import usable_cores, worker_memory_bytes
from framemill.cluster.run.messages import Sandbox
from framemill.cluster.run.sandbox import bare_config, describe, enter, require_whole

LOOK_SECONDS = 0.25
Result = TypeVar("Result")
# In a process of the pool: layer -> why it does not hold, as `enter` gives it.
_layers: Mapping[str, str] = {}


def run_sandboxed(
    function: Callable[..., Result],
    calls: Sequence[tuple[Any, ...]],
    workers: int,
    sandbox: Sandbox,
    tell: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
    begin: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
) -> Iterator[tuple[int, Result | None]]:
    """Runs `function(*call)` for each of `calls`.

    Args:
        tell: is given a line where a layer of the sandbox does not hold, or it is off.
        look: called now and then while results are waited for.
        begin: called with `given` in each process, before the sandbox is entered.

    Yields:
        The place of each call, in order of completion, and what it returned; None where it ended its process.

    Raises:
        SetupError: a layer does not hold and all are to; nothing was opened then. And what a call raises.
    """
    done: set[int] = set()
    told = ""
    context = multiprocessing.get_context("spawn")  # not forked: a process of many threads may not be
    initial = (sandbox, begin, given)

    def collected(numbers: Sequence[int], workers: int) -> Iterator[tuple[int, Result]]:
        nonlocal told
        with ProcessPoolExecutor(workers, context, _begin, initial) as pool:
            with _environment(folder.path):
                at_work: dict[Future[Any], int] = {
                    pool.submit(_call, sandbox.mode, function, *calls[number]): number for number in numbers
                }
            try:
                while at_work:
                    ready, _ = wait(at_work, LOOK_SECONDS, FIRST_COMPLETED)
                    look()
                    for future in ready:
                        number = at_work.pop(future)
                        layers, result = future.result()
                        done.add(number)
                        text = describe(layers)
                        if text != told and (not layers or any(layers.values())):
                            tell(text)
                        told = text
                        yield number, result
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():
                    process.terminate()
                raise

    folder = OwnFolder()
    try:
        try:
            yield from collected(range(len(calls)), workers)
        except BrokenProcessPool:
            for number in range(len(calls)):
                if number in done:
                    continue
                try:
                    yield from collected([number], 1)
                except BrokenProcessPool:
                    yield number, None
    finally:
        folder.remove()


def _begin(sandbox: Sandbox, begin: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    global _layers
    # Ctrl-C reaches every process of the group: it is the parent's to act upon.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if begin is not None:
        begin(*given)
    _layers = enter(bare_config(sandbox, usable_cores(), worker_memory_bytes()))


def _call(mode: str, function: Callable[..., Result], *call: Any) -> tuple[Mapping[str, str], Result]:
    require_whole(mode, _layers)
    return _layers, function(*call)


@contextlib.contextmanager
def _environment(temporary: str) -> Iterator[None]:
    """What processes that are started in the block take over, as a run's worker does."""
    changed = {**ENVIRONMENT, "TMPDIR": temporary}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
