"""What is said as cues that people can read: short lines, short times, cut where it reads well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from framemill.cluster.exports.line_breaks import (
    NARROW,
    Pieces,
    direction,
    ends_clause,
    ends_sentence,
    width,
)
from framemill.cluster.exports.utterances import Turns, Utterance, label_of, utterances_of
from framemill.ops.plain_text import one_line

Row = Mapping[str, Any]

LINE_WIDTH = 42  # what a line holds in most houses' style guides (BBC, Netflix)
LEAST_LINE_WIDTH = 16  # below it, words are cut
MOST_SECONDS = 7.0
LEAST_MS = 300
# Where to cut: the way that costs least. What a cue costs; a cut behind a clause, in a pause, and where
# nothing ends; a long pause within a cue; and a second that a cue lacks of one. Sentences end for nothing.
_CUE, _CLAUSE, _PAUSE, _NOTHING, _WAITED, _LACKED = 2.0, 3.0, 1.0, 8.0, 20.0, 10.0
_PAUSE_SECONDS, _WAIT_SECONDS = 0.5, 1.5
_SHORT_SECONDS = 1.0
_MARKS = {"L": "\u200e", "R": "\u200f"}


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from one time to another, in whole milliseconds.

    Attributes:
        lines: at least one; none is empty.
        speaker: how people are shown who says it; empty where that is not known.
    """

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """A cue before it is fitted between its neighbours."""

    start: float
    end: float
    lines: tuple[str, ...]
    speaker: str | None


def cues_as_they_are(rows: Sequence[Row], turns: Turns) -> list[Cue]:
    """A cue for each row of `transcript`, with its own lines and times; it lasts a millisecond at least."""
    cues = []
    for row in rows:
        if lines := lines_of(row["text"]):
            start, end = _milliseconds(row["start_seconds"]), _milliseconds(row["end_seconds"])
            speaker = turns.longest(row["start_seconds"], row["end_seconds"])
            cues.append(Cue(start, max(end, start + 1), lines, label_of(speaker) if speaker else ""))
    return cues


def cues_of(rows: Sequence[Row], turns: Turns, line_width: int, with_speakers: bool) -> list[Cue]:
    """Rows of `transcript` as cues of at most two lines and 7 s that do not overlap.

    Nothing of the text is lost but spaces at the ends of lines. None lasts less than 0.3 s, unless what it is
    part of is too short for that.

    Args:
        rows: by time. turns: who speaks, the name of whom stands in the cue's first line if `with_speakers`.
        line_width: of a line, in narrow characters, at least `LEAST_LINE_WIDTH`.
    """
    most = line_width * NARROW
    labels = [width(in_brackets(label_of(speaker))) for speaker in turns.speakers]
    taken = max(labels, default=0) if with_speakers else 0
    segments = []
    for row in rows:
        base = direction(row["text"])
        parts = []
        for part in _parts(row, turns, most, taken):
            speaker = part.speaker or turns.longest(part.start, part.end)
            lines = tuple(_in_direction(line, base) for line in part.lines)
            parts.append(_Part(part.start, part.end, lines, speaker))
        if parts:
            segments.append(parts)
    return _in_turn(segments)


def in_brackets(speaker: str, text: str = "") -> str:
    """A line of text behind its speaker's name, which leaves the line's direction as it is."""
    return f"{_MARKS['R'] if direction(text) == 'R' else ''}[{speaker}] {text}"


def lines_of(text: str) -> tuple[str, ...]:
    """The lines of a text, none of them empty, which would end a cue.

    Of lines that are numbers, which readers take for that of a cue, and those beside them one is made.
    """
    lines = tuple(line for part in text.split("\n") if (line := one_line(part)))
    return (" ".join(lines),) if len(lines) > 1 and any(line.isdecimal() for line in lines) else lines


def _parts(row: Row, turns: Turns, most: int, taken: int) -> list[_Part]:
    """The cues of a row, with times that may be too short or overlap those of others."""
    lines = lines_of(row["text"])
    utterances = utterances_of(row, turns)
    start, end = row["start_seconds"], row["end_seconds"]
    is_short = len(lines) == 2 and len(utterances) == 1 and end - start <= MOST_SECONDS
    if is_short and width(lines[0]) <= most - taken and width(lines[1]) <= most:
        return [_Part(start, end, lines, None)]  # somebody broke the line already
    return [part for utterance in utterances if utterance.text for part in _cut(utterance, most, taken)]


def _cut(utterance: Utterance, most: int, taken: int) -> list[_Part]:
    """Cuts at the least cost over all ways to cut (dynamic programming)."""
    pieces = Pieces(utterance.text, most - taken, {word.first for word in utterance.words})
    starts, ends = utterance.times(pieces.starts, pieces.ends)
    count = len(pieces)
    costs, before = [0.0] + [float("inf")] * count, [0] * (count + 1)
    behind = [_cost_behind(pieces, starts, ends, end) for end in range(count + 1)]
    waits = [0.0] * (count + 1)  # of all cuts up to here, what pauses there would cost within a cue
    for end in range(1, count):
        waits[end] = waits[end - 1] + _WAITED * (starts[end] - ends[end - 1] >= _WAIT_SECONDS)
    waits[count] = waits[count - 1]
    for first in range(count):
        for end in range(first + 1, count + 1):
            seconds = ends[end - 1] - starts[first]
            is_one = end == first + 1
            if not is_one and (seconds > MOST_SECONDS or not pieces.fits(first, end, most, taken)):
                break
            cost = costs[first] + _CUE + behind[end] + (waits[end - 1] - waits[first])
            cost += _LACKED * max(0.0, _SHORT_SECONDS - seconds)
            if cost < costs[end]:
                costs[end], before[end] = cost, first
    parts: list[_Part] = []
    end = count
    while end:
        first = before[end]
        lines = pieces.lines(first, end, most, taken)
        parts.append(_Part(starts[first], ends[end - 1], lines, utterance.speaker))
        end = first
    if len(parts) == 1 and utterance.end - utterance.start <= MOST_SECONDS:
        return [_Part(utterance.start, utterance.end, parts[0].lines, utterance.speaker)]
    return parts[::-1]


def _cost_behind(pieces: Pieces, starts: Sequence[float], ends: Sequence[float], end: int) -> float:
    """What it costs to cut behind the piece before `end`."""
    if end in (0, len(pieces)):
        return 0.0
    if starts[end] - ends[end - 1] >= _PAUSE_SECONDS:
        return _PAUSE
    text = pieces.between(end - 1, end)
    return 0.0 if ends_sentence(text) else _CLAUSE if ends_clause(text) else _NOTHING


def _in_direction(line: str, base: str) -> str:
    """A line that players show in the direction of the whole, though its own first letter has another."""
    return _MARKS[base] + line if base and direction(line) not in ("", base) else line


def _in_turn(segments: Sequence[Sequence[_Part]]) -> list[Cue]:
    """Parts as cues, each behind the one before; those of a segment stay within it where it has the time."""
    cues: list[Cue] = []
    at = 0
    for parts, following in zip_longest(segments, segments[1:]):
        start = max(_milliseconds(parts[0].start), at)
        until = max(_milliseconds(parts[-1].end), start + len(parts))
        least = min(LEAST_MS, (until - start) // len(parts))
        if following is not None:
            until = max(min(until, _milliseconds(following[0].start)), start + len(parts) * least)
        at = start
        for left, part in zip(range(len(parts), 0, -1), parts, strict=True):
            begin = min(max(_milliseconds(part.start), at), until - left * least)
            stop = min(max(_milliseconds(part.end), begin + least), until - (left - 1) * least)
            at = min(stop, begin + round(MOST_SECONDS * 1000))
            cues.append(Cue(begin, at, part.lines, label_of(part.speaker) if part.speaker else ""))
    return cues


def _milliseconds(seconds: float) -> int:
    return round(max(seconds, 0.0) * 1000)
