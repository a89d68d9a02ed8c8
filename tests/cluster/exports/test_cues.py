"""Cues: what holds for any text and times, and how texts of several scripts are cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from framemill.cluster.exports.cues import Cue, cues_of, in_brackets, lines_of
from framemill.cluster.exports.line_breaks import NARROW, WIDE, direction, width
from framemill.cluster.exports.utterances import Turns

NOBODY = Turns(())
MARKS = str.maketrans("", "", "\u200e\u200f")
LETTERS = st.sampled_from("abcdefgh,.?! 123\u05e9\u05dc\u05d5東京を見た。、ทำไมกำ\u0e49é👩\u200d🚀ー")
TEXTS = st.one_of(st.text(LETTERS, min_size=1, max_size=300), st.text(max_size=120))


def row(start: float, end: float, text: str, words: Any = None) -> dict[str, Any]:
    return {"start_seconds": start, "end_seconds": end, "text": text, "words": words}


def timed(text: str, *spans: tuple[float, float]) -> list[dict[str, Any]]:
    return [
        {"text": word, "start_seconds": start, "end_seconds": end, "probability": 1.0}
        for word, (start, end) in zip(text.split(), spans, strict=True)
    ]


def said(cues: list[Cue]) -> list[tuple[str, ...]]:
    return [cue.lines for cue in cues]


@st.composite
def segments(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows by time, which may touch and overlap; words have times, or only some, or wrong ones."""
    rows, at = [], 0.0
    for text in draw(st.lists(TEXTS, max_size=5)):
        start = max(0.0, at + draw(st.floats(-1, 5)))
        end = start + draw(st.one_of(st.floats(0, 1), st.floats(1, 40)))
        words = []
        for word in text.split():
            span = sorted(draw(st.tuples(st.floats(start, end), st.floats(start, end))))
            words.append({"text": word, "start_seconds": span[0], "end_seconds": span[1]})
        words.sort(key=lambda word: word["start_seconds"])
        rows.append(row(start, end, text, draw(st.sampled_from([None, words, words[::2]]))))
        at = end
    return sorted(rows, key=lambda one: (one["start_seconds"], one["end_seconds"]))


@settings(max_examples=150, deadline=None)
@example([row(0.0, 0.0, "0" * 17, None)], 16, False)
@given(segments(), st.sampled_from([16, 24, 42]), st.booleans())
def test_no_letter_is_lost_and_every_cue_is_short_and_behind_the_one_before(
    rows: list[dict[str, Any]], line_width: int, is_named: bool
) -> None:
    turns = [
        {"start_seconds": at, "end_seconds": at + 3.0, "speaker": f"speaker_{at % 4 // 2}"}
        for at in range(0, 200, 2)
    ]
    cues = cues_of(rows, Turns(turns if is_named else ()), line_width, is_named)
    shown = "".join("".join(cue.lines) for cue in cues).translate(MARKS)
    spoken = "".join("".join(lines_of(one["text"])) for one in rows).translate(MARKS)
    assert shown.replace(" ", "") == spoken.replace(" ", "")
    for cue in cues:
        lines = [in_brackets(cue.speaker, cue.lines[0]) if cue.speaker else cue.lines[0], *cue.lines[1:]]
        assert len(lines) <= 2 and all(lines)
        assert max(map(width, lines)) <= line_width * NARROW
        assert 0 < cue.end_ms - cue.start_ms <= 7000
    for one, other in pairwise(cues):
        assert one.end_ms <= other.start_ms


@settings(max_examples=80, deadline=None)
@given(TEXTS, st.floats(0, 60))
def test_no_cue_of_a_segment_is_shorter_than_it_has_to_be(text: str, seconds: float) -> None:
    cues = cues_of([row(1.0, 1.0 + seconds, text)], NOBODY, 42, False)
    for cue in cues:
        assert cue.end_ms - cue.start_ms >= min(300, round(seconds * 1000) // len(cues)) - 1


def test_a_segment_that_fits_stays_as_it_is() -> None:
    (cue,) = cues_of([row(0.5, 2.25, "And so, my fellow Americans:")], NOBODY, 42, False)
    assert cue == Cue(500, 2250, ("And so, my fellow Americans:",))


def test_a_long_segment_is_cut_behind_sentences_and_lines_are_balanced() -> None:
    text = (
        "This is the first sentence of the talk. And the second one, which is quite a bit longer, ends here. "
        "The third is short."
    )
    cues = cues_of([row(0, 12, text)], NOBODY, 42, False)
    assert said(cues) == [
        ("This is the first sentence of the talk.",),
        ("And the second one, which is", "quite a bit longer, ends here."),
        ("The third is short.",),
    ]
    assert cues[0].start_ms == 0 and cues[-1].end_ms == 12_000


def test_times_are_those_of_the_words_and_a_pause_parts_cues() -> None:
    text = "Yes. No."
    words = timed(text, (1.0, 1.5), (4.0, 4.5))
    first, second = cues_of([row(1.0, 4.5, text, words)], NOBODY, 42, False)
    assert (first.start_ms, first.end_ms, second.start_ms, second.end_ms) == (1000, 1500, 4000, 4500)


def test_a_word_that_is_said_to_last_half_a_minute_is_shown_for_seven_seconds() -> None:
    (cue,) = cues_of([row(3, 33, "Well.")], NOBODY, 42, False)
    assert (cue.start_ms, cue.end_ms) == (3000, 10_000)


def test_a_change_of_speaker_cuts_where_word_times_tell_it_and_not_else() -> None:
    text = "Are you coming? Yes I am."
    words = timed(text, (0, 0.3), (0.3, 0.6), (0.6, 1), (1.2, 1.5), (1.5, 1.7), (1.7, 2))
    turns = Turns(
        [
            {"start_seconds": 0.0, "end_seconds": 1.1, "speaker": "speaker_0"},
            {"start_seconds": 1.15, "end_seconds": 2.0, "speaker": "speaker_1"},
        ]
    )
    assert [(cue.speaker, *cue.lines) for cue in cues_of([row(0, 2, text, words)], turns, 42, True)] == [
        ("S1", "Are you coming?"),
        ("S2", "Yes I am."),
    ]
    (cue,) = cues_of([row(0, 2, text)], turns, 42, True)
    assert (cue.speaker, *cue.lines) == ("S1", text)


def test_full_width_letters_take_as_much_room_as_in_the_field() -> None:
    assert 42 * NARROW == 16 * WIDE
    text = "東京都は日本の首都であり、多くの人が住んでいる。「朝の電車」はとても混む。"
    (cue,) = cues_of([row(0, 6, text[:24])], NOBODY, 42, False)
    assert max(map(len, cue.lines)) <= 16 and cue.lines[0].endswith("、")
    for cue in cues_of([row(0, 12, text * 3)], NOBODY, 42, False):
        assert all(len(line) <= 16 and line[0] not in "、。」ー" and line[-1] != "「" for line in cue.lines)


def test_thai_is_cut_between_syllables_or_where_words_are_known_to_begin() -> None:
    words = ["สวัสดี", "ครับ", "ผม", "ชื่อ", "สมชาย", "และ", "ผม", "อาศัย", "อยู่", "ที่", "กรุงเทพ", "มหานคร", "ครับ"]
    text = "".join(words)
    known = [{"text": word, "start_seconds": at, "end_seconds": at + 1.0} for at, word in enumerate(words)]
    lines = [line for cue in cues_of([row(0, 13, text, known)], NOBODY, 16, False) for line in cue.lines]
    begins = {sum(map(len, words[:count])) for count in range(len(words))}
    at = 0
    for line in lines:
        assert at in begins, line
        at += len(line)
    for cue in cues_of([row(0, 13, text)], NOBODY, 16, False):
        assert all(line[0] not in "ะาำ\u0e31\u0e34\u0e35\u0e38\u0e48\u0e49" for line in cue.lines)


def test_lines_of_text_from_right_to_left_keep_its_direction() -> None:
    text = "שלום לכולם וברוכים הבאים לתוכנית שלנו היום עם iPhone Pro Max ועוד הרבה דברים חדשים ומעניינים"
    cues = cues_of([row(0, 6, text), row(7, 9, "iPhone: שלום")], NOBODY, 16, False)
    assert all(direction(line) == "R" for cue in cues[:-1] for line in cue.lines)
    assert in_brackets("S1", "שלום") == "\u200f[S1] שלום" and in_brackets("S1", "hi") == "[S1] hi"


def test_a_line_of_digits_never_stands_alone_in_a_cue_of_two() -> None:
    text = "The number that everybody has to know is 20240817"
    for cue in cues_of([row(0, 5, text)], NOBODY, 42, False):
        assert len(cue.lines) == 1 or not any(line.isdecimal() for line in cue.lines)


@pytest.mark.parametrize("text", ["", " ", "\n \n", "\x00"])
def test_what_does_not_show_makes_no_cue(text: str) -> None:
    assert cues_of([row(0, 1, text)], NOBODY, 42, False) == []
