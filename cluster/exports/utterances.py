"""Segments of speech cut where the speaker changes, with the time of every character."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from framemill.ops.plain_text import one_line

Row = Mapping[str, Any]

# A shorter turn between two of another speaker is more often a slip of who is heard than a turn.
LEAST_TURN_SECONDS = 0.3
_SEARCH = 40  # characters behind the last word within which the next one is looked for


@dataclass(frozen=True, slots=True)
class Word:
    """A word that was found in the text: positions `first` to `last`, exclusive, and seconds."""

    first: int
    last: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """What one speaker says in a segment.

    Attributes:
        text: on one line. start, end: in seconds.
        words: those whose times are known, in order.
        speaker: who is known to say it; None where it is not known to differ from what is around it.
    """

    text: str
    start: float
    end: float
    words: Sequence[Word] = ()
    speaker: str | None = None

    def times(self, starts: Sequence[int], ends: Sequence[int]) -> tuple[list[float], list[float]]:
        """When stretches of text begin and end in seconds, neither of which ever runs back.

        Between words whose times are known, time passes as text does.

        Args:
            starts, ends: positions of each stretch in the text, in order.
        """
        begins: dict[int, float] = {0: self.start}
        stops: dict[int, float] = {0: self.start}
        latest = self.start
        for word in self.words:
            start, end = max(word.start, latest), max(word.start, word.end, latest)
            stops.setdefault(word.first, latest if word.first else start)
            begins[word.first] = start
            stops[word.last] = begins[word.last] = end
            latest = end
        begins.setdefault(len(self.text), max(self.end, latest))
        stops.setdefault(len(self.text), max(self.end, latest))
        found = [
            [float(at) for at in np.interp(places, sorted(known), [known[key] for key in sorted(known)])]
            for places, known in ((starts, begins), (ends, stops))
        ]
        return found[0], found[1]


class Turns:
    """Who speaks when.

    Attributes:
        speakers: everybody by name.

    Args:
        rows: of the table `speakers`.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        ordered = sorted(rows, key=lambda row: row["start_seconds"])
        self.speakers = sorted({str(row["speaker"]) for row in ordered})
        numbers = {speaker: number for number, speaker in enumerate(self.speakers)}
        self._starts = np.array([row["start_seconds"] for row in ordered], np.float64)
        self._ends = np.array([row["end_seconds"] for row in ordered], np.float64)
        self._latest = np.maximum.accumulate(self._ends)
        self._who = np.array([numbers[str(row["speaker"])] for row in ordered], np.int64)

    def longest(self, start: float, end: float) -> str | None:
        """Who speaks longest between two times, as the view `spoken` has it; None: nobody."""
        first = int(np.searchsorted(self._latest, start, "right"))
        last = int(np.searchsorted(self._starts, end, "left"))
        if first >= last:
            return None
        shared = np.minimum(self._ends[first:last], end) - np.maximum(self._starts[first:last], start)
        sums = np.bincount(self._who[first:last], np.maximum(shared, 0.0))
        return self.speakers[int(sums.argmax())] if sums.max() > 0 else None


def label_of(speaker: str) -> str:
    """How people are shown a speaker: S1 for speaker_0, and so on; letters, digits, `-` and `_` of others."""
    if found := re.fullmatch(r"speaker_(\d+)", speaker):
        return f"S{int(found[1]) + 1}"
    return re.sub(r"[^\w-]+", "_", speaker)


def utterances_of(row: Row, turns: Turns) -> list[Utterance]:
    """A row of `transcript` as what each speaker says in it, cut only where times of words tell where."""
    text = one_line(row["text"])
    whole = Utterance(text, row["start_seconds"], row["end_seconds"], _found(text, row.get("words") or ()))
    runs = _runs(whole.words, turns)
    if len(runs) < 2:
        return [whole]
    parts = []
    starts = [0, *(words[0].first for _, words in runs[1:])]
    for number, (speaker, words) in enumerate(runs):
        first = starts[number]
        last = starts[number + 1] if number + 1 < len(runs) else len(text)
        parts.append(
            Utterance(
                text[first:last].rstrip(" "),
                words[0].start if number else whole.start,
                words[-1].end if number + 1 < len(runs) else whole.end,
                [Word(word.first - first, word.last - first, word.start, word.end) for word in words],
                speaker,
            )
        )
    return parts


def _found(text: str, words: Sequence[Row]) -> list[Word]:
    """Those of the words that stand in the text, one behind the other."""
    found, at = [], 0
    for word in words:
        said = one_line(word["text"])
        first = text.find(said, at, at + len(said) + _SEARCH) if said else -1
        if first >= 0:
            at = first + len(said)
            found.append(Word(first, at, word["start_seconds"], word["end_seconds"]))
    return found


def _runs(words: Sequence[Word], turns: Turns) -> list[tuple[str, list[Word]]]:
    """Words that one speaker says without another between, of those during which somebody speaks."""
    told: list[tuple[str, Word]] = []
    waiting: list[Word] = []
    for word in words:
        speaker = turns.longest(word.start, word.end) or (told[-1][0] if told else None)
        if speaker is None:
            waiting.append(word)  # goes to whoever speaks first
            continue
        told += [(speaker, early) for early in waiting] + [(speaker, word)]
        waiting = []
    runs: list[tuple[str, list[Word]]] = []
    for speaker, own in groupby(told, key=lambda pair: pair[0]):
        run = [word for _, word in own]
        is_slip = run[-1].end - run[0].start < LEAST_TURN_SECONDS
        if runs and (is_slip or runs[-1][0] == speaker):
            runs[-1][1].extend(run)
        elif runs and runs[-1][1][-1].end - runs[-1][1][0].start < LEAST_TURN_SECONDS:
            runs[-1] = speaker, [*runs[-1][1], *run]
        else:
            runs.append((speaker, run))
    return runs
