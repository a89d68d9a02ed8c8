"""Cases that come out wrong still; each is taken off here by the change that mends it."""

from __future__ import annotations

# Names of cases, which begin with the kind of fault. Their tests must fail: what passes is to be taken off.
PENDING = frozenset(
    {
        # The file itself holds line ends where its path had a backslash and an n: no reader finds them again.
        "subtitles-audio/subtitle_odd_text.mkv-media+transcript-all",
    }
)
