"""Shots as chapters in FFmpeg's format for metadata, which it muxes into files of most kinds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from framemill.cluster.exports.shot_lists import ShotList
from framemill.errors import UsageError
from framemill.ops.plain_text import one_line

_LONGEST_TITLE = 80


def write_chapters(listed: ShotList) -> Mapping[str, bytes]:
    """One file, times in milliseconds; a title is what is known of the shot, or its number.

    Raises:
        UsageError: two of them overlap, which players cannot show.
    """
    spans = [(round(shot.start_seconds * 1000), round(shot.end_seconds * 1000)) for shot in listed.shots]
    for (start, end), (later, _) in pairwise(spans):
        if later < end:
            raise UsageError(
                f"chapters follow one another, and of {listed.uri} one from {start / 1000:.3f} to "
                f"{end / 1000:.3f} s goes on when the next begins at {later / 1000:.3f} s: choose others "
                "with `where`"
            )
    lines = [";FFMETADATA1"]
    for shot, (start, end) in zip(listed.shots, spans, strict=True):
        title = one_line(shot.title) or f"Shot {shot.number}"
        if len(title) > _LONGEST_TITLE:
            title = f"{title[: _LONGEST_TITLE - 3].rstrip()}..."
        # What has a meaning of its own in the format stands behind a backslash.
        escaped = re.sub(r"([=;#\\\n])", r"\\\1", title)
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={start}", f"END={end}", f"title={escaped}"]
    return {f"{listed.stem}.ffmetadata": ("\n".join(lines) + "\n").encode()}
