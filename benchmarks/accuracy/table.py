"""The table in docs/accuracy.md: one row for each comparison, between two markers."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

START, END = "<!-- measured: accuracy -->", "<!-- end of accuracy -->"
HEADER = ("family", "reference", "compared", "rows", "figure", "goal", "met")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One row of the table.

    Attributes:
        family: of models, or the operation.
        reference: what ours is held against, with its version.
        compared: which rows, on which media.
        num_rows: how many were compared; 0 where nothing was.
        figure: what came out, in words and numbers; why not, where nothing was compared.
        goal: what should come out; empty where the row only informs.
        met: whether it did; None where there is no goal or nothing was compared.
    """

    family: str
    reference: str
    compared: str
    num_rows: int
    figure: str
    goal: str = ""
    met: bool | None = None


def skipped(family: str, reason: str) -> Comparison:
    """The row of what could not be compared."""
    return Comparison(family=family, reference="", compared="", num_rows=0, figure=f"not measured: {reason}")


def render(rows: Sequence[Comparison], packages: Sequence[str]) -> str:
    """The table in Markdown, and the versions of Python and of these packages it was measured with."""
    lines = [HEADER, ("---",) * len(HEADER)]
    for row in rows:
        met = "" if row.met is None else "yes" if row.met else "**no**"
        count = str(row.num_rows or "")
        lines.append((row.family, row.reference, row.compared, count, row.figure, row.goal, met))
    table = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{table}\n\nMeasured with Python {platform.python_version()}, {versions}."


def replaced(page: str, text: str) -> str:
    """The page with `text` between its markers.

    Raises:
        ValueError: the page has not both markers, once each and in order.
    """
    found = re.findall(f"{re.escape(START)}.*?{re.escape(END)}", page, re.DOTALL)
    if len(found) != 1 or page.count(START) != 1 or page.count(END) != 1:
        raise ValueError(
            f"the page must hold {START} and then {END}, once each; put them where the table goes"
        )
    return page.replace(found[0], f"{START}\n\n{text}\n\n{END}")
