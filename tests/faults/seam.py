"""The seam at which faults are injected: every call of Python to the file system, and to an object store.

What the product calls (`open`, `os.replace`, a write below a buffer, a request of a store) is counted in each
process by itself; the n-th call of one process fails as a fault says. Nothing in the product knows of it.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["no space", "input/output error", "torn write", "delay", "crash", "lost answer"]
KINDS: tuple[Kind, ...] = ("no space", "input/output error", "torn write", "delay", "crash", "lost answer")
EVERY = -1  # instead of the number of a call
DELAY_SECONDS, DELAY_OF_EVERY_SECONDS = 0.2, 0.02

# Calls that take space, by what they do. Of a buffer's writes each is one that reaches the kernel.
GROWING = frozenset({"create", "write", "mkdir", "link", "rename", "replace", "fsync"})
# Calls that leave something else on the disk than there was before.
EFFECTIVE = GROWING | {"unlink", "remove", "rmdir"}
# Requests of a store that change it: their answer can get lost after they took effect.
CHANGING = frozenset({"put", "delete"})
_PATHS = ("stat", "lstat", "listdir", "scandir", "unlink", "remove", "mkdir", "rmdir", "utime", "truncate")
_TWO_PATHS = ("rename", "replace", "link")
_REQUESTS = ("head", "get", "get_range", "put", "delete", "list")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at which call.

    Attributes:
        role: "supervisor" or "worker", the process that makes the call. number: of the call; or EVERY.
        kind: "no space" lasts from that call on and lets half of a write pass, as a full disk does; an
            "input/output error" happens once; a "torn write" is one that a kill -9 cuts in half; a "delay"
            ends by itself; a "crash" is a kill -9 before the call; of a "lost answer" the call took effect.
    """

    role: str
    number: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who made it, what it was, and on what, below the watched folder."""

    role: str
    name: str
    path: str


def applies(kind: Kind, call: Call) -> bool:
    """Whether a kind of fault can happen to a call."""
    is_request = call.name.startswith("store ")
    if kind == "no space":
        return call.name in GROWING
    if kind == "torn write":
        return call.name == "write"
    if kind == "lost answer":
        return is_request and call.name.removeprefix("store ") in CHANGING
    return True


class Seam:
    """Counts the calls of this process on what lies in a folder, and lets one fail.

    Make it before processes are forked, and `install` it in each: they share whether the disk is full.

    Args:
        folder: absolute; calls elsewhere pass by.
        fault: what to inject; None only counts.
        shared: file for what the processes have in common; its second byte tells whether the fault happened.
        record: called with each call, from the thread that makes it.
        on_effect: called with name, path and details of each call that changes the folder, after it did.
    """

    def __init__(
        self,
        folder: str,
        fault: Fault | None,
        shared: str,
        record: Callable[[Call], None] | None = None,
        on_effect: Callable[..., None] | None = None,
    ) -> None:
        self._inside = folder.rstrip("/") + "/"
        self._fault = fault
        self._record = record
        self._on_effect = on_effect
        descriptor = os.open(shared, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, b"\0\0")
        self._shared = mmap.mmap(descriptor, 2)  # whether the disk is full; whether the fault happened
        self._lock = threading.Lock()
        self._role = ""
        self._count = 0
        self._paths: dict[int, str] = {}

    def install(self, role: str) -> None:
        """Counts from now on in this process, for good."""
        self._role = role
        self._patch_files()
        for name in _PATHS:
            setattr(os, name, self._wrap(name, getattr(os, name)))
        for name in _TWO_PATHS:
            setattr(os, name, self._wrap_two(name, getattr(os, name)))
        os.fsync = self._wrap("fsync", os.fsync)
        fcntl.flock = self._wrap("flock", fcntl.flock)
        self._patch_stores()

    def effect(self, name: str, path: str, *details: Any) -> None:
        """Tells of a call that changed something."""
        if self._on_effect is not None:
            self._on_effect(name, path, *details)

    def call(self, name: str, path: str) -> Fault | None:
        """Counts one call; raises, waits or ends the process where the fault says so.

        Returns:
            The fault where the caller has to carry it out, with a part of its work done.
        """
        with self._lock:
            number, self._count = self._count, self._count + 1
        if self._record is not None:
            self._record(Call(self._role, name, path))
        fault = self._fault
        if self._shared[0] and name in GROWING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if fault is None or fault.role != self._role or fault.number not in (number, EVERY):
            return None
        self._shared[1] = 1
        match fault.kind:
            case "delay":
                time.sleep(DELAY_OF_EVERY_SECONDS if fault.number == EVERY else DELAY_SECONDS)
            case "crash":
                crash()
            case "no space" if name in GROWING:
                self._shared[0] = 1
                if name == "write":
                    return fault
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            case "input/output error":
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            case "torn write" | "lost answer":
                return fault
        return None

    def named(self, target: Any) -> str | None:
        """What a path or descriptor means below the folder; None elsewhere."""
        if isinstance(target, int):
            return self._paths.get(target)
        try:
            path = os.path.abspath(os.fsdecode(target)) + "/"
        except TypeError:
            return None
        return path[len(self._inside) : -1] or "." if path.startswith(self._inside) else None

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            path = self.named(args[0]) if args else None
            if path is None or kwargs.get("dir_fd") is not None:
                return real(*args, **kwargs)
            self.call(name, path)
            result = real(*args, **kwargs)
            self.effect(name, path)
            return result

        return wrapped

    def _wrap_two(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(source: Any, target: Any, **kwargs: Any) -> Any:
            path, to = self.named(source), self.named(target)
            if path is None or to is None:
                return real(source, target, **kwargs)
            self.call(name, to)
            result = real(source, target, **kwargs)
            self.effect(name, path, to)
            return result

        return wrapped

    def _patch_files(self) -> None:
        real_open, real_os_open, real_close, real_lstat = io.open, os.open, os.close, os.lstat
        seam = self

        def exists(path: Any) -> bool:
            try:
                real_lstat(path)
            except OSError:
                return False
            return True

        class Watched(io.FileIO):
            """A file below its buffer, where each call is one to the kernel."""

            def __init__(self, path: str, file: Any, mode: str, closefd: bool, opener: Any) -> None:
                is_new = mode != "r" and not exists(file)
                seam.call("create" if is_new else "open", path)
                super().__init__(file, mode, closefd, opener)
                self._watched = path
                seam._paths[self.fileno()] = path
                if mode != "r":
                    seam.effect("create", path, "a" in mode)

            def write(self, data: Any) -> int:
                fault = seam.call("write", self._watched)
                view = memoryview(data).cast("B")
                view = view[: len(view) // 2] if fault is not None else view
                count = super().write(view) if len(view) or fault is None else 0
                seam.effect("write", self._watched, bytes(view[:count]))
                if fault is not None and fault.kind == "torn write":
                    crash()
                if fault is not None and not count:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._watched)
                return count

            def readinto(self, buffer: Any) -> int:
                seam.call("read", self._watched)
                return super().readinto(buffer)

            def readall(self) -> bytes:
                seam.call("read", self._watched)
                return super().readall()

            def read(self, size: int | None = -1) -> bytes:
                seam.call("read", self._watched)
                return super().read(-1 if size is None else size)

            def close(self) -> None:
                if not self.closed:
                    seam._paths.pop(self.fileno(), None)
                super().close()

        def watched_open(
            file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None,
            errors: str | None = None, newline: str | None = None, closefd: bool = True, opener: Any = None,
        ) -> Any:  # fmt: skip
            path = seam.named(file) if not isinstance(file, int) else None
            if path is None or "+" in mode:
                return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
            plain = "".join(letter for letter in mode if letter in "rwxa")
            raw = Watched(path, file, plain, closefd, opener)
            if buffering == 0:
                return raw
            buffered = io.BufferedReader(raw) if plain == "r" else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        def watched_os_open(target: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            path = seam.named(target)
            if path is None or kwargs.get("dir_fd") is not None:
                return real_os_open(target, flags, *args, **kwargs)
            seam.call("create" if flags & os.O_CREAT and not exists(target) else "open", path)
            descriptor = real_os_open(target, flags, *args, **kwargs)
            seam._paths[descriptor] = path
            return descriptor

        def watched_close(descriptor: int) -> None:
            seam._paths.pop(descriptor, None)
            real_close(descriptor)

        builtins.open = io.open = watched_open  # type: ignore[assignment]
        os.open, os.close = watched_os_open, watched_close  # type: ignore[assignment]

    def _patch_stores(self) -> None:
        from framemill.cluster.results import remote_path

        real = remote_path.open_store
        remote_path.open_store = lambda *args, **kwargs: _Store(real(*args, **kwargs), self)  # type: ignore[attr-defined]


class _Store:
    """A store whose requests are counted; one that fails does so as if all tries of the client had."""

    def __init__(self, store: Any, seam: Seam) -> None:
        self._store, self._seam = store, seam

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name not in _REQUESTS:
            return real

        def request(*args: Any, **kwargs: Any) -> Any:
            key = str(args[0] if args else kwargs.get("prefix"))
            fault = self._seam.call(f"store {name}", key)
            result = real(*args, **kwargs)
            if fault is not None:
                raise OSError(errno.EIO, "the answer was lost", key)
            return result

        return request


def crash() -> None:
    """Ends this process as kill -9 does, at once."""
    os.kill(os.getpid(), signal.SIGKILL)
