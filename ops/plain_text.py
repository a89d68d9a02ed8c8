"""Text from outside as plain text that keeps its letters, marks, joiners and spaces of every width."""

from __future__ import annotations

import re

# What moves a cursor, ends a line or a cell, or speaks to a terminal: Unicode's control characters (Cc), and
# its separators of lines (U+2028) and paragraphs (U+2029).
_AS_SPACES = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029], " ")


def one_line(text: str) -> str:
    """The text with a space for each control character and line separator, and runs of plain spaces as one.

    Every other character stays: joiners, soft hyphens, direction marks, fixed and ideographic spaces.
    """
    return re.sub(" {2,}", " ", text.translate(_AS_SPACES)).strip(" ")


def plain_lines(text: str) -> str:
    """The lines of a text that holds newlines, each as `one_line` has it, without those of spaces alone."""
    lines = (one_line(line) for line in re.split(r"\r\n|\r|\n", text))
    return "\n".join(line for line in lines if line and not line.isspace())
