"""When a device that fails is left alone: each failure costs its own decode, and then that of the host."""

from __future__ import annotations

import threading

# Pieces in a row that may fail in one file: after that the rest of the file is not tried.
MOST_PIECES = 4
# Files in a row of which a piece failed and none succeeded: one broken file says nothing about the device,
# and a device that fails at each call takes 2.8 times the time of PyAV alone.
MOST_FILES = 3


class DeviceTrust:
    """Counts failures of one device since its last success, for any number of threads.

    Attributes:
        given_up: why the device is not used any more by this process; empty while it is.
    """

    def __init__(self) -> None:
        self.given_up = ""
        self._failures: dict[str, int] = {}
        self._lock = threading.Lock()

    def succeeded(self) -> None:
        """It decoded something."""
        if self._failures:
            with self._lock:
                self._failures.clear()

    def failed(self, path: str, why: object) -> None:
        """It decoded a piece of the file at `path` and failed; `why`: the error."""
        with self._lock:
            self._failures[path] = self._failures.get(path, 0) + 1
            if len(self._failures) >= MOST_FILES and not self.given_up:
                files = f"{len(self._failures)} files in a row"
                self.given_up = f"the device failed at {files}, and is not used any more: {str(why)[:200]}"

    def refusal(self, path: str) -> str:
        """Why the device is not tried with a file; empty where it is."""
        if self.given_up:
            return self.given_up
        count = self._failures.get(path, 0)
        return f"the device failed at {count} pieces of it in a row" if count >= MOST_PIECES else ""
