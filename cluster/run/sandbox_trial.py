"""Enters the sandbox and tries what each layer takes away: a process of its own, for `framemill doctor`."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
from collections.abc import Callable

from framemill.cluster.machine import worker_memory_bytes
from framemill.cluster.run.messages import Sandbox
from framemill.cluster.run.sandbox import MOST_OPEN_FILES, bare_config, enter

_PR_GET_NO_NEW_PRIVS = 39


def try_all(outside: str) -> None:
    """Prints layer -> why it does not hold on this machine; empty where it does.

    Args:
        outside: a file that this process may read and change, and will not be able to.
    """
    os.environ.pop("TMPDIR", None)  # a worker has one of its own
    config = bare_config(Sandbox(mode="auto"), 1, worker_memory_bytes())
    found = dict(enter(config))
    for layer, is_kept_away in _trials(outside).items():
        if not found[layer] and not is_kept_away():
            found[layer] = "this kernel took the order and does not keep to it"
    print(json.dumps(found))


def _trials(outside: str) -> dict[str, Callable[[], bool]]:
    libc = ctypes.CDLL(None)
    return {
        "privileges": lambda: libc.prctl(_PR_GET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (0, 0, 0, 0))) == 1,
        "calls": lambda: libc.unshare(0) == -1,
        "network": lambda: _is_denied(socket.socket),
        "reads": lambda: _is_denied(lambda: os.open(outside, os.O_RDONLY)),
        "writes": lambda: _is_denied(lambda: os.open(outside, os.O_WRONLY)),
        "limits": lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= MOST_OPEN_FILES,
    }


def _is_denied(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except PermissionError:
        return True
    return False
