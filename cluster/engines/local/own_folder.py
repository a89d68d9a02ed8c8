"""The temporary folder of a worker: gone with its supervisor, if not at once then before the next begins."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "framemill-worker-"
_UNLOCKED = f".{_PREFIX}"


class OwnFolder:
    """A new folder among the temporary ones, locked for as long as this process lives or until `remove`.

    The kernel lets the lock of a killed process go: so whoever comes next tells what is left over from what
    is in use, by no process id, which others may get, and by no age.

    Attributes:
        path: of the folder, absolute.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self) -> None:
        _remove_left_over(Path(tempfile.gettempdir()))
        self.path = tempfile.mkdtemp(prefix=_UNLOCKED)
        self._lock = -1
        # Where the storage has no locks, nobody gets one of it either, and it stays under its first name.
        with contextlib.suppress(OSError):
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder, name = os.path.split(self.path)
            # It gets the name that others look for when it is locked already.
            named = os.path.join(folder, name.removeprefix("."))
            os.rename(self.path, named)
            self.path = named

    def remove(self) -> None:
        """Takes it away with what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _remove_left_over(temporary: Path) -> None:
    """Removes those whose supervisors were killed; what cannot be looked at or removed stays."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(temporary):
            if not entry.name.startswith(_PREFIX):
                continue
            with contextlib.suppress(OSError):
                # Of others on this machine none is opened, nor what a link leads to.
                if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                    continue
                lock = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(entry.path, ignore_errors=True)
                finally:
                    os.close(lock)
