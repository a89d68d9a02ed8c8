"""Whether the head of the cluster is still there: without it Ray ends this process without a word."""

from __future__ import annotations

import socket
import time

from models.errors import FramemillError

# Ray itself gives up after 60 s, by ending the process.
HEAD_SECONDS = 30.0
CONNECT_SECONDS = 2.0


class HeadWatch:
    """Looks whether somebody listens at the address of the cluster's head.

    Args:
        address: host:port of the head. seconds: how long it may be away, as while it is started again.

    Attributes:
        is_lost: whether it was away for so long; then no call to the cluster comes back.
    """

    def __init__(self, address: str, seconds: float = HEAD_SECONDS) -> None:
        self.is_lost = False
        self._address = address
        self._seconds = seconds
        self._seen = time.monotonic()

    def check(self) -> None:
        """Takes `CONNECT_SECONDS` at most.

        Raises:
            FramemillError: it is lost.
        """
        host, _, port = self._address.rpartition(":")
        started = time.monotonic()
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            self._seen = time.monotonic()
        except OSError as exc:
            if started - self._seen < self._seconds:
                return
            self.is_lost = True
            raise FramemillError(
                f"the head of the Ray cluster at {self._address} did not answer for {self._seconds:g} s "
                f"({exc.strerror or exc}): start a cluster and run the same command again, with its address; "
                "what was committed stays"
            ) from exc
