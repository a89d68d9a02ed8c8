"""Indexes of divided sources, kept by an actor so that shards of one file share a pass over its packets."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Divided sources whose index is kept though none of their shards is at work: some megabytes for a long film.
KEPT = 4


@dataclass(slots=True)
class _Use:
    lock: threading.Lock = field(default_factory=threading.Lock)
    num_users: int = 0


class KeptIndexes:
    """Counts who uses the index of a source, and has the oldest forgotten that nobody uses.

    Args:
        make: makes the index of (uri, path) where it is not there. forget: drops that of a uri.
    """

    def __init__(self, make: Callable[[str, str], None], forget: Callable[[str], None]) -> None:
        self._make = make
        self._forget = forget
        self._uses: OrderedDict[str, _Use] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def using(self, uri: str, path: str) -> Iterator[None]:
        """The index is there while the body runs; one call makes it, and others wait for it.

        Raises:
            Exception: what `make` raised.
        """
        with self._lock:
            use = self._uses.setdefault(uri, _Use())
            self._uses.move_to_end(uri)
            use.num_users += 1
        try:
            with use.lock:
                self._make(uri, path)
            yield
        finally:
            with self._lock:
                use.num_users -= 1
                idle = [uri for uri, use in self._uses.items() if not use.num_users]
                for uri in idle[: max(0, len(idle) - KEPT)]:
                    del self._uses[uri]
                    self._forget(uri)
