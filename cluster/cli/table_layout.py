"""Tables as text: a line a row, fitted to a terminal as DuckDB does it, or whole for other programs."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence

from rich.cells import cell_len, set_cell_size

GAP = "  "
MORE = "…"
# Texts are cut to this before columns are left out; names, which are typed again, only beyond that.
LEAST_TEXT = 10
LEAST_NAME = 32
LARGEST_SINGLE = 3.4028234663852886e38


class Number(str):
    """A cell that was a number, to be aligned right and never cut."""


def short(value: float) -> float:
    """The number of fewest digits that stands for the same value of its own precision.

    Single precision, of which most columns are, shows as 0.1 and not as 0.10000000149; sums of doubles lose
    the noise behind their twelfth digit.
    """
    if not math.isfinite(value) or value == 0:
        return value
    if abs(value) <= LARGEST_SINGLE and _as_single(value) == value:
        for digits in range(6, 10):
            found = float(f"{value:.{digits}g}")
            if abs(found) <= LARGEST_SINGLE and _as_single(found) == value:
                return found
    return float(f"{value:.12g}")


def _as_single(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def as_json(value: object, plain: Callable[[object], object]) -> str:
    """A list or a struct on one line; `plain` turns what JSON does not know into what it knows."""
    return json.dumps(_shortened(value), default=plain, ensure_ascii=False)


def _shortened(value: object) -> object:
    if isinstance(value, float):
        return short(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _shortened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(item) for item in value]
    return value


def tabbed(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Values with tabs between them, none of which holds a tab or a line's end itself."""
    return ["\t".join(row) for row in ([columns, *rows] if any(columns) else rows)]


def listed(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A value a line, rows apart by an empty line."""
    width = max(map(cell_len, columns), default=0)
    lines: list[str] = []
    for row in rows:
        lines += [""] if lines else []
        lines += [
            f"{' ' * (width - cell_len(name))}{name}{' = ' if name else ''}{cell}"
            for name, cell in zip(columns, row, strict=True)
        ]
    return lines


def aligned(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None
) -> tuple[list[str], int]:
    """Columns below their names.

    Args:
        width: cells of a line, into which texts are cut and, where that is not enough, columns in the middle
            left out; None for as many as it takes.

    Returns:
        The lines, and the number of columns left out.
    """
    numeric = [
        any(row[n] for row in rows) and all(isinstance(row[n], Number) or not row[n] for row in rows)
        for n in range(len(columns))
    ]
    natural = [max(map(cell_len, [name, *(row[n] for row in rows)])) for n, name in enumerate(columns)]
    if width is None:
        kept, widths = list(range(len(columns))), natural
    else:
        least = [
            natural[n]
            if numeric[n]
            else min(natural[n], max(_least([row[n] for row in rows]), cell_len(name)))
            for n, name in enumerate(columns)
        ]
        kept = _kept(least, width)
        widths = _widened(least, natural, kept, width)
    lines = [_line(columns, kept, widths, numeric)] if any(columns) else []
    if lines:
        lines.append("─" * (sum(widths[n] for n in kept) + len(GAP) * (_num_cells(kept, columns) - 1)
                            + (len(kept) < len(columns))))  # fmt: skip
    lines += [_line(row, kept, widths, numeric) for row in rows]
    return lines, len(columns) - len(kept)


def _least(texts: Sequence[str]) -> int:
    return LEAST_TEXT if any(" " in text.strip() or "/" in text for text in texts) else LEAST_NAME


def _num_cells(kept: Sequence[int], columns: Sequence[str]) -> int:
    return len(kept) + (len(kept) < len(columns))


def _kept(least: Sequence[int], width: int) -> list[int]:
    """Which columns fit: all, or the first, the last, the second, the last but one, and so on."""
    if sum(least) + len(GAP) * (len(least) - 1) <= width:
        return list(range(len(least)))
    kept: list[int] = []
    room = width - len(MORE) - len(GAP)
    left, right = 0, len(least) - 1
    while left <= right:
        n = left if len(kept) % 2 == 0 else right
        room -= least[n] + (len(GAP) if kept else 0)
        if room < 0 and kept:
            break
        kept.append(n)
        left, right = left + (n == left), right - (n != left)
    return sorted(kept)


def _widened(least: Sequence[int], natural: Sequence[int], kept: Sequence[int], width: int) -> list[int]:
    """Shares out what room is left, to those first that lack least."""
    widths = list(least)
    marks = len(MORE) + len(GAP) if len(kept) < len(least) else 0
    room = width - marks - sum(widths[n] for n in kept) - len(GAP) * (len(kept) - 1)
    wanting = sorted((n for n in kept if natural[n] > widths[n]), key=lambda n: natural[n] - widths[n])
    for position, n in enumerate(wanting):
        more = min(natural[n] - widths[n], max(0, room) // (len(wanting) - position))
        widths[n] += more
        room -= more
    if len(kept) == 1 and room < 0:
        widths[kept[0]] = max(1, widths[kept[0]] + room)
    return widths


def _line(row: Sequence[str], kept: Sequence[int], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    cells = []
    for position, n in enumerate(kept):
        if n != position and (position == 0 or kept[position - 1] != n - 1):
            cells.append(MORE)
        text = _cut(row[n], widths[n])
        cells.append(
            " " * (widths[n] - cell_len(text)) + text if numeric[n] else set_cell_size(text, widths[n])
        )
    if kept and kept[-1] != len(row) - 1:
        cells.append(MORE)
    return GAP.join(cells).rstrip()


def _cut(text: str, width: int) -> str:
    """At most so many cells: of a path the end, with the file's name, of all else the beginning."""
    if cell_len(text) <= width:
        return text
    if "/" in text and " " not in text:
        end = text
        while cell_len(end) > width - 1:
            end = end[1:]
        return MORE + end
    return set_cell_size(text, width - 1).rstrip() + MORE
