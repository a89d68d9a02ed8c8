"""Rows of `transcript` from the subtitles that a file already holds."""

from __future__ import annotations

import math
from typing import Any

from framemill.ops.chunks import Cue, Subtitles


class SubtitleRows:
    """Collects the cues of all subtitle streams of one source."""

    def __init__(self) -> None:
        self._cues: dict[int, list[Cue]] = {}
        self._languages: dict[int, str] = {}

    def add(self, chunk: Subtitles) -> None:
        """Takes the next cues of one stream."""
        self._languages[chunk.stream_index] = chunk.language
        self._cues.setdefault(chunk.stream_index, []).extend(chunk.cues)

    def finish(self, duration_seconds: float) -> list[dict[str, Any]]:
        """A row for each cue, stream by stream, in time order; overlapping ones stay as they are.

        A cue without an end lasts until the next one of its stream, or to the source's end.
        """
        rows = []
        for stream_index, cues in sorted(self._cues.items()):
            cues.sort(key=lambda cue: cue.start_seconds)
            for index, cue in enumerate(cues):
                end = cue.end_seconds
                if math.isinf(end):
                    later = (other.start_seconds for other in cues[index:])
                    end = next((s for s in later if s > cue.start_seconds), duration_seconds)
                rows.append(
                    {
                        "segment_index": index,
                        "start_seconds": cue.start_seconds,
                        "end_seconds": max(cue.start_seconds, end),
                        "text": cue.text,
                        "language": self._languages[stream_index],
                        "origin": "subtitles",
                        "stream_index": stream_index,
                    }
                )
        return rows
