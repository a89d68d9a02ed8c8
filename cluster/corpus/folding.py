"""Words of a text as searches compare them: without case, accents and punctuation."""

from __future__ import annotations

import re
import unicodedata

# Letters that people look for by another one, and that no decomposition leads to.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"}
)
# Within words: an apostrophe, a joiner, a soft hyphen. "don't" is one word, however it is typed.
_WITHIN = dict.fromkeys(map(ord, "'\u2019\u02bc\u2018`\u00ad\u200b\u200c\u200d\u2060"))
# Combining classes that change the letter and not its accent: vowels of Indian scripts, voicing of kana.
_LETTERS = frozenset((0, 7, 8, 9))
# Scripts that part no words: Thai, Lao, Burmese, Khmer, kana and Chinese characters stand alone.
_ALONE = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
_WORDS_OF_ASCII = re.compile(r"[a-z0-9]+")


def fold(text: str) -> list[str]:
    """The words of a text; scripts that do not part words give a word for each character."""
    if text.isascii():
        return _WORDS_OF_ASCII.findall(text.lower().translate(_WITHIN))
    plain = unicodedata.normalize("NFKD", text).casefold().translate(_WITHIN).translate(_PLAIN)
    letters = []
    for letter in unicodedata.normalize("NFKD", plain):
        kind = unicodedata.category(letter)
        if kind[0] == "M" and unicodedata.combining(letter) not in _LETTERS:
            continue
        letters.append(letter if kind[0] in "LNM" else " ")
    joined = unicodedata.normalize("NFC", "".join(letters))
    return _ALONE.sub(r" \1 ", joined).split()
