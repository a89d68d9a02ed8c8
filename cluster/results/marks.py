"""A note of what is at work, for a run after this one has been killed together with its worker."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from framemill.cluster.results.layout import SYSTEM_FOLDER, storage_errors
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import ResultPath
from framemill.models.store import cache_folder


class InFlightMarks:
    """The uris at work in one result folder, in a file of its own beside the commit log.

    For results in an object store it lies in the cache of this machine: it changes with every shard, and a
    request each time would hold up the run.

    It only ever means "run these alone first", so it need not survive a power cut, and a torn one counts
    as none.
    """

    def __init__(self, root: ResultPath) -> None:
        if isinstance(root, RemotePath):
            name = hashlib.blake2b(str(root).encode(), digest_size=16).hexdigest()
            self._path: Path = cache_folder() / "in_flight" / f"{name}.json"
        else:
            self._path = root / SYSTEM_FOLDER / "in_flight.json"
        self._written: frozenset[str] = frozenset()
        self._file: BinaryIO | None = None
        self._num_bytes = 0

    def read(self) -> frozenset[str]:
        """What an earlier run was at when it was killed; empty where it ended by itself."""
        try:
            return frozenset(json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):
            return frozenset()

    def write(self, uris: Iterable[str]) -> None:
        """Notes what is at work now.

        Raises:
            DatasetError: the disk is full or refuses.
        """
        now = frozenset(uris)
        if now == self._written:
            return
        text = json.dumps(sorted(now)).encode()
        with storage_errors(self._path, "writing"):
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("wb")
            # In place, with blanks behind, which JSON passes over: to empty a file waits for the disk, 7 ms
            # on a busy one (measured), and with it the run, at each of its files.
            self._file.seek(0)
            self._file.write(text.ljust(self._num_bytes))
            self._file.flush()
        self._num_bytes = max(self._num_bytes, len(text))
        self._written = now

    def clear(self) -> None:
        """Nothing is at work any more.

        Raises:
            DatasetError: the storage refuses.
        """
        with storage_errors(self._path, "removing"):
            if self._file is not None:
                with contextlib.suppress(OSError):  # what could not be written is not needed any more
                    self._file.close()
                self._file, self._num_bytes, self._written = None, 0, frozenset()
            self._path.unlink(missing_ok=True)
