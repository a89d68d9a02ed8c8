"""Whether the head of the cluster is still there: without it Ray ends this process without a word."""

from __future__ import annotations

import atexit
import faulthandler
import os
import time

from framemill.cluster.engines.ray.health_check import problem_with
from framemill.errors import FramemillError

# Ray itself gives up after 60 s, by ending the process.
HEAD_SECONDS = 30.0
ANSWER_SECONDS = 2.0
# At the end of this process Ray tells the head, and waits without limit for one that is frozen.
LEAVE_SECONDS = 10.0


class HeadWatch:
    """Looks whether the cluster's head answers at its address.

    Args:
        address: host:port of the head. seconds: how long it may be away, as while it is started again.

    Attributes:
        is_lost: whether it was away for so long; then no call to the cluster comes back.
    """

    def __init__(self, address: str, seconds: float = HEAD_SECONDS) -> None:
        self.is_lost = False
        self._address = address
        self._seconds = seconds
        self._away_since: float | None = None

    def check(self) -> bool:
        """Whether it answers now; takes `ANSWER_SECONDS` at most.

        Raises:
            FramemillError: it is lost.
        """
        host, _, port = self._address.rpartition(":")
        problem = problem_with(host, int(port), ANSWER_SECONDS)
        if not problem:
            self._away_since = None
            return True
        now = time.monotonic()
        # From the first look that failed: between two looks this process may have been kept busy for long.
        self._away_since = self._away_since or now
        if now - self._away_since >= self._seconds:
            self.is_lost = True
            atexit.register(_leave_soon)
            raise FramemillError(
                f"the head of the Ray cluster at {self._address} did not answer for {self._seconds:g} s "
                f"({problem}): start a cluster and run the same command again, with its address; "
                "what was committed stays"
            )
        return False


def _leave_soon() -> None:
    """Ends this process, with exit code 1 as for the error that was raised, where its end takes long."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    faulthandler.dump_traceback_later(LEAVE_SECONDS, exit=True, file=nowhere)
