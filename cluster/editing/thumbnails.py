"""The best stills of each file: sharp, well exposed, away from cuts and fades, and unlike each other.

It reads the table `frames` and those of `frame_measures.SCORING_TABLES` that exist, and writes the table
`thumbnails`. Sources are decoded only for pictures.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.editing.diversity import close_in_time, hash_likeness, pick_diverse, picture_likeness
from framemill.cluster.editing.frame_measures import SCORING_TABLES, ScoredFrames, score_sampled_frames
from framemill.cluster.editing.frame_scores import reasons_of
from framemill.cluster.editing.shortfalls import Shortfall, group_shortfalls
from framemill.cluster.results.corpus_tables import corpus_key, is_current, replace_table
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows
from framemill.cluster.results.queries import dataset_tables
from framemill.cluster.results.source_columns import SourceColumns, pieces
from framemill.errors import UsageError
from framemill.ops.chunks import Float32Array, Int64Array
from framemill.ops.columns import FRAME_COLUMNS, column

TABLE = "thumbnails"
SOURCE_TABLE = "frames"
VERSION = 2
COUNT = 12
MAX_COUNT = 1000
# What full likeness to a frame picked before takes off a score.
LIKENESS_WEIGHT = 0.6
# Frames below this share of the best score of their file are left out.
LEAST_SHARE = 0.4

THUMBNAILS_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("rank", pa.int32(), "0-based: the best first, then those that add most to what is there"),
        *FRAME_COLUMNS,
        column("score", pa.float32(), "how good the frame is as a still, 0..1; comparable across files"),
        column("reasons", pa.list_(pa.string()), "its strong points, in words"),
        column(
            "image",
            pa.binary(),
            "the frame at display size as a JPEG; null unless asked for, or where the file is gone",
            nullable=True,
        ),
    ]
)

# Content id and ascending frame indices -> a JPEG of each frame, None where it cannot be had.
Fetch = Callable[[str, Int64Array], Sequence[bytes | None]]
# Rows with pictures that are held at once.
PICTURES_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class ThumbnailsReport:
    """What was picked.

    Attributes:
        rows: in `THUMBNAILS_SCHEMA`, by source and rank, without pictures. num_files: sources with at least
            one.
        shortfalls: by descending number of files. missing: tables that would improve the choice -> how.
        changed: False when the table was up to date.
    """

    rows: pa.Table
    num_files: int
    shortfalls: tuple[Shortfall, ...]
    missing: Mapping[str, str]
    changed: bool


def find_thumbnails(
    dataset: Dataset, run_id: str, count: int = COUNT, fetch: Fetch | None = None
) -> ThumbnailsReport:
    """Picks up to `count` frames a source and replaces the table `thumbnails`. Call it inside `dataset.hold`.

    Args:
        fetch: gets the pictures to be stored; None stores none.

    Raises:
        UsageError: the count is out of range, or the dataset has no frames.
        DatasetError: the storage refuses, or the lease is lost.
    """
    if not 1 <= count <= MAX_COUNT:
        raise UsageError(f"the count is {count}; it must be 1 to {MAX_COUNT}, such as {COUNT}")
    options = {"count": count, "images": fetch is not None}
    key = corpus_key(
        dataset, TABLE, SOURCE_TABLE, VERSION, options, also=(*SCORING_TABLES, "media", "importance")
    )
    owners = {owner for of, owner in dataset.state.entries if of == SOURCE_TABLE}
    reader = SourceColumns(dataset, owners)
    frames = score_sampled_frames(reader)
    picked = pick_thumbnails(frames, reader, count)
    rows = _rows(frames, reader, picked)
    is_made = is_current(dataset, TABLE, SOURCE_TABLE, key)
    # Files that were missing may be there again; rows that have their pictures keep them.
    changed = not is_made or (fetch is not None and _lacks_pictures(dataset))
    if changed:
        known = _stored(dataset) if is_made else by_source(rows)
        content = rows if fetch is None else _with_pictures(known, fetch)
        replace_table(dataset, run_id, TABLE, SOURCE_TABLE, key, content)
    return ThumbnailsReport(
        rows=rows,
        num_files=sum(map(bool, map(len, picked))),
        shortfalls=group_shortfalls(dataset, _with_fewer(reader, frames, picked, count)),
        missing={table: why for table, why in SCORING_TABLES.items() if not reader.has(table).any()},
        changed=changed,
    )


def pick_thumbnails(frames: ScoredFrames, reader: SourceColumns, count: int) -> list[Int64Array]:
    """Rows of the picked frames of each source, best first."""
    starts = pieces(frames.source, len(reader.sources))
    picked: list[Int64Array] = [np.zeros(0, np.int64)] * len(reader.sources)
    by_vectors: set[int] = set()
    for source, indices, vectors in reader.vectors("image_embeddings"):
        start, end = int(starts[source]), int(starts[source + 1])
        if np.array_equal(indices, frames.frame_index[start:end]):
            picked[source] = _pick(frames, start, end, count, vectors)
            by_vectors.add(source)
    for source in range(len(reader.sources)):
        if source not in by_vectors:
            picked[source] = _pick(frames, int(starts[source]), int(starts[source + 1]), count, None)
    return picked


def _pick(frames: ScoredFrames, start: int, end: int, count: int, vectors: Float32Array | None) -> Int64Array:
    scores, usable = frames.scores.score[start:end], frames.scores.usable[start:end]
    hashes = frames.phash[start:end]
    if not usable.any():
        # Where all are part of fades or dissolves, one picture, the best of them, is still picked.
        usable, count = frames.scores.seen[start:end], min(count, 1)
    if usable.any():
        usable = usable & (scores >= LEAST_SHARE * scores[usable].max())

    seconds, shot = frames.pts_seconds[start:end], frames.shot[start:end]

    def likeness(row: int) -> Float32Array:
        if vectors is None:
            alike = hash_likeness(hashes, hashes[row])
        else:
            alike = picture_likeness(vectors, hashes, row)
        alike[close_in_time(seconds, shot, hashes, row)] = 1
        return alike

    return start + pick_diverse(scores, likeness, count, LIKENESS_WEIGHT, usable)


def _rows(frames: ScoredFrames, reader: SourceColumns, picked: list[Int64Array]) -> pa.Table:
    at = np.concatenate([*picked, np.zeros(0, np.int64)])
    ranks = np.concatenate([*(np.arange(len(rows)) for rows in picked), np.zeros(0, np.int64)])
    columns = [
        pa.array(reader.sources, pa.string()).take(pa.array(frames.source[at])),
        ranks.astype(np.int32),
        frames.frame_index[at],
        frames.pts_seconds[at],
        frames.scores.score[at].astype(np.float32),
        [reasons_of(frames.scores.factors, row) for row in at.tolist()],
        pa.nulls(len(at), pa.binary()),
    ]
    arrays = [
        c if isinstance(c, pa.Array) else pa.array(c, kind)
        for c, kind in zip(columns, THUMBNAILS_SCHEMA.types, strict=True)
    ]
    return pa.table(arrays, schema=THUMBNAILS_SCHEMA)


def _with_pictures(known: Iterable[pa.Table], fetch: Fetch) -> Iterator[pa.Table]:
    """The rows of each source with pictures, in pieces of whole sources."""
    held: list[pa.Table] = []
    for own in known:
        if own["image"].null_count:
            frames = own["frame_index"].to_numpy()
            order = np.argsort(frames)
            pictures: list[bytes | None] = [None] * len(frames)
            fetched = fetch(own["source_id"][0].as_py(), frames[order])
            for row, picture in zip(order.tolist(), fetched, strict=True):
                pictures[row] = picture
            image = THUMBNAILS_SCHEMA.field("image")
            own = own.drop_columns(["image"]).append_column(image, pa.array(pictures, pa.binary()))
        held.append(own)
        if sum(table.nbytes for table in held) >= PICTURES_BYTES:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _stored(dataset: Dataset) -> Iterator[pa.Table]:
    for part in dataset.state.parts_of(TABLE):
        rows = read_rows(dataset.root, TABLE, [part])
        yield from by_source(THUMBNAILS_SCHEMA.empty_table() if rows is None else rows)


def by_source(rows: pa.Table) -> Iterator[pa.Table]:
    """The rows of each source, of a table where they lie side by side."""
    ids = rows["source_id"].to_numpy()
    cuts = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)]
    for start, end in itertools.pairwise(cuts):
        if end > start:
            yield rows.slice(start, end - start)


def _lacks_pictures(dataset: Dataset) -> bool:
    # Not `read_rows`: the pictures need not be read for counting them.
    rows = dataset_tables(dataset, [TABLE])[TABLE].to_table(columns={"has": pc.is_valid(pc.field("image"))})
    return not pc.all(rows["has"], min_count=0).as_py()


def _with_fewer(
    reader: SourceColumns, frames: ScoredFrames, picked: list[Int64Array], count: int
) -> Iterator[tuple[str, str]]:
    """Sources with fewer than `count`: why, and which."""
    starts = pieces(frames.source, len(reader.sources))
    for source, rows in enumerate(picked):
        if len(rows) >= count:
            continue
        start, end = int(starts[source]), int(starts[source + 1])
        seen, usable = frames.scores.seen[start:end], frames.scores.usable[start:end]
        if start == end:
            reason = "no frames were sampled (no picture)"
        elif not seen.any():
            reason = "all sampled frames are black or of one colour"
        elif not usable.any():
            reason = "all sampled frames are part of a fade or dissolve"
        elif int(usable.sum()) < count:
            reason = "too few frames were sampled: take more, with --replace --sample every:SECONDS"
        else:
            reason = "the other frames look like those picked, or are much worse"
        yield reason, reader.sources[source]
