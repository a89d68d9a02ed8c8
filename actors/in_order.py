"""Frames put back into their order, where damage makes a decoder hand them out late."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import av

from framemill.ops.chunks import Int64Array

# As many pictures as H.264 and HEVC let a decoder hold back (ITU-T H.264 A.3.1, H.265 A.4.1): none is later.
MAX_HELD = 16


class InOrder:
    """Hands frames on in ascending order, at once as long as none of those that are wanted is missing.

    After a gap frames wait until what is missing has come, `MAX_HELD` others have, or the decoder is empty.

    Args:
        wanted: sorted indices of the frames that are to come; others are no matter.
    """

    def __init__(self, wanted: Int64Array) -> None:
        self._wanted: list[int] = wanted.tolist()
        self._place = {index: place for place, index in enumerate(self._wanted)}
        self._next = 0  # place of the first frame that was neither handed on nor given up
        self._held: list[tuple[int, av.VideoFrame]] = []

    def __contains__(self, index: int) -> bool:
        """Whether a frame is one of those that are wanted."""
        return index in self._place

    def put(self, index: int, frame: av.VideoFrame) -> Iterator[tuple[int, av.VideoFrame]]:
        """Takes a frame, and gives what may be handed on; one that comes again, or too late, is left out."""
        place = self._place.get(index)
        if place is None or place < self._next or any(held == place for held, _ in self._held):
            return
        heapq.heappush(self._held, (place, frame))
        while self._held and (self._held[0][0] == self._next or len(self._held) > MAX_HELD):
            yield self._pop()

    def flush(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """What is held still: the decoder has nothing more that would come before it."""
        while self._held:
            yield self._pop()

    def _pop(self) -> tuple[int, av.VideoFrame]:
        place, frame = heapq.heappop(self._held)
        self._next = place + 1
        return self._wanted[place], frame
