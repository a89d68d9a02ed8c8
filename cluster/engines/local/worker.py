"""The worker process of the local engine, as `python -m` starts it: light, until it imports what it does."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys

from framemill.cluster.engines.interrupts import ENDING
from framemill.cluster.without_pandas import without_pandas


def _die_with_supervisor(pid: int) -> None:
    """On Linux the kernel ends this process when its parent is killed, even while it hangs in a decoder.

    The parent is, strictly, the thread that started this process: it has to be the one that runs the engine.
    """
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != pid:
        os._exit(1)  # it was killed before this process asked to be told


def main() -> None:
    """Serves the pipe until it closes. The only argument is the process id of the supervisor."""
    _die_with_supervisor(int(sys.argv[1]))
    for number in ENDING:  # the supervisor decides what they mean, and a batch system sends them to all
        signal.signal(number, signal.SIG_IGN)
    # Imports make little garbage: searching for it takes them a tenth longer (measured). `serve` turns it on.
    gc.disable()
    with without_pandas():
        from framemill.cluster.engines.local.answering import serve

        serve()


if __name__ == "__main__":
    main()
