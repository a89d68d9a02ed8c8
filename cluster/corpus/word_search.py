"""Search for words as they stand in transcripts, subtitles, text on screen and captions, without a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from framemill.cluster.corpus.folding import fold
from framemill.errors import UsageError

# Where words are, in the order of preference: `text_spans` says once what `text` says in each frame.
SPOKEN, SPANS, LINES = "transcript", "text_spans", "text"
# What a model wrote about shots and files: a row is a text of its own.
CAPTIONS, SUMMARIES = "captions", "summaries"
WORD_TABLES = (SPOKEN, SPANS, LINES, CAPTIONS, SUMMARIES)
# After a longer pause somebody begins anew: no phrase goes on over it.
PAUSE_SECONDS = 5.0
_ASKED = re.compile(r'"([^"]*)"|(\S+)')
_COLUMNS = {
    SPOKEN: ("source_id", "start_seconds", "end_seconds", "text", "origin", "stream_index"),
    SPANS: ("source_id", "start_seconds", "text"),
    LINES: ("source_id", "pts_seconds", "text"),
    CAPTIONS: ("source_id", "of", "start_seconds", "end_seconds", "text"),
    SUMMARIES: ("source_id", "of", "text"),
}
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A place where words stand.

    Attributes:
        source_id: content. pts_seconds: when; of speech with times of words, that of the first word.
        score: 1 where all words stand next to each other in this order, else 0.5.
        table: where it was found. text: what is said or written there.
        origin: speech, subtitles, screen, caption or summary.
        row, place: the row that the first word stands in, and how many words of it come before.
    """

    source_id: str
    pts_seconds: float
    score: float
    table: str
    text: str
    origin: str
    row: Row
    place: int


@dataclass(slots=True)
class _Passage:
    """Rows whose texts go on in each other, and their words, each with its row and its place in it."""

    rows: list[Row]
    words: list[str] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            words = fold(row["text"] or "")
            self.words += words
            self.places += [(number, place) for place in range(len(words))]


def find_words(
    tables: Mapping[str, pyarrow.dataset.Dataset], query: str, top: int, uris: Mapping[str, Sequence[str]]
) -> list[Found]:
    """Where all words of a query stand: first where they do so next to each other, by file and time.

    Case, accents and punctuation make no difference. Words in double quotes stand next to each other, also
    over the end of a segment or line; others stand anywhere in the same segment, or in the same moment on
    screen.

    Args:
        tables: those of a result folder; of `WORD_TABLES` what is there is looked through.
        top: most places, >= 1. uris: content id -> its files.

    Raises:
        UsageError: the query holds no word.
    """
    phrases = [words for asked, word in _ASKED.findall(query) if (words := fold(asked or word))]
    if not phrases:
        raise UsageError(f"the query {query!r} holds no word: give letters or digits")
    found: list[Found] = []
    if SPOKEN in tables:
        found += _spoken(tables[SPOKEN], phrases)
    known: frozenset[str] = frozenset()
    if SPANS in tables:
        found += _written(SPANS, tables[SPANS], phrases, known)
        known = frozenset(tables[SPANS].to_table(columns=["source_id"])["source_id"].to_pylist())
    if LINES in tables:
        found += _written(LINES, tables[LINES], phrases, known)
    for name, origin in ((CAPTIONS, "caption"), (SUMMARIES, "summary")):
        if name in tables:
            found += _described(name, tables[name], phrases, origin)
    found.sort(
        key=lambda each: (-each.score, uris.get(each.source_id, [each.source_id])[0], each.pts_seconds)
    )
    return [_timed(tables, each) for each in found[:top]]


def _spoken(table: pyarrow.dataset.Dataset, phrases: Sequence[list[str]]) -> Iterator[Found]:
    of = ("source_id", "origin", "stream_index")
    for rows in _groups(table, SPOKEN, (*of, "start_seconds"), of):
        for passage in map(_Passage, _without_pauses(rows)):
            for (first, place), last, score in _matches(passage, phrases):
                row = passage.rows[first]
                text, origin = _joined(passage.rows[first : last + 1]), row.get("origin") or "speech"
                yield Found(row["source_id"], row["start_seconds"], score, SPOKEN, text, origin, row, place)


def _without_pauses(rows: Sequence[Row]) -> Iterator[list[Row]]:
    begin = 0
    for n, (row, after) in enumerate(pairwise(rows), start=1):
        if after["start_seconds"] - row.get("end_seconds", row["start_seconds"]) > PAUSE_SECONDS:
            yield list(rows[begin:n])
            begin = n
    yield list(rows[begin:])


def _written(
    name: str, table: pyarrow.dataset.Dataset, phrases: Sequence[list[str]], known: frozenset[str]
) -> Iterator[Found]:
    """Lines that begin to be on screen at one moment belong together; what stays is told once."""
    time = _COLUMNS[name][1]
    before = ("", "")
    for rows in _groups(table, name, ("source_id", time), ("source_id", time)):
        passage, row = _Passage(rows), rows[0]
        if row["source_id"] in known:
            continue
        # The rows of one moment are one text: which of them a word is in makes no difference.
        passage.places = [(0, place) for place in range(len(passage.words))]
        match = next(_matches(passage, phrases), None)
        now = (row["source_id"], _joined(rows)) if match else ("", "")
        if match and (name == SPANS or now != before):
            yield Found(row["source_id"], row[time], match[2], name, now[1], "screen", row, match[0][1])
        before = now


def _described(
    name: str, table: pyarrow.dataset.Dataset, phrases: Sequence[list[str]], origin: str
) -> Iterator[Found]:
    """Shots and files whose text holds the words; of a file that is the time of its start."""
    for row in _rows(table.to_table(columns=list(_COLUMNS[name]))):
        match = next(_matches(_Passage([row]), phrases), None)
        if match is not None:
            at = row.get("start_seconds", 0.0)
            yield Found(row["source_id"], at, match[2], name, row["text"], origin, row, match[0][1])


def _joined(rows: Sequence[Row]) -> str:
    return " ".join(" ".join(row["text"] or "" for row in rows).split())


def _groups(
    table: pyarrow.dataset.Dataset, name: str, order: Sequence[str], together: Sequence[str]
) -> Iterator[list[Row]]:
    """The rows of a table in order, those together that share some columns."""
    columns = [column for column in (*_COLUMNS[name], "text_index") if column in table.schema.names]
    rows = table.to_table(columns=columns)
    rows = rows.sort_by([(column, "ascending") for column in (*order, "text_index") if column in columns])
    for _, group in groupby(_rows(rows), key=lambda row: tuple(row.get(column) for column in together)):
        yield list(group)


def _rows(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


def _matches(passage: _Passage, phrases: Sequence[list[str]]) -> Iterator[tuple[tuple[int, int], int, float]]:
    """For each row in which all phrases begin: the place of the first word, the last row, the score."""
    words, places = passage.words, passage.places
    whole = [word for phrase in phrases for word in phrase]
    if not set(words).issuperset(whole):
        return
    in_order = {places[at][0]: at for at in reversed(_places(words, whole))}
    apart = [{places[at][0]: at for at in reversed(_places(words, phrase))} for phrase in phrases]
    for number in sorted(set(in_order).union(set(apart[0]).intersection(*apart[1:]))):
        if number in in_order:
            first, end, score = in_order[number], in_order[number] + len(whole), 1.0
        else:
            starts = [positions[number] for positions in apart]
            first, score = min(starts), 0.5
            end = max(at + len(phrase) for at, phrase in zip(starts, phrases, strict=True))
        yield places[first], places[end - 1][0], score


def _places(words: Sequence[str], phrase: Sequence[str]) -> list[int]:
    size = len(phrase)
    return [at for at, word in enumerate(words) if word == phrase[0] and words[at : at + size] == phrase]


def _timed(tables: Mapping[str, pyarrow.dataset.Dataset], found: Found) -> Found:
    """With the time of the first word, where the transcript has times of words that fit its text."""
    if found.origin != "speech" or "words" not in tables[SPOKEN].schema.names:
        return found
    row = found.row
    same = (pc.field("source_id") == row["source_id"]) & (pc.field("start_seconds") == row["start_seconds"])
    rows = tables[SPOKEN].to_table(columns=["text", "words"], filter=same).to_pylist()
    said = next((each["words"] for each in rows if each["text"] == row["text"]), None) or []
    times = [word["start_seconds"] for word in said for _ in fold(word["text"])]
    if len(times) != len(fold(row["text"])):
        return found
    return replace(found, pts_seconds=times[found.place])
