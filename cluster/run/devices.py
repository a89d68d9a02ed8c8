"""What a worker has to do with devices: who decodes on them, how full they get, and leaving a lost one."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from framemill.errors import DeviceLostError
from framemill.models.cuda import used_memory_bytes

if TYPE_CHECKING:
    from framemill.actors.shard_processor import ShardProcessor

# EX_UNAVAILABLE of sysexits.h.
DEVICE_LOST = 69


class Devices:
    """The devices as one worker sees them; `threads` of it may read at once."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._is_open = False
        self._peak_bytes = 0

    def open_reader(self, actor: ShardProcessor) -> None:
        """At its first call, lets a device decode for the actor where there is one (`actors.dali_device`)."""
        with self._lock:  # whoever comes second waits, or its shard would be read without the device
            if not self._is_open and actor.read is None:
                from framemill.actors.dali_device import open_device_reader

                actor.read, note = open_device_reader(self._threads)
                actor.notes += [note] if note else []
            self._is_open = True

    def peak_bytes(self) -> int:
        """The most device memory that was in use when this was called; 0 without a device."""
        self._peak_bytes = max(self._peak_bytes, used_memory_bytes())
        return self._peak_bytes


def leave_if_lost(error: BaseException) -> None:
    """Ends this process where a device is lost to it, since CUDA cannot be started anew in it.

    Its supervisor starts another, which finds the device again or goes down the ladder without it; what was
    at work is done again.
    """
    if isinstance(error, DeviceLostError):
        print(f"leaving: {error}", file=sys.stderr, flush=True)
        os._exit(DEVICE_LOST)
