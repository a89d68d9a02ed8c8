"""Sheets: many small pictures in one, side by side in equal cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framemill.ops.chunks import UInt8Array

COLUMNS, ROWS = 10, 10
QUALITY = 62  # of JPEG


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet.

    Attributes:
        jpeg: the picture. width, height: its size in pixels. cells: x, y, width and height of each picture
            in it; what a cell has around its picture is black.
    """

    jpeg: bytes
    width: int
    height: int
    cells: list[tuple[int, int, int, int]]


def make_sheet(pictures: Sequence[UInt8Array]) -> Sheet:
    """Packs 1 to `COLUMNS * ROWS` pictures, uint8 [h, w, 3] in OpenCV's order of colours, row by row."""
    import cv2

    width = max(picture.shape[1] for picture in pictures)
    height = max(picture.shape[0] for picture in pictures)
    sheet = np.zeros((height * -(-len(pictures) // COLUMNS), width * COLUMNS, 3), np.uint8)
    cells = []
    for place, picture in enumerate(pictures):
        x, y = place % COLUMNS * width, place // COLUMNS * height
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        cells.append((x, y, picture.shape[1], picture.shape[0]))
    _, data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return Sheet(data.tobytes(), sheet.shape[1], sheet.shape[0], cells)
