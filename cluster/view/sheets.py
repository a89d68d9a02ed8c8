"""Sheets: many small pictures in one file, for pages that cannot hold all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from framemill.cluster.editing.sheets import COLUMNS, ROWS, make_sheet
from framemill.cluster.results.single_files import write_whole
from framemill.errors import UsageError
from framemill.ops.chunks import UInt8Array


def write_sheets(folder: Path, pictures: Sequence[bytes | None]) -> dict[str, Any]:
    """Writes sheets into a folder, made if missing.

    Args:
        pictures: encoded, as OpenCV reads them; None where there is none.

    Returns:
        sheets: name relative to the folder's parent, and size in pixels, of each; stills: per picture the
        sheet's position, x, y, width and height in it, or None.

    Raises:
        UsageError: the folder cannot be written.
    """
    sheets: list[dict[str, Any]] = []
    stills: list[list[int] | None] = [None] * len(pictures)
    there = [number for number, picture in enumerate(pictures) if picture is not None]
    try:
        folder.mkdir(exist_ok=True)
    except OSError as exc:
        raise UsageError(f"the folder {folder} cannot be made ({exc.strerror}): write elsewhere") from exc
    for start in range(0, len(there), COLUMNS * ROWS):
        numbers = there[start : start + COLUMNS * ROWS]
        sheet = make_sheet([_decode(pictures[number]) for number in numbers])
        for number, cell in zip(numbers, sheet.cells, strict=True):
            stills[number] = [len(sheets), *cell]
        name = f"{len(sheets) + 1:04}.jpg"
        write_whole(folder / name, sheet.jpeg, "the pictures")
        sheets.append({"name": f"{folder.name}/{name}", "size": [sheet.width, sheet.height]})
    return {"sheets": sheets, "stills": stills}


def _decode(picture: bytes | None) -> UInt8Array:
    import cv2

    assert picture is not None
    tile = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(tile, np.uint8)
