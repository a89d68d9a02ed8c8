"""Stretches of files to be exported: the shots, a table such as highlights, or what a query gives."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from framemill.cluster.corpus.shots import COLUMNS, find_shots
from framemill.cluster.results.answers import QueryResult
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import query
from framemill.errors import UsageError

SHOTS = "shots"
_TIMES = ("start_seconds", "end_seconds")
_FRAMES = ("start_frame", "end_frame")
MARKER_LABELS = 3  # shown of each stretch
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shot:
    """A stretch of a file, which is a shot where nothing else was asked for.

    Attributes:
        number: from 1, unlike that of every other stretch of the file.
        start_seconds, end_seconds: since the start of the presentation, 0 <= start <= end.
        start_frame, end_frame: its first frame and the one behind its last, 0-based; None where not given.
        name: of the stretch, "" without one. labels: what it shows, or why it was chosen.
        words: said, read or written in it. transition: how it begins; "" where that is not known.
        best_frame: index of the frame that stands for it. still: that frame as a JPEG. None where unknown.
    """

    number: int
    start_seconds: float
    end_seconds: float
    start_frame: int | None = None
    end_frame: int | None = None
    name: str = ""
    labels: Sequence[str] = ()
    words: str = ""
    transition: str = ""
    best_frame: int | None = None
    still: bytes | None = None

    @property
    def marker(self) -> str:
        """What an editing program shows of it; "" where nothing is known."""
        return ", ".join([self.name] * bool(self.name) + list(self.labels[:MARKER_LABELS]))

    @property
    def title(self) -> str:
        """What a viewer chooses it by; "" where nothing is known."""
        return self.marker or self.words


def read_stretches(
    root: str | os.PathLike[str], where: str | None, more: tuple[str, ...] = (), of: str = SHOTS
) -> dict[str, list[Shot]]:
    """Source -> its stretches in order of time.

    Args:
        root: a result folder.
        where: a condition on the columns of what is exported in DuckDB's SQL; None for all.
        more: columns of the view `shots` that are needed beside those that are cheap.
        of: `shots`; the name of a table; or a query. What is not shots has to have source_id or uri,
            start_seconds and end_seconds, and may have start_frame and end_frame, scene_index or rank, and
            name, label, labels, reasons, text and words, which are text or lists of it.

    Raises:
        UsageError: columns are missing or hold what is no time or no file, or DuckDB refuses the query.
        DatasetError: a part cannot be read.
    """
    if of == SHOTS:
        found = find_shots(root, where, columns=(*COLUMNS, *more))
    else:
        # On lines of their own, so that a comment at the end leaves the rest of the statement alone.
        rows = of if re.fullmatch(r"\w+", of) else f"(\n{of.strip().rstrip(';')}\n)"
        found = query(root, f"SELECT * FROM {rows}" + (f" WHERE (\n{where}\n)" if where else ""))
        _need(found.columns, of)
    state = Dataset.open(root, create=False).state
    known = {record.source_id for record in state.sources.values()}
    own: dict[str, list[Shot]] = {}
    for row in _rows(found):
        source_id = row.get("source_id")
        if source_id is None and row.get("uri") in state.sources:
            source_id = state.sources[row["uri"]].source_id
        if source_id not in known:
            given = row.get("source_id") or row.get("uri")
            raise UsageError(f"`of={of!r}` gives {given!r}, which is no file of {os.fspath(root)}")
        own.setdefault(source_id, []).append(_shot(row, of))
    return {source_id: _numbered(shots) for source_id, shots in own.items()}


def _rows(found: QueryResult) -> list[dict[str, Any]]:
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def _need(columns: Sequence[str], of: str) -> None:
    lacks = [name for name in _TIMES if name not in columns]
    if "source_id" not in columns and "uri" not in columns:
        lacks.insert(0, "source_id (or uri)")
    if lacks:
        raise UsageError(
            f"`of={of!r}` lacks {', '.join(lacks)}: it has to give source_id or uri, start_seconds and "
            f"end_seconds, and gives {', '.join(columns)}"
        )


def _shot(row: Row, of: str) -> Shot:
    start, end = (_number(row, name, of) for name in _TIMES)
    if not 0 <= start <= end:
        raise UsageError(
            f"`of={of!r}` gives a stretch from {start:g} to {end:g} s: it has to begin at 0 or later and not "
            "to end before it begins"
        )
    frames = [None if row.get(name) is None else int(_number(row, name, of)) for name in _FRAMES]
    name = _first(row, "name")
    if name in (PurePosixPath(str(row.get("uri") or "")).name, row.get("uri")):
        name = ""  # the file's own name, as the view `shots` has it, tells nothing of a stretch
    number = row.get("scene_index") if row.get("scene_index") is not None else row.get("rank")
    labels = [text for column in ("label", "labels", "reasons") for text in _texts(row.get(column))]
    words = _texts(row.get("words")) or _texts(row.get("text"))
    if of != SHOTS and not labels:
        labels = words  # what a query was asked for; of all shots, words are too many for a marker
    still, best = row.get("still"), row.get("best_frame")
    return Shot(
        number=number + 1 if isinstance(number, int) else 0,
        start_seconds=start,
        end_seconds=end,
        start_frame=None if None in frames else frames[0],
        end_frame=None if None in frames else frames[1],
        name=name,
        labels=labels,
        words=" ".join(words),
        transition=_first(row, "transition"),
        best_frame=best if isinstance(best, int) else None,
        still=still if isinstance(still, bytes) else None,
    )


def _number(row: Row, name: str, of: str) -> float:
    value = row[name]
    try:
        number = float("nan") if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not math.isfinite(number):
        raise UsageError(f"`of={of!r}` gives {value!r} as {name}: it has to be a number in every row")
    return number


def _texts(value: Any) -> list[str]:
    """A text, or a list of them, without what is empty; nothing of other kinds."""
    values = value if isinstance(value, list) else [value]
    return [text.strip() for text in values if isinstance(text, str) and text.strip()]


def _first(row: Row, name: str) -> str:
    return next(iter(_texts(row.get(name))), "")


def _numbered(shots: list[Shot]) -> list[Shot]:
    """By time; numbers that the rows do not give, or give twice, are positions."""
    ordered = sorted(shots, key=lambda shot: (shot.start_seconds, shot.end_seconds))
    numbers = {shot.number for shot in ordered}
    if 0 not in numbers and len(numbers) == len(ordered):
        return ordered
    return [replace(shot, number=position) for position, shot in enumerate(ordered, 1)]
