"""What goes into one file of speech, and how players tell it from the others of its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framemill.cluster.exports.cues import Cue, cues_as_they_are, cues_of
from framemill.cluster.exports.utterances import Turns
from framemill.ops.languages import short_code

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Track:
    """What goes into one file.

    Attributes:
        source_id, uris: whose it is. stem: what names of its files begin with.
        segments, turns: rows of `transcript` and of `speakers` by time; none where they were not asked for.
        is_heard: whether the segments are of speech, and not subtitles that the file held.
        line_width: of subtitles, in characters; 0 leaves text as it is.
    """

    source_id: str
    uris: Sequence[str]
    stem: str
    segments: Sequence[Row]
    turns: Sequence[Row]
    is_heard: bool
    line_width: int

    def cues(self, with_speakers: bool = False) -> list[Cue]:
        """The segments as cues; where the file held them, with their own lines and times.

        Args:
            with_speakers: whether a line has to hold the speaker's name too.
        """
        turns = Turns(self.turns if self.is_heard else ())
        if not self.is_heard or not self.line_width:
            return cues_as_they_are(self.segments, turns)
        return cues_of(self.segments, turns, self.line_width, with_speakers)


def suffixes_of(segments: Sequence[Row], streams: Sequence[Row]) -> dict[int | str | None, str]:
    """What stands between stem and ending: stream index -> empty for speech (None), else as in `.en.forced`.

    Players take the language and `forced` or `sdh` from there, in that order. Where several streams would
    share a name, all but the first that is default and no commentary have their number before it.

    Args:
        segments: rows of `transcript` of one source, one of each stream at least.
        streams: as in `media.streams`, or none.
    """
    known = {stream["index"]: stream for stream in streams}
    languages: dict[int | None, str] = {}
    for row in segments:
        languages.setdefault(None if row["origin"] == "speech" else row["stream_index"], row["language"])

    def rank(index: int | None) -> tuple[bool, bool, int]:
        stream = known.get(index, {})
        return bool(stream.get("is_commentary")), not stream.get("is_default"), -1 if index is None else index

    suffixes: dict[int | str | None, str] = {}
    for index in sorted(languages, key=rank):
        if index is None:
            suffixes[None] = ""
            continue
        stream = known.get(index, {})
        flags = ".forced" * bool(stream.get("is_forced")) + ".sdh" * bool(stream.get("is_hearing_impaired"))
        suffix = f".{short_code(languages[index])}{flags}"
        suffixes[index] = f".{index}{suffix}" if suffix in suffixes.values() else suffix
    return suffixes
