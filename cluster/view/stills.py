"""Small pictures of frames and faces: from pictures that were kept, else decoded from the sources."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from framemill.actors.pictures import read_pictures
from framemill.actors.pyav_frames import PyavFrames
from framemill.cluster.editing.source_pictures import find_file, tracks_of
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.source_rows import SourceRows
from framemill.errors import MediaError
from framemill.ops.chunks import UInt8Array

LONG_SIDE, FACE_SIDE = 240, 96
# So many bytes at most, so that a shot stays under 8 kB in base64 with all that is said of it.
MAX_BYTES = 4_500
_QUALITIES = (62, 48, 34, 20, 8)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One picture: of a whole frame, or of a region of it in display pixels."""

    source_id: str
    frame_index: int
    box: Box | None = None


class Stills:
    """Collects which pictures are wanted, then makes them, reading each file once.

    Attributes:
        problems: path or uri -> why its pictures could not be had.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.problems: dict[str, str] = {}
        self._dataset = dataset
        self._numbers: dict[Wanted, int] = {}

    def number(self, wanted: Wanted) -> int:
        """Position of the picture in what `make` gives."""
        return self._numbers.setdefault(wanted, len(self._numbers))

    def wanted(self) -> list[Wanted]:
        """Every picture that has a number, in the order of these."""
        return list(self._numbers)

    def make(self, rows: SourceRows) -> list[bytes | None]:
        """Every picture as WebP, its longer side at most `LONG_SIDE`; None where it cannot be had."""
        made: dict[Wanted, bytes] = {}
        by_frame: dict[tuple[str, int], list[Wanted]] = {}
        for wanted in self._numbers:
            by_frame.setdefault((wanted.source_id, wanted.frame_index), []).append(wanted)
        for table in ("frames", "preview", "thumbnails"):
            for row in rows.images(table):
                # A preview keeps small pictures: a face's box is in pixels of the whole frame.
                for one in by_frame.get((row["source_id"], row["frame_index"]), ()):
                    if one not in made and (one.box is None or table != "preview"):
                        made[one] = _encode(_cut(_decode(row["image"], one.box), one.box))
        missing: dict[str, list[Wanted]] = {}
        for wanted in self._numbers:
            if wanted not in made:
                missing.setdefault(wanted.source_id, []).append(wanted)
        uris, tracks = uris_by_source(self._dataset), tracks_of(self._dataset)

        def read(item: tuple[str, list[Wanted]]) -> dict[Wanted, bytes]:
            source_id, ours = item
            path, problem = find_file(self._dataset, uris.get(source_id, [source_id]))
            if problem:
                self.problems[path] = problem
                return {}
            found: dict[Wanted, bytes] = {}
            frames = np.unique(np.array([one.frame_index for one in ours], np.int64))
            try:
                for chunk in read_pictures(path, frames, tracks):
                    found |= dict(_from_chunk(chunk, ours))
            except MediaError as exc:
                self.problems[path] = str(exc)
            return found

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for found in pool.map(read, missing.items()):
                made |= found
        return [made.get(wanted) for wanted in self._numbers]


def _from_chunk(chunk: PyavFrames, wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, bytes]]:
    at = {index: position for position, index in enumerate(chunk.frame_index.tolist())}
    ours = [one for one in wanted if one.frame_index in at]
    if any(one.box is None for one in ours):
        small = chunk.small_rgb(_fit(chunk.width, chunk.height))
        for one in ours:
            if one.box is None:
                yield one, _encode(small[at[one.frame_index]])
    faces = [one for one in ours if one.box is not None]
    if faces:
        index = np.array([at[one.frame_index] for one in faces], np.int64)
        boxes = np.array([_roomy(one.box) for one in faces if one.box], np.float32)
        crops = chunk.crops(index, boxes, (FACE_SIDE, FACE_SIDE))
        yield from zip(faces, map(_encode, crops), strict=True)


def _fit(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _roomy(box: Box) -> Box:
    """A square around a face with some room."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = 0.65 * max(box[2] - box[0], box[3] - box[1], 1)
    return x - half, y - half, x + half, y + half


def _decode(image: bytes, box: Box | None) -> UInt8Array:
    """B G R; a whole frame at a quarter of its size where that is enough, which costs a third of the time."""
    import cv2

    data = np.frombuffer(image, np.uint8)
    picture = None if box else cv2.imdecode(data, cv2.IMREAD_REDUCED_COLOR_4)
    if picture is None or max(picture.shape[:2]) < LONG_SIDE:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture is not None, "a kept picture is a JPEG"
    return picture.astype(np.uint8, copy=False)


def _cut(picture: UInt8Array, box: Box | None) -> UInt8Array:
    """R G B of a B G R picture, or of a region of it."""
    import cv2

    height, width = picture.shape[:2]
    size = _fit(width, height)
    if box is not None:
        x0, y0, x1, y1 = map(round, _roomy(box))
        picture = picture[max(0, y0) : max(1, y1), max(0, x0) : max(1, x1)]
        size = (FACE_SIDE, FACE_SIDE)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small[:, :, ::-1], np.uint8)


def _encode(picture: UInt8Array) -> bytes:
    """WebP of an RGB picture, within `MAX_BYTES`, or of the coarsest quality where even that is more."""
    import cv2

    turned = np.ascontiguousarray(picture[:, :, ::-1])
    for quality in _QUALITIES:
        _, data = cv2.imencode(".webp", turned, [cv2.IMWRITE_WEBP_QUALITY, quality])
        if len(data) <= MAX_BYTES:
            break
    return data.tobytes()
