"""Rows of `transcript` from the subtitles that a file already holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from framemill.ops.chunks import Cue, Subtitles

# Of a stream's cues, how many repeat the one before where captions roll up: nearly all do, while
# a film where somebody says the same twice has a few.
ROLLING_SHARE = 0.5
ROLLING_PAUSE_SECONDS = 0.1


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

        A cue without an end lasts until the next one of its stream, or to the source's end. None ends later
        than the source: what is to be shown afterwards stands at its end. Where captions roll up, so that
        most cues begin with what the one before them said, each line has one row.
        """
        rows = []
        for stream_index, cues in sorted(self._cues.items()):
            for index, cue in enumerate(_unrolled(_ended(cues, duration_seconds))):
                rows.append(
                    {
                        "segment_index": index,
                        "start_seconds": cue.start_seconds,
                        "end_seconds": cue.end_seconds,
                        "text": cue.text,
                        "language": self._languages[stream_index],
                        "origin": "subtitles",
                        "stream_index": stream_index,
                    }
                )
        return rows


def _ended(cues: Sequence[Cue], duration_seconds: float) -> list[Cue]:
    """The cues by time, each with an end, and those beyond the source's end at it."""
    ordered = sorted(cues, key=lambda cue: cue.start_seconds)
    ended = []
    following = duration_seconds
    for cue, later in zip(reversed(ordered), [None, *reversed(ordered)], strict=False):
        if later is not None and later.start_seconds > cue.start_seconds:
            following = later.start_seconds
        end = following if math.isinf(cue.end_seconds) else cue.end_seconds
        start = min(cue.start_seconds, duration_seconds)
        ended.append(replace(cue, start_seconds=start, end_seconds=max(start, min(end, duration_seconds))))
    return ended[::-1]


def _unrolled(cues: list[Cue]) -> list[Cue]:
    """The cues, and of captions that roll up each line once, from when it comes to when the next one does."""
    repeats = [_repeated(one, other) for one, other in pairwise(cues)]
    is_moving = any(
        n and one.text != other.text for n, (one, other) in zip(repeats, pairwise(cues), strict=True)
    )
    if not is_moving or sum(map(bool, repeats)) <= ROLLING_SHARE * len(repeats):
        return cues  # somebody says the same twice
    kept = cues[:1]
    for cue, repeated in zip(cues[1:], repeats, strict=True):
        lines = cue.text.split("\n")
        if repeated:
            *before, _ = kept[-1].text.split("\n")
            text = "\n".join([*before, lines[repeated - 1]])  # which may have been typed on
            until = cue.start_seconds if len(lines) > repeated else cue.end_seconds
            kept[-1] = replace(kept[-1], text=text, end_seconds=max(kept[-1].end_seconds, until))
        if len(lines) > repeated:
            kept.append(replace(cue, text="\n".join(lines[repeated:])))
    return kept


def _repeated(before: Cue, cue: Cue) -> int:
    """How many lines at the top of a cue are those at the bottom of the one that it follows without a pause.

    The last of them may go on behind what was there of it.
    """
    if cue.start_seconds > before.end_seconds + ROLLING_PAUSE_SECONDS:
        return 0
    old, new = before.text.split("\n"), cue.text.split("\n")
    for count in range(min(len(old), len(new)), 0, -1):
        *above, last = old[-count:]
        if above == new[: count - 1] and new[count - 1].startswith(last):
            return count
    return 0
