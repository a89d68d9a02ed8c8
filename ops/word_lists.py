"""Words that an option names: with commas between them, a line each, or in a file."""

from __future__ import annotations

from pathlib import Path

from framemill.errors import UsageError

# Longer ones would be cut: text towers read 64 tokens, or 77.
MAX_LETTERS = 100


def parse_words(text: str, option: str, most: int) -> list[str]:
    """The different words of a list with commas, of lines, or of the file behind an `@`, in their order.

    Args:
        text: words with commas between them or a line each, or `@FILE` with a line each.
        option: what gives it, for messages. most: how many there may be.

    Raises:
        UsageError: the file cannot be read, or there are no words, too many, or words that are no plain text.
    """
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        try:
            parts = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{option}: {path} cannot be read: {error}; give a text file with a label a line"
            ) from error
    else:
        parts = text.split("\n" if "\n" in text else ",")
    words = list(dict.fromkeys(filter(None, map(str.strip, parts))))
    if not 1 <= len(words) <= most:
        raise UsageError(f"{option} has {len(words)} labels; give 1 to {most}")
    for word in words:
        if len(word) > MAX_LETTERS or not word.isprintable():
            raise UsageError(
                f"{option}: {word[:MAX_LETTERS]!r} is no label: it may have at most {MAX_LETTERS} "
                "letters, all printable"
            )
    return words
