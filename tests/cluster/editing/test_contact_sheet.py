"""Contact sheets."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from framemill.cluster.editing import contact_sheet
from framemill.cluster.editing.contact_sheet import MAX_COLUMNS, TILE_HEIGHT, TILE_WIDTH, draw_pages


def picture(width: int, height: int, level: int) -> bytes:
    _, data = cv2.imencode(".jpg", np.full((height, width, 3), level, np.uint8))
    return data.tobytes()


def test_tiles_stand_in_rows_with_their_shape_kept() -> None:
    tiles = [(picture(100, 200, 200), f"{number}") for number in range(MAX_COLUMNS + 1)]
    (page,) = draw_pages([("file\u2713.mp4", tiles), ("other", [(None, "gone")])])
    assert page.shape[1] == MAX_COLUMNS * TILE_WIDTH and page.dtype == np.uint8
    first = page[28 : 28 + TILE_HEIGHT, :TILE_WIDTH]
    bright = (first > 150).all(axis=2)
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    assert (np.ptp(rows) + 1) / (np.ptp(columns) + 1) == pytest.approx(2.0, rel=0.05)


def test_long_sheets_go_on_on_further_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheet, "PAGE_HEIGHT", 500)
    sections = [(f"file {number}", [(picture(64, 36, 90), "a")]) for number in range(5)]
    pages = list(draw_pages(sections))
    assert len(pages) == 3 and all(len(page) <= 500 for page in pages)
    assert list(draw_pages([])) == []
