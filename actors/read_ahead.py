"""Decoding while something else computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from framemill.ops.chunks import Chunk


def read_ahead(chunks: Iterator[Chunk], depth: int) -> Iterator[Chunk]:
    """The same chunks, read by a thread of their own at most `depth` ahead."""
    waiting: queue.Queue[Chunk | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Chunk | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for chunk in chunks:
                put(chunk)
                if stop.is_set():
                    break
            put(None)
        except BaseException as error:  # crosses to the thread that asked
            put(error)
        finally:
            chunks.close()  # type: ignore[attr-defined]

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
