"""Holds what came of a case against what must come of it; says in words what does not fit."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from tests.cases.described import BrightnessSequence, Case, Expectation, TableExpectation
from tests.cases.running import Outcome, Rows

REFUSALS = {"failed", "unsupported", "quarantined"}
MEASURES = ("num_frames", "duration_seconds", "rotation_degrees", "width", "height")
COLOURS = {  # as FFmpeg and web pages name them
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
}
_NAMED_TOLERANCE = 40
_EXACT_TOLERANCE = 8
_ENDS = ("end_seconds", "start_seconds", "pts_seconds", "time_seconds")
_BLACK, _SPAN = 16, 219  # luma of black, and from there to white


def complaints(case: Case, outcome: Outcome) -> list[str]:
    """What of the case does not hold, a line each; empty where all does."""
    return list(_complaints(case, outcome))


def _complaints(case: Case, outcome: Outcome) -> Iterator[str]:
    expect = case.expect
    if expect.exit_code is not None and outcome.exit_code not in _listed(expect.exit_code):
        yield f"exit code {outcome.exit_code}, right is {expect.exit_code}"
    if outcome.seconds is not None and outcome.seconds > expect.within_seconds:
        yield f"it took {outcome.seconds:.0f} s, right is at most {expect.within_seconds:.0f}"
    if expect.memory_mb_max is not None:
        if outcome.memory_mb is None:
            yield "nobody watched its memory"
        elif outcome.memory_mb > expect.memory_mb_max:
            yield f"a process held {outcome.memory_mb:.0f} MiB, right is at most {expect.memory_mb_max:.0f}"
    for file, status in outcome.neighbours.items():
        if status != "ok":
            yield f"{file} beside it is {status}"
    words = _listed(expect.errors_contains)
    if words and not any(all(_holds(row, word) for word in words) for row in outcome.errors):
        yield f"no row of errors holds {', '.join(words)}"
    statuses = [row["status"] for row in outcome.media or outcome.errors] or ["missing"]
    if expect.status is not None:
        allowed = _listed(expect.status)
        if not set(statuses) <= set(allowed):
            yield f"status {', '.join(statuses)}, right is {' or '.join(allowed)}: {_reasons(outcome)}"
        if set(statuses) <= REFUSALS & set(allowed):
            return
    yield from _measures(expect, outcome)
    for name, table in expect.tables.items():
        yield from (f"{name}: {line}" for line in _table(table, outcome.table(name)))
    if expect.brightness_sequence:
        yield from _brightness(expect.brightness_sequence, outcome.table("frames"))
    if expect.quadrants:
        yield from _quadrants(expect.quadrants, outcome.table("frames"))
    if expect.words is not None:
        yield from _words(case, outcome)


def _listed(allowed: Any) -> tuple[Any, ...]:
    return allowed if isinstance(allowed, tuple) else (allowed,)


def _holds(row: dict[str, Any], word: str) -> bool:
    return any(word.lower() in str(value).lower() for value in row.values())


def _reasons(outcome: Outcome) -> str:
    return "; ".join(f"{row['operation']}: {row['message']}" for row in outcome.errors) or "no row of errors"


def _fits(value: Any, allowed: Any) -> bool:
    if isinstance(allowed, tuple):
        return value is not None and allowed[0] <= value <= allowed[1]
    return bool(value == allowed)


def _measures(expect: Expectation, outcome: Outcome) -> Iterator[str]:
    for name in MEASURES:
        allowed = getattr(expect, name)
        if allowed is None:
            continue
        found = [row[name] for row in outcome.media]
        if not found or not all(_fits(value, allowed) for value in found):
            yield f"{name} {found}, right is {allowed}"


def _table(expect: TableExpectation, rows: Rows) -> Iterator[str]:
    if expect.rows is not None and not _fits(len(rows), expect.rows):
        yield f"{len(rows)} rows, right is {expect.rows}"
    if expect.last_end_max is not None:
        last = max((row[name] for row in rows for name in _ENDS if row.get(name) is not None), default=0.0)
        if not last <= expect.last_end_max:
            yield f"the last row ends at {last}, right is at most {expect.last_end_max}"
    if expect.rising:
        values = [row[expect.rising] for row in rows]
        for index, (one, other) in enumerate(itertools.pairwise(values), 1):
            if not one < other:
                yield f"{expect.rising} of row {index} is {other} after {one}, right is a rise"
                break
    if expect.distinct:
        values = [row[expect.distinct] for row in rows]
        if len(set(values)) < len(values):
            yield f"{expect.distinct} holds a value twice: {values}"
    for index, column, right, *tolerance in expect.values:
        if not -len(rows) <= index < len(rows):
            yield f"no row {index}"
            continue
        found = rows[index][column]
        if not (_is_near(found, right, tolerance[0]) if tolerance else found == right):
            yield f"{column} of row {index} is {found!r}, right is {right!r}, within {tolerance or 'nothing'}"


def _is_near(found: Any, right: Any, tolerance: float) -> bool:
    """Whether a number, or each one of a box or another list, is as near as that."""
    if isinstance(right, list):
        given = list(found.values()) if isinstance(found, dict) else found
        return given is not None and bool(np.all(np.abs(np.subtract(given, right)) <= tolerance))
    return found is not None and abs(found - right) <= tolerance


def _brightness(expect: BrightnessSequence, rows: Rows) -> Iterator[str]:
    lumas = expect.lumas()
    if not rows:
        yield "frames: no row whose brightness could be looked at"
    for row in rows:
        index, luma = row["frame_index"], _BLACK + _SPAN * row["brightness"]
        right = lumas[index] if index < len(lumas) else math.nan
        if not abs(luma - right) <= expect.tolerance:
            yield f"frame {index} has a luma of {luma:.1f}, right is {right:.1f}"
            return


def _quadrants(names: tuple[str, ...], rows: Rows) -> Iterator[str]:
    if not rows or rows[0]["image"] is None:
        yield "frames: no image to look at"
        return
    picture = cv2.imdecode(np.frombuffer(rows[0]["image"], np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    height, width = picture.shape[:2]
    for index, name in enumerate(names):
        top, left = (index // 2 * 2 + 1) * height // 4, (index % 2 * 2 + 1) * width // 4
        reach_y, reach_x = height // 16, width // 16
        patch = picture[top - reach_y : top + reach_y + 1, left - reach_x : left + reach_x + 1]
        found = patch.reshape(-1, 3).mean(axis=0)
        is_exact = name.startswith("#")
        right = bytes.fromhex(name[1:]) if is_exact else COLOURS[name]
        tolerance = _EXACT_TOLERANCE if is_exact else _NAMED_TOLERANCE
        if np.abs(found - np.array(list(right))).max() > tolerance:
            place = ("top left", "top right", "bottom left", "bottom right")[index]
            yield f"{place} is {found.round().tolist()}, right is {name}"


def _words(case: Case, outcome: Outcome) -> Iterator[str]:
    rights = case.expect.words or ()
    if case.export:
        text = outcome.exported_text(case.export)
    else:
        text = "\n".join(row["text"] for row in outcome.table("transcript"))
    if case.listens:
        text = re.sub(r"[^\w']", " ", text.lower())
    # Spaces of other widths are part of a word, so they are not what parts it.
    found = tuple(word for word in re.split(r"[ \r\n]+", text) if word)
    # A star stands for any words, one at the least.
    pattern = "".join("(?:[^\n]+\n)+" if right == "*" else f"{re.escape(right)}\n" for right in rights)
    if not re.fullmatch(pattern, "".join(f"{word}\n" for word in found)):
        yield f"the words are {' '.join(found)!r}, right is {' '.join(rights)!r}"
