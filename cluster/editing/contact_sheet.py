"""Pages of small pictures with captions, for looking through a choice of frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from framemill.ops.chunks import UInt8Array

TILE_WIDTH, TILE_HEIGHT = 256, 144
MAX_COLUMNS = 6
LINE_HEIGHT = 22
# JPEG ends at 65,535; a page of this height takes 70 MB.
PAGE_HEIGHT = 16_000
_PAPER, _INK = 24, (225, 225, 225)

# A picture file's bytes and what stands below it.
Tile = tuple[bytes | None, str]


def draw_pages(sections: Iterable[tuple[str, Sequence[Tile]]]) -> Iterator[UInt8Array]:
    """Pages as uint8 [height, width, 3], B G R; a title and rows of tiles for each section.

    Args:
        sections: title, and JPEG bytes with caption of each tile; None is drawn as an empty frame. What is no
            printable ASCII is shown as `?`.
    """
    strips: list[UInt8Array] = []
    height = 0
    for title, tiles in sections:
        for strip in (_text_line(title), *_rows(tiles)):
            if strips and height + len(strip) > PAGE_HEIGHT:
                yield np.concatenate(strips)
                strips, height = [], 0
            strips.append(strip)
            height += len(strip)
    if strips:
        yield np.concatenate(strips)


def _rows(tiles: Sequence[Tile]) -> Iterator[UInt8Array]:
    for start in range(0, len(tiles), MAX_COLUMNS):
        strip = np.full((TILE_HEIGHT + LINE_HEIGHT, MAX_COLUMNS * TILE_WIDTH, 3), _PAPER, np.uint8)
        for column, (picture, caption) in enumerate(tiles[start : start + MAX_COLUMNS]):
            left = column * TILE_WIDTH
            strip[:TILE_HEIGHT, left : left + TILE_WIDTH] = _tile(picture)
            _write(strip[TILE_HEIGHT:, left : left + TILE_WIDTH], caption, 0.42)
        yield strip


def _tile(picture: bytes | None) -> UInt8Array:
    import cv2

    tile = np.full((TILE_HEIGHT, TILE_WIDTH, 3), _PAPER, np.uint8)
    pixels = None if picture is None else cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        cv2.rectangle(tile, (4, 4), (TILE_WIDTH - 5, TILE_HEIGHT - 5), (90, 90, 90), 1)
        return tile
    scale = min((TILE_WIDTH - 4) / pixels.shape[1], (TILE_HEIGHT - 4) / pixels.shape[0])
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    top, left = (TILE_HEIGHT - size[1]) // 2, (TILE_WIDTH - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    return tile


def _text_line(text: str) -> UInt8Array:
    line = np.full((LINE_HEIGHT + 6, MAX_COLUMNS * TILE_WIDTH, 3), _PAPER + 20, np.uint8)
    _write(line, text, 0.55)
    return line


def _write(place: UInt8Array, text: str, scale: float) -> None:
    import cv2

    shown = "".join(ch if " " <= ch <= "~" else "?" for ch in text)
    # Into a copy: the place may be a view that OpenCV cannot draw on.
    drawn = np.ascontiguousarray(place)
    cv2.putText(drawn, shown, (6, len(place) - 7), cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)
    place[:] = drawn
