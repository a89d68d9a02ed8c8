"""The sampled frames of a result folder with what was found in them, source by source."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from framemill.cluster.corpus.shots import find_shots
from framemill.cluster.editing.source_pictures import SourcePictures
from framemill.cluster.exports.naming import stems_of
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import ask
from framemill.cluster.results.source_batches import source_batches
from framemill.errors import UsageError

_TOUCHING_SECONDS = 1e-6
_PICTURES_AT_ONCE = 32  # of 1080p some 15 MB as JPEG
_FILES_AT_ONCE, _ROWS_AT_ONCE = 64, 20_000
_TABLES = ("frames", "objects", "tracks", "labels", "image_embeddings")


@dataclass(frozen=True, slots=True)
class Box:
    """An object: box in display pixels cut at the picture's edges, score 0..1, None where it has no track."""

    label: str
    score: float | None
    x0: float
    y0: float
    x1: float
    y1: float
    track_id: int | None

    def relative(self, source: Source) -> tuple[float, float, float, float]:
        """Left, top, width and height as shares of the picture, 0..1."""
        width, height = source.width, source.height
        return (
            self.x0 / width, self.y0 / height, (self.x1 - self.x0) / width, (self.y1 - self.y0) / height,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frame:
    """A sampled frame: its position, its time, its objects; labels by rank and its vector where they are.

    Attributes:
        stretch: shots that were taken and touch are one stretch: frames of two have a shot between them that
            was left out.
    """

    frame_index: int
    pts_seconds: float
    boxes: Sequence[Box]
    labels: Sequence[str]
    vector: Sequence[float] | None
    stretch: int


@dataclass(frozen=True, slots=True)
class Source:
    """A file: display size in pixels, mean frames a second, the sampled frames in order.

    Attributes:
        stem: what names of its files begin with, unlike that of all others; it has no dot.
        has_pictures: whether the table `frames` holds pictures of it.
    """

    source_id: str
    uri: str
    stem: str
    width: int
    height: int
    fps: float | None
    num_frames: int | None
    duration_seconds: float
    frames: Sequence[Frame]
    has_pictures: bool

    def name(self, frame: Frame) -> str:
        """Of the frame's files, without an ending and without a dot, which ends keys in tar files."""
        return f"{self.stem}-{frame.frame_index:06}"


class SampledFrames:
    """Reads the sampled frames; those of some sources are held at a time, but of one their pictures.

    Attributes:
        tables: those of the folder.
        categories: every label of `objects`, in the model's order.
        problems: uri -> why pictures of it could not be had.

    Args:
        where: a condition on the view `shots`; frames in those shots are taken, or all.
        every: of the frames in so many seconds the first is taken; 0 for all.
        name: as in `stems_of`.
        say: told of progress.

    Raises:
        UsageError: a table is missing, or DuckDB refuses the condition.
        DatasetError: a part cannot be read.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        where: str | None,
        name: str,
        say: Callable[[str], None],
        every: float = 0.0,
    ) -> None:
        dataset = Dataset.open(root, create=False)
        self.tables = dataset.state.keys.keys()
        # Vectors of two models in one column would be compared by whoever reads it.
        self._without_vectors = dataset.state.outdated("image_embeddings")
        self._dataset, self._root, self._say, self._every = dataset, root, say, every
        self._pictures = SourcePictures(dataset)
        self.problems: Mapping[str, str] = self._pictures.problems
        self._need("media", "frames")
        self._shots = _spans(root, where)
        media = self._ask(
            "SELECT m.source_id, s.uri, max(width), max(height), max(fps), max(m.num_frames), "
            "max(s.duration_seconds) FROM media m JOIN sources s USING (source_id) "
            "WHERE width > 0 AND height > 0 GROUP BY ALL ORDER BY s.uri, m.source_id"
        )
        if self._shots is not None:
            media = [row for row in media if row[0] in self._shots]
        stems = stems_of({row[0]: row[1] for row in media}, name)
        self._media = [(*row[:2], stems[row[0]].replace(".", "_"), *row[2:]) for row in media]
        self.categories: Sequence[str] = ()
        if "objects" in self.tables:
            found = self._ask("SELECT label FROM objects GROUP BY label ORDER BY min(label_index), label")
            self.categories = [row[0] for row in found]

    def _need(self, *tables: str) -> None:
        for table in tables:
            if table not in self.tables:
                raise UsageError(
                    f"{os.fspath(self._root)} has no table {table}: extract it first, with "
                    f"`framemill extract SOURCES -o {os.fspath(self._root)} --ops {table}`"
                )

    def need_objects(self) -> None:
        """Raises UsageError where no objects were extracted."""
        self._need("objects")

    def sources(self) -> Iterator[Source]:
        """Those with a sampled frame, by uri."""
        done = 0
        for lot in self._lots():
            ids = [row[0] for row in lot]
            of, narrow = _of(ids), self._dataset.narrowed(_TABLES, ids)
            sampled = _by_source(
                narrow,
                "SELECT source_id, frame_index, pts_seconds, image IS NOT NULL FROM frames "
                f"WHERE {of} ORDER BY frame_index",
            )
            boxes, labels, vectors = (
                self._boxes(narrow, of),
                self._labels(narrow, of),
                self._vectors(narrow, of),
            )
            for source_id, uri, stem, width, height, fps, num_frames, duration in lot:
                done += 1
                kept = self._kept(source_id, sampled.get(source_id, ()))
                if not kept:
                    continue
                own_boxes = _inside(boxes.get(source_id, ()), width, height)
                own_labels, own_vectors = dict(labels.get(source_id, ())), dict(vectors.get(source_id, ()))
                frames = [
                    Frame(
                        index, at, own_boxes.get(index, ()), own_labels.get(index, ()),
                        own_vectors.get(index), stretch,
                    )
                    for index, at, _, stretch in kept
                ]  # fmt: skip
                self._say(f"{done} of {len(self._media)}: {uri}, {len(frames)} frames")
                has_pictures = all(row[2] for row in kept)
                yield Source(
                    source_id, uri, stem, width, height, fps, num_frames, duration, frames, has_pictures
                )

    def _lots(self) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The files in lots, whose rows are held: each question has its cost."""
        entries = self._dataset.state.entries
        files = {row[0]: row for row in self._media}
        counts = {}
        for source_id in files:
            held = (entries.get((table, source_id)) for table in ("frames", "objects"))
            counts[source_id] = sum(entry.rows for entry in held if entry is not None)
        for batch in source_batches(counts, _FILES_AT_ONCE, _ROWS_AT_ONCE):
            yield [files[source_id] for source_id in batch]

    def _kept(
        self, source_id: str, sampled: Sequence[tuple[int, float, bool]]
    ) -> list[tuple[int, float, bool, int]]:
        """Of the frames of a source those that are asked for, with the number of the stretch they are in."""
        spans = [(0.0, math.inf)] if self._shots is None else self._shots[source_id]
        kept = [
            (*row, stretch)
            for row in sampled
            for stretch, (start, end) in enumerate(spans)
            if start <= row[1] < end
        ]
        if self._every > 0:
            # By the number of the period: of a dictionary that is made backwards, the first ones stay.
            kept = list({int(row[1] / self._every + 1e-6): row for row in reversed(kept)}.values())[::-1]
        return kept

    def pictures(self, source: Source) -> Iterator[tuple[Frame, bytes]]:
        """Each frame and its JPEG at display size; frames that cannot be had are left out."""
        narrow = self._dataset.narrowed(["frames"], [source.source_id])
        for start in range(0, len(source.frames), _PICTURES_AT_ONCE):
            frames = source.frames[start : start + _PICTURES_AT_ONCE]
            if source.has_pictures:
                first, last = frames[0].frame_index, frames[-1].frame_index
                found = ask(
                    narrow,
                    f"SELECT frame_index, image FROM frames WHERE {_of([source.source_id])} "
                    f"AND frame_index BETWEEN {first} AND {last}",
                )
                kept: dict[int, bytes | None] = dict(found.rows)
                images = [kept.get(frame.frame_index) for frame in frames]
            else:
                wanted = np.array([frame.frame_index for frame in frames], np.int64)
                images = self._pictures.fetch(source.source_id, wanted)
            for frame, image in zip(frames, images, strict=True):
                if image is not None:
                    yield frame, image

    def _boxes(self, narrow: Dataset, of: str) -> Mapping[str, Sequence[tuple[Any, ...]]]:
        if "objects" not in self.tables:
            return {}
        track, join = "NULL", ""
        if "tracks" in self.tables:
            track = "t.track_id"
            join = (
                f"LEFT JOIN (SELECT * FROM tracks WHERE \"table\" = 'objects' AND {of}) t ON "
                "t.source_id = o.source_id AND t.frame_index = o.frame_index "
                "AND t.item_index = o.object_index"
            )
        return _by_source(
            narrow,
            f"SELECT o.source_id, o.frame_index, o.label, o.score, o.box, {track} FROM objects o {join} "
            f"WHERE o.{of} ORDER BY o.frame_index, o.object_index",
        )

    def _labels(self, narrow: Dataset, of: str) -> Mapping[str, Sequence[tuple[Any, ...]]]:
        if "labels" not in self.tables:
            return {}
        listed = "SELECT source_id, frame_index, list(label ORDER BY rank) FROM labels"
        return _by_source(narrow, f"{listed} WHERE {of} GROUP BY 1, 2")

    def _vectors(self, narrow: Dataset, of: str) -> Mapping[str, Sequence[tuple[Any, ...]]]:
        if "image_embeddings" not in self.tables:
            return {}
        found = _by_source(narrow, f"SELECT source_id, frame_index, vector FROM image_embeddings WHERE {of}")
        return {source: rows for source, rows in found.items() if source not in self._without_vectors}

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        return ask(self._dataset, sql).rows


def _of(source_ids: Iterable[str]) -> str:
    literals = ", ".join("'" + source_id.replace("'", "''") + "'" for source_id in source_ids)
    return f"source_id IN ({literals})"


def _by_source(dataset: Dataset, sql: str) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of a statement whose first column is the source, without that column, by source."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for source_id, *row in ask(dataset, sql).rows:
        found.setdefault(source_id, []).append(tuple(row))
    return found


def _inside(rows: Sequence[tuple[Any, ...]], width: int, height: int) -> Mapping[int, Sequence[Box]]:
    """Boxes by frame, cut at the picture's edges."""
    found: dict[int, list[Box]] = {}
    for index, label, score, box, track_id in rows:
        x0, x1 = (min(max(box[side], 0.0), width) for side in ("x0", "x1"))
        y0, y1 = (min(max(box[side], 0.0), height) for side in ("y0", "y1"))
        if x1 > x0 and y1 > y0:
            found.setdefault(index, []).append(Box(label, score, x0, y0, x1, y1, track_id))
    return found


def _spans(root: str | os.PathLike[str], where: str | None) -> Mapping[str, list[tuple[float, float]]] | None:
    """Source -> first second and end of the shots for which `where` is true; None where it is not asked.

    Those that touch are one.
    """
    if where is None:
        return None
    spans: dict[str, list[tuple[float, float]]] = {}
    for source_id, start, end in find_shots(
        root, where, columns=("source_id", "start_seconds", "end_seconds")
    ).rows:
        own = spans.setdefault(source_id, [])
        if own and start <= own[-1][1] + _TOUCHING_SECONDS:
            start, before = own.pop()
            end = max(end, before)
        own.append((start, end))
    return spans
