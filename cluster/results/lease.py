"""One committer per result folder: a lease file with a heartbeat.

`lease.json` says who holds the folder; its modification time is the heartbeat, so that ages are told by
the clock of the storage and not by those of two machines. Clocks may be set, and then a living holder would
look dead, or a dead one alive for hours: so each beat notes in `lease.lock` when it was by the clock of this
machine that nobody can set, which decides for who waits on the same machine, and who waits anywhere takes
over what has not changed for as long while it looked. Every look and every change happens under an
advisory lock on `lease.lock`, held for milliseconds and let go by the kernel when a process dies: so two
waiters cannot both take over, and a holder that lost its lease cannot commit any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from framemill.cluster.results.layout import stage_file, storage_errors
from framemill.errors import DatasetError, LeaseError

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0  # twelve missed beats; a holder killed on this machine is noticed at once
_GUARD_SECONDS = 30.0  # the lock is held for milliseconds, unless storage hangs
_POLL_SECONDS = 0.2
_NOTE_BYTES = 128  # in `lease.lock`: token and time of the last beat, and the machine's own time of it


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a folder.

    Attributes:
        run_id, host, pid: as shown to a person.
        token: unique per acquisition.
        machine: boot and process namespace; only where it equals ours does `pid` mean anything here.
        pid_started: start time of the process in the kernel's own unit, empty where unknown.
    """

    run_id: str
    host: str
    pid: int
    token: str
    machine: str
    pid_started: str

    def __str__(self) -> str:
        return f"run {self.run_id} on host {self.host} pid {self.pid}"


def _machine() -> str:
    """Tells apart two machines, two boots of one, and two containers that number processes on their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _process_start(pid: int) -> str | None:
    """Start time of a running process; "" where the system does not tell; None when there is none."""
    if os.path.exists("/proc/self/stat"):
        try:
            # The name in the second field may hold blanks and brackets: count from the last bracket.
            state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            return None
        return None if state in "ZX" else rest[18]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def this_process(run_id: str) -> Holder:
    """A holder that names us, with a token of its own."""
    token, started = secrets.token_hex(8), _process_start(os.getpid()) or ""
    return Holder(run_id, socket.gethostname(), os.getpid(), token, _machine(), started)


def is_dead(holder: Holder) -> bool:
    """Whether it was a process of this machine that runs no more."""
    return holder.machine == _machine() and _process_start(holder.pid) != holder.pid_started


@contextmanager
def _guard(folder: Path, wait_seconds: float) -> Iterator[int]:
    """Holds the lock file of `folder`; yields its descriptor.

    Raises:
        LeaseError: somebody held the lock for `wait_seconds`.
    """
    deadline = time.monotonic() + wait_seconds
    descriptor = os.open(folder / "lease.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LeaseError(
                        f"{folder / 'lease.lock'} stayed locked for {wait_seconds:g} s: "
                        "end the suspended framemill process that holds it, then run again"
                    ) from None
                time.sleep(0.01)
        try:
            yield descriptor
        finally:
            # Unlocked by name: closing would not do while a forked child has the descriptor too. Where the
            # storage refuses, closing has to do: what was done under the lock has not failed for that.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def read_holder(folder: Path) -> Holder | None:
    """Who holds the dataset whose system folder is `folder`; None when nobody does.

    A lease that cannot be read (a power cut) has a holder without name, which only age can end.
    """
    try:
        return Holder(**json.loads((folder / "lease.json").read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return Holder("unknown", "unknown", 0, "", "", "")


class Waiting:
    """Asking again and again for a folder that somebody holds, until a deadline.

    Args:
        root: the dataset, as shown to a person.
        wait_seconds: how long from now; 0 asks once.
        poll_seconds: time between two looks.
        on_wait: called with one line whenever it turns out that another holder is to be waited for.
    """

    def __init__(
        self, root: object, wait_seconds: float, poll_seconds: float, on_wait: Callable[[str], None] | None
    ) -> None:
        self._root = root
        self._wait_seconds, self._poll_seconds = wait_seconds, poll_seconds
        self._deadline = time.monotonic() + wait_seconds
        self._on_wait = on_wait
        self._told = ""

    def wait(self, holder: Holder) -> None:
        """Sleeps until the next look.

        Raises:
            LeaseError: the time is over.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            waited = f", which did not let go within {self._wait_seconds:g} s" if self._wait_seconds else ""
            raise LeaseError(
                f"{self._root} is held by {holder}{waited}: "
                "wait for it to end or stop it, then do the same again"
            )
        if self._on_wait is not None and self._told != holder.token:
            self._told = holder.token
            self._on_wait(f"waits for {holder}")
        time.sleep(min(self._poll_seconds, left))


def lost(us: Holder, root: object, to: object) -> LeaseError:
    """What to raise where somebody else holds the dataset `root` that we held."""
    return LeaseError(
        f"run {us.run_id} lost its lease on {root} to {to}: it was silent for too long (suspended?); "
        "what it committed stays, run the same command again for the rest"
    )


@contextmanager
def told_if_lost(check: Callable[[], None]) -> Iterator[None]:
    """Says that the lease was lost where something fails for it: who takes over clears what is not committed.

    Args:
        check: of the lease.
    """
    try:
        yield
    except LeaseError:
        raise
    except DatasetError as failed:
        try:
            check()
        except LeaseError as error:
            raise error from failed
        except DatasetError:
            pass  # the storage refuses: what failed tells more
        raise


class Lease:
    """The right to commit to one folder, kept alive by a thread until `release`.

    Attributes:
        holder: who we are.
        needs_fence: never: the lock keeps a former holder from committing.
    """

    needs_fence = False

    def __init__(self, folder: Path, holder: Holder, heartbeat_seconds: float) -> None:
        self.holder = holder
        self._folder = folder
        self._released = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, args=(heartbeat_seconds,), name="framemill-lease", daemon=True
        )
        self._thread.start()

    @classmethod
    def acquire(
        cls,
        folder: Path,
        run_id: str,
        *,
        wait_seconds: float,
        on_wait: Callable[[str], None] | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        stale_seconds: float = STALE_SECONDS,
    ) -> Lease:
        """Takes the lease of the system folder `folder`, waiting for a living holder.

        Args:
            folder: `<root>/_framemill`, which exists.
            run_id: shown to others that wait.
            wait_seconds: how long to wait for a living holder; 0 asks once.
            on_wait: called with one line whenever it turns out that another holder is to be waited for.
            heartbeat_seconds: time between signs of life.
            stale_seconds: a lease without a sign of life for longer is taken over, however clocks are set
                meanwhile. That of a process which died on this machine is taken over at once.

        Raises:
            LeaseError: the holder did not let go within `wait_seconds`.
            DatasetError: the storage refuses.
        """
        waiting = Waiting(folder.parent, wait_seconds, _POLL_SECONDS, on_wait)
        us = this_process(run_id)
        seen, since = ("", 0), time.monotonic()
        while True:
            with storage_errors(folder, "taking the lease of"), _guard(folder, _GUARD_SECONDS) as lock:
                holder = read_holder(folder)
                is_free = holder is None or is_dead(holder)
                if holder is not None and not is_free:
                    beat = _last_beat(folder)
                    if (holder.token, beat) != seen:
                        seen, since = (holder.token, beat), time.monotonic()
                    age = _age_seconds(folder, lock, holder, beat)
                    is_free = max(age, time.monotonic() - since) > stale_seconds
                if is_free:
                    path = folder / "lease.json"
                    os.replace(stage_file(path, json.dumps(asdict(us)).encode()), path)
                    _note_beat(folder, lock, us)
                    return cls(folder, us, heartbeat_seconds)
            assert holder is not None
            waiting.wait(holder)

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Within it nobody can take the lease over.

        Raises:
            LeaseError: somebody has already.
            DatasetError: the storage refuses; nothing was done within.
        """
        with self._locked():
            yield

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """As `fenced`; yields the descriptor of the lock."""
        with ExitStack() as held:
            with storage_errors(self._folder, "checking the lease of"):
                lock = held.enter_context(_guard(self._folder, _GUARD_SECONDS))
                self._check()
            yield lock

    def check(self) -> None:
        """Raises LeaseError if the lease is no longer ours."""
        with self.fenced():
            pass

    def release(self) -> None:
        """Lets go. A lease that was lost, or cannot be removed, is left to others to take over."""
        self._released.set()
        self._thread.join()
        with suppress(OSError, DatasetError), self.fenced():
            os.unlink(self._folder / "lease.json")

    def _check(self) -> None:
        holder = read_holder(self._folder)
        if holder is None or holder.token != self.holder.token:
            raise lost(self.holder, self._folder.parent, holder or "nobody")

    def _beat(self, heartbeat_seconds: float) -> None:
        while not self._released.wait(heartbeat_seconds):
            try:
                with self._locked() as lock:
                    os.utime(self._folder / "lease.json")
                    _note_beat(self._folder, lock, self.holder)
            except LeaseError:
                if not self._still_ours():
                    return
            except (OSError, DatasetError):
                continue  # a hiccup of the storage: the next beat may succeed, and commits check anyway

    def _still_ours(self) -> bool:
        try:
            holder = read_holder(self._folder)
        except OSError:
            return True  # as far as anybody knows
        return holder is not None and holder.token == self.holder.token


def _last_beat(folder: Path) -> int:
    """Time of the last heartbeat in nanoseconds, by the clock of the storage."""
    return os.stat(folder / "lease.json").st_mtime_ns


def _note_beat(folder: Path, lock: int, holder: Holder) -> None:
    """Notes when the beat that has just been given was by the clock of this machine that nobody can set."""
    note = json.dumps([holder.token, _last_beat(folder), time.monotonic()]).encode()
    with suppress(OSError):  # a full disk: then the clock of the storage tells
        os.pwrite(lock, note.ljust(_NOTE_BYTES), 0)


def _age_seconds(folder: Path, lock: int, holder: Holder, beat: int) -> float:
    """Time since the last heartbeat, at `beat`: by the clock that a holder on this machine has noted it by.

    Of others by that of the storage: touching the lock file tells its now.
    """
    if holder.machine == _machine():
        with suppress(ValueError, TypeError):
            token, noted, at = json.loads(os.pread(lock, _NOTE_BYTES, 0))
            # One that was not noted, as by an earlier version, has another time.
            if (token, noted) == (holder.token, beat) and time.monotonic() >= at:
                return float(time.monotonic() - at)
    os.utime(lock)
    return os.fstat(lock).st_mtime - beat / 1e9
