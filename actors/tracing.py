"""A trace of what each thread did when, in the format that browsers' trace viewers open.

The format is Chrome's "Trace Event Format": complete events ("ph": "X") with microseconds.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Trace:
    """Adds up seconds per stage, and keeps every span when `keep_spans` is set. Thread-safe.

    Attributes:
        seconds: stage -> wall-clock seconds, added over threads.
    """

    def __init__(self, keep_spans: bool = False) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._by_thread: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._spans: list[dict[str, Any]] | None = [] if keep_spans else None
        self._lock = threading.Lock()

    @contextmanager
    def span(self, stage: str, **details: object) -> Iterator[None]:
        """Measures the body as one span of `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, start, time.perf_counter() - start, details)

    def add(self, stage: str, start: float, seconds: float, details: dict[str, object] | None = None) -> None:
        """Records a span that was measured elsewhere; `start` is of `time.perf_counter`."""
        with self._lock:
            self.seconds[stage] += seconds
            self._by_thread[threading.get_ident()][stage] += seconds
            if self._spans is not None:
                self._spans.append(
                    {
                        "name": stage,
                        "ph": "X",
                        "ts": round(start * 1e6),
                        "dur": round(seconds * 1e6),
                        "pid": os.getpid(),
                        "tid": threading.get_ident(),
                        "args": {key: str(value) for key, value in (details or {}).items()},
                    }
                )

    def of_this_thread(self) -> dict[str, float]:
        """Stage -> seconds that the calling thread spent on it so far."""
        with self._lock:
            return dict(self._by_thread[threading.get_ident()])

    def write(self, path: Path) -> None:
        """Writes all spans so far; does nothing when spans are not kept."""
        with self._lock:
            if self._spans is not None:
                path.write_text(json.dumps({"traceEvents": self._spans, "displayTimeUnit": "ms"}))
