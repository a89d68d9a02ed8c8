"""Decoders of a GPU's chip that DALI keeps open when their call is over, counted so that they fit its memory.

DALI 2.4 (`frames_decoder_gpu.cc`) keeps up to a hundred for each device, and takes one again for pictures of
the same codec and size. It remembers the size that is shown and looks for the one that is coded: where they
differ, as in H.264 of 1080 rows, which are coded as 1088, it opens another one for each piece of each file,
until it has a hundred. Copies are therefore made to show all that is coded (`dali_copies`); of other codecs
every piece counts.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from framemill.models.memory_plan import decoder_bytes

MOST_KEPT = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kept decoder fits: FFmpeg's name of the codec, width and height in pixels."""

    codec: str
    width: int
    height: int


class KeptDecoders:
    """Counts, for any number of threads, what DALI may have opened in this process.

    Args:
        budget_bytes: what they may hold.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._kept: Counter[Kind] = Counter()
        self._lock = threading.Lock()

    def refusal(self, kind: Kind, count: int, is_reused: bool) -> str:
        """Why so many decoders are not to be used; empty where they are, and counted.

        Args:
            count: those at work at once where they are used again, else those that are opened.
            is_reused: whether pictures are shown as they are coded.
        """
        with self._lock:
            kept = self._kept.copy()
            kept[kind] = max(kept[kind], count) if is_reused else kept[kind] + count
            if held_bytes(kept) > self._budget_bytes:
                return (
                    f"another decoder of {kind.width} x {kind.height} does not fit the {self._budget_bytes} "
                    f"bytes of the device for them, of which kept ones hold {held_bytes(self._kept)}"
                )
            self._kept = kept
        return ""


def held_bytes(kept: Counter[Kind]) -> int:
    """What the largest of them hold together, as many as DALI keeps."""
    sizes = sorted((decoder_bytes(kind.width, kind.height), count) for kind, count in kept.items())
    held, left = 0, MOST_KEPT
    for each, count in reversed(sizes):
        held += each * min(count, left)
        left -= min(count, left)
    return held
