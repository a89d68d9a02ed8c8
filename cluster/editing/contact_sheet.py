"""Contact sheets: pages of small pictures with captions, such as of the table `thumbnails`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from framemill.cluster.editing.source_pictures import SourcePictures
from framemill.cluster.editing.thumbnails import TABLE, by_source
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows
from framemill.cluster.results.single_files import check_path, write_whole
from framemill.ops.chunks import UInt8Array

SHEET_FORMATS = (".jpg", ".jpeg", ".png")
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


def check_sheet_path(path: str) -> Path:
    """The path of a contact sheet, as `check_path`."""
    return check_path(path, SHEET_FORMATS, "the sheet")


def write_sheet(dataset: Dataset, pictures: SourcePictures, path: str) -> list[str]:
    """Draws the table `thumbnails` as contact sheets, a section for each file.

    Args:
        path: of a JPEG or PNG file; further pages are named `NAME-2.jpg` and so on.

    Returns:
        The files that were written; none where there is no thumbnail.

    Raises:
        UsageError: as `check_sheet_path`, or it cannot be written.
    """
    import cv2

    target = check_sheet_path(path)
    written = []
    for number, page in enumerate(draw_pages(_sections(dataset, pictures)), 1):
        name = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        _, data = cv2.imencode(target.suffix.lower(), page)
        write_whole(name, data.tobytes(), "the sheet")
        written.append(str(name))
    return written


def _sections(dataset: Dataset, pictures: SourcePictures) -> Iterator[tuple[str, list[Tile]]]:
    uris = uris_by_source(dataset)
    for part in dataset.state.parts_of(TABLE):
        rows = read_rows(dataset.root, TABLE, [part])
        for own in [] if rows is None else by_source(rows):
            own = own.sort_by("frame_index")
            source_id = own["source_id"][0].as_py()
            images = own["image"].to_pylist()
            if None in images:
                images = pictures.fetch(source_id, own["frame_index"].to_numpy())
            captions = [
                f"{row['rank'] + 1}. {_clock(row['pts_seconds'])}  {row['score']:.2f} {row['reasons'][0]}"
                for row in own.select(["rank", "pts_seconds", "score", "reasons"]).to_pylist()
            ]
            name = PurePosixPath(uris.get(source_id, [source_id])[0]).name
            yield name, list(zip(images, captions, strict=True))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
