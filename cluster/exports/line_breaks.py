"""Where lines of subtitles may end, and how wide they are.

Widths follow the practice of the field: where a line takes 42 characters of scripts with narrow letters, it
takes 16 full-width ones (Netflix's Timed Text Style Guides, for Chinese and Korean), so a full-width
character counts as 42 / 16 narrow ones whatever the width of a line. Marks that stand on other letters, and
characters that do not show, take no room.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Collection, Iterator
from itertools import accumulate, pairwise

NARROW, WIDE = 16, 42  # in sixteenths of a narrow character
_ZERO = frozenset(("Mn", "Me", "Cf", "Cc"))
# Scripts without spaces. Between these letters a line may end anywhere, as in Chinese and Japanese ...
_DENSE = re.compile(
    "[\u2e80-\u312f\u3190-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003ffff]"
)
# ... and between the syllables of Thai, Lao, Burmese and Khmer, whose words only a dictionary tells.
_SYLLABIC = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_SMALL_KANA = frozenset("ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶ")
_LEADING_VOWELS = frozenset("เแโใไເແໂໃໄ")  # are written before the consonant that they follow
_STACKERS = frozenset("\u17d2\u1039")  # put the next consonant below
_TRAILING = frozenset("ะาำๅๆฯະາຳຽໆຯ")
_JOINERS = frozenset("\u200d\u2060\ufeff")
_SPACE_OF_NO_WIDTH = "\u200b"  # is written where a word of Khmer or Thai ends
_IDEOGRAPHIC_SPACE = "\u3000"
_CLOSING = r"['\")\]\u00bb\u2019\u201d\u300d\u300f\u3011\uff09]*$"
# Of Latin; Chinese and Japanese; Arabic and Urdu; Hindi; Armenian; Ethiopic; Khmer; Burmese.
_SENTENCE_END = re.compile(
    r"[.!?\u2026\u3002\uff01\uff1f\uff61\u061f\u06d4\u0964\u0965\u0589\u1362\u17d4\u104b]" + _CLOSING
)
_CLAUSE_END = re.compile(
    r"[,;:\u2013\u2014\uff0c\u3001\uff1b\uff1a\u060c\u061b\u055d\u1363\u104a]" + _CLOSING
)


def width(text: str) -> int:
    """How wide a text is, in sixteenths of a narrow character."""
    return sum(map(_width, text))


def _width(letter: str) -> int:
    if " " <= letter <= "~":
        return NARROW
    if unicodedata.category(letter) in _ZERO:
        return 0
    return WIDE if unicodedata.east_asian_width(letter) in "WF" else NARROW


def ends_sentence(text: str) -> bool:
    """Whether the last character, closing quotes apart, ends a sentence."""
    return _SENTENCE_END.search(text) is not None


def ends_clause(text: str) -> bool:
    """Whether the last character, closing quotes apart, ends a clause."""
    return _CLAUSE_END.search(text) is not None


def direction(text: str) -> str:
    """Of the first letter that has one: `R` from right to left, `L` from left to right; else empty."""
    for letter in text:
        kind = unicodedata.bidirectional(letter)
        if kind in ("L", "R", "AL"):
            return "L" if kind == "L" else "R"
    return ""


class Pieces:
    """A text on one line as the pieces between which lines may end.

    Attributes:
        starts, ends: of each piece, positions in the text; the space behind it is not part of it.

    Args:
        text: without line ends, and without plain spaces around it or two of them in a row.
        most: width of the widest piece; what is wider is cut.
        edges: positions at which words are known to begin, in scripts whose words nothing else tells.
    """

    def __init__(self, text: str, most: int, edges: Collection[int] = ()) -> None:
        self.text = text
        self.starts: list[int] = []
        self.ends: list[int] = []
        widths = [0, *accumulate(map(_width, text))]
        breaks = [0, *(at for at in range(1, len(text)) if _may_break(text, at, edges)), len(text)]
        for start, stop in pairwise(breaks):
            end = stop - 1 if text[stop - 1] == " " else stop
            for first, last in _cut(text, start, end, widths, most):
                self.starts.append(first)
                self.ends.append(last)
        self._has_number = any(
            text[first].isdecimal() and text[last - 1].isdecimal()
            for first, last in zip(self.starts, self.ends, strict=True)
        )
        self._left = [widths[at] for at in self.starts]
        self._right = [widths[at] for at in self.ends]

    def __len__(self) -> int:
        return len(self.starts)

    def width(self, first: int, end: int) -> int:
        """Of pieces `first` to `end`, exclusive, on one line."""
        return self._right[end - 1] - self._left[first]

    def between(self, first: int, end: int) -> str:
        """The text of pieces `first` to `end`, exclusive."""
        return self.text[self.starts[first] : self.ends[end - 1]]

    def fits(self, first: int, end: int, most: int, taken: int) -> bool:
        """Whether pieces `first` to `end`, exclusive, go on two lines of which the first has `taken` less."""
        if self.width(first, end) <= most - taken:
            return True
        second = bisect_right(self._right, self._left[first] + most - taken)
        if second == first or self.width(second, end) > most:
            return False
        # Most texts hold no line of digits, which must not stand alone.
        return not self._has_number or len(self.lines(first, end, most, taken)) > 1

    def lines(self, first: int, end: int, most: int, taken: int) -> tuple[str, ...]:
        """These pieces on one line, or on two of about the same width, parted behind a clause where one ends.

        Pieces that do not go on two lines are put on one.
        """
        whole: tuple[str, ...] = (self.between(first, end),)
        if self.width(first, end) <= most - taken:
            return whole
        best, least = whole, float("inf")
        for second in range(first + 1, end):
            above, below = self.width(first, second) + taken, self.width(second, end)
            lines = self.between(first, second), self.between(second, end)
            # Readers take a line of digits for the number of the next cue.
            if above > most or below > most or any(line.isdecimal() for line in lines):
                continue
            # A lower line that is a little longer reads better than an upper one.
            uneven = abs(above - below) / most + 0.1 * (above > below)
            cost = uneven - 0.3 * (ends_clause(lines[0]) or ends_sentence(lines[0]))
            if cost < least:
                best, least = lines, cost
        return best


def _may_break(text: str, at: int, edges: Collection[int]) -> bool:
    """Whether a line may end before the character at this position."""
    before, after = text[at - 1], text[at]
    if before.isascii() and after.isascii():
        return before == " "
    if before in (" ", _SPACE_OF_NO_WIDTH):
        return True
    kind, kind_before = unicodedata.category(after), unicodedata.category(before)
    if not _is_whole(text, at) or kind in ("Zs", "Pe", "Pf", "Po") or kind_before in ("Ps", "Pi"):
        return False
    if kind_before == "Zs":
        return before == _IDEOGRAPHIC_SPACE
    if _SYLLABIC.match(before) and _SYLLABIC.match(after):
        return at in edges if edges else _is_syllable(before, after)
    is_dense = _DENSE.match(before) or _DENSE.match(after)
    # Nor does a line begin with the mark of a long or repeated sound, or a small kana.
    return bool(is_dense) and kind != "Lm" and after not in _SMALL_KANA


def _is_syllable(before: str, after: str) -> bool:
    """Whether a syllable may begin between two letters; some of these begins are within a word."""
    return before not in _LEADING_VOWELS and before not in _STACKERS and after not in _TRAILING


def _is_whole(text: str, at: int) -> bool:
    """Whether no sign that people take for one is cut before this position."""
    before, after = text[at - 1], text[at]
    is_mark = unicodedata.category(after) in ("Mn", "Mc", "Me", "Cf", "Sk")
    return not is_mark and before not in _JOINERS and before not in _STACKERS


def _cut(text: str, start: int, end: int, widths: list[int], most: int) -> Iterator[tuple[int, int]]:
    """A piece, or what it is cut into where it is wider than a line."""
    while widths[end] - widths[start] > most:
        stop = max(bisect_right(widths, widths[start] + most, start, end) - 1, start + 1)
        whole = next((at for at in range(stop, start, -1) if _is_whole(text, at)), stop)
        yield start, whole
        start = whole
    yield start, end
