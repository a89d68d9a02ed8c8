"""Holding a result folder in an object store, by nothing but "make this object if there is none".

The lease is a row of numbered objects; the highest number holds. To take over is to make the next number,
which exactly one of several waiters can. The holder writes its own object again and again, as a sign of life;
nobody else writes it. A holder that was thought dead and comes back finds a higher number. It may still be on
its way to commit: so who takes over commits first, and nothing, which takes the place in the log that the
other would have had. The log, not the lease, is what keeps two committers apart.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime

from framemill.cluster.results.layout import storage_errors
from framemill.cluster.results.lease import STALE_SECONDS, Holder, Waiting, is_dead, lost, this_process
from framemill.cluster.results.remote_path import RemotePath
from framemill.errors import FramemillError, LeaseError

HEARTBEAT_SECONDS = 10.0
# Stores refuse requests of machines whose clock is off by more than a quarter of an hour.
CLOCK_SECONDS = 900.0
_POLL_SECONDS = 1.0


class RemoteLease:
    """The right to commit to one folder, kept alive by a thread until `release`.

    Attributes:
        holder: who we are.
        needs_fence: whether it was taken from somebody who did not let go.
    """

    def __init__(
        self, folder: RemotePath, holder: Holder, number: int, needs_fence: bool, heartbeat_seconds: float
    ) -> None:
        self.holder = holder
        self.needs_fence = needs_fence
        self._folder = folder
        self._number = number
        self._beats = 0
        self._released = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, args=(heartbeat_seconds,), name="framemill-lease", daemon=True
        )
        self._thread.start()

    @classmethod
    def acquire(
        cls,
        system_folder: RemotePath,
        run_id: str,
        *,
        wait_seconds: float,
        on_wait: Callable[[str], None] | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        stale_seconds: float = STALE_SECONDS,
    ) -> RemoteLease:
        """As `Lease.acquire`. A holder elsewhere counts as gone when no sign of life came for `stale_seconds`
        while we waited, or when its last is older than any difference of clocks.

        Raises:
            LeaseError: the holder did not let go within `wait_seconds`.
            DatasetError: the storage refuses.
        """
        folder = system_folder / "lease"
        us = this_process(run_id)
        waiting = Waiting(system_folder.parent, wait_seconds, _POLL_SECONDS, on_wait)
        seen, since = b"", time.monotonic()
        while True:
            with storage_errors(folder, "taking the lease of"):
                number, changed_at, data = _highest(folder)
                holder, is_released = _told(data)
                if data != seen:
                    seen, since = data, time.monotonic()
                is_silent = time.monotonic() - since > stale_seconds
                if changed_at is not None:
                    age = (datetime.now(UTC) - changed_at).total_seconds()
                    is_silent = is_silent or age > stale_seconds + CLOCK_SECONDS
                if is_released or is_silent or is_dead(holder):
                    if _take(folder, us, number + 1):
                        return cls(folder, us, number + 1, not is_released, heartbeat_seconds)
                    continue  # another waiter was faster
            waiting.wait(holder)

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Makes sure before and after that the lease is ours.

        Raises:
            LeaseError: it is not any more. What was done within may have taken effect all the same.
        """
        self._require()
        yield
        self._require()

    def check(self) -> None:
        """Raises LeaseError if the lease is no longer ours."""
        self._require()

    def release(self) -> None:
        """Lets go. A lease that was lost, or cannot be written, is left to others to take over."""
        self._released.set()
        self._thread.join()
        with suppress(OSError, FramemillError):
            self._require()
            _object(self._folder, self._number).write_bytes(_document(self.holder, self._beats, True))

    def _require(self) -> None:
        with storage_errors(self._folder, "checking the lease of"):
            numbers = _numbers(self._folder)
        if max(numbers, default=0) != self._number:
            raise lost(self.holder, self._folder.parent.parent, "another run")

    def _beat(self, heartbeat_seconds: float) -> None:
        while not self._released.wait(heartbeat_seconds):
            self._beats += 1
            try:
                self._require()
                _object(self._folder, self._number).write_bytes(_document(self.holder, self._beats, False))
            except LeaseError:
                return
            except (OSError, FramemillError):
                continue  # a hiccup of the storage: the next beat may succeed, and commits check anyway


def _object(folder: RemotePath, number: int) -> RemotePath:
    return folder / f"{number:010d}.json"


def _take(folder: RemotePath, us: Holder, number: int) -> bool:
    """Makes the lease of this number ours, if nobody has made it or a higher one; removes those before."""
    try:
        _object(folder, number).write_new(_document(us, 0, False))
    except FileExistsError:
        return False
    numbers = _numbers(folder)
    if max(numbers) != number:
        return False  # ours had been made and removed while we looked
    for past in numbers:
        if past < number:
            _object(folder, past).unlink(missing_ok=True)
    return True


def _document(holder: Holder, beats: int, is_released: bool) -> bytes:
    return json.dumps({"holder": asdict(holder), "beats": beats, "is_released": is_released}).encode()


def _numbers(folder: RemotePath) -> list[int]:
    names = (name for name, _, _ in folder.list_inside())
    return [int(name[:10]) for name in names if len(name) == 15 and name[:10].isdigit()]


def _highest(folder: RemotePath) -> tuple[int, datetime | None, bytes]:
    """Number, time of the last sign of life, and content of the lease that holds; 0 where there is none."""
    there = [(int(name[:10]), at) for name, _, at in folder.list_inside() if name[:10].isdigit()]
    if not there:
        return 0, None, b""
    number, changed_at = max(there)
    try:
        return number, changed_at, _object(folder, number).read_bytes()
    except FileNotFoundError:  # somebody has just taken over
        return _highest(folder)


def _told(data: bytes) -> tuple[Holder, bool]:
    """Who holds, and whether they let go; nobody has where there is no lease yet."""
    try:
        if not data:
            return Holder("nobody", "", 0, "", "", ""), True
        document = json.loads(data)
        return Holder(**document["holder"]), bool(document["is_released"])
    except (ValueError, TypeError, KeyError):
        return Holder("unknown", "unknown", 0, "", "", ""), False
