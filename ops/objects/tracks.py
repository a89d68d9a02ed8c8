"""Objects and faces linked over time: which rows of different frames show the same one.

Two rounds of matching as in ByteTrack (Zhang et al., arXiv:2110.06864): sure detections first, then unsure
ones with the tracks that are left, so that something half hidden is followed but never begins a track.
Boxes are compared enlarged, as in C-BIoU (Yang et al., WACV 2023), since sampled frames lie far apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.errors import UsageError
from framemill.models.entry import ModelEntry
from framemill.ops.chunks import Float32Array, Float64Array, Int64Array, ShardInfo
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.objects.kalman import begin_motion, move, observe
from framemill.ops.objects.rows import read_boxes
from framemill.ops.operation import TableOp

# Tables whose rows are linked, and the column that holds a row's rank in its frame.
TRACKED: Mapping[str, str] = {"objects": "object_index", "faces": "face_index"}
_UNUSED = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class TracksOptions:
    """Options of `tracks`.

    Attributes:
        sure: least score of a detection in the first round, and of one that begins a track, 0..1; 0.6 is
            the value of ByteTrack's authors.
        overlap: least intersection over union of a track and a sure detection, enlarged, 0..1; ByteTrack's.
        unsure_overlap: the same for an unsure detection, 0..1; ByteTrack's.
        enlarge: what a box gains on each side before boxes are compared, in its own widths and heights, 0..2.
        max_gap_seconds: how long a track may be out of sight, >= 0; ByteTrack's 30 frames at 30 a second.
            One sampled frame without it is always allowed.
    """

    sure: float = 0.6
    overlap: float = 0.2
    unsure_overlap: float = 0.5
    enlarge: float = 0.3
    max_gap_seconds: float = 1.0

    def __post_init__(self) -> None:
        limits = {"max_gap_seconds": 86400.0, "enlarge": 2.0}
        for name in (field.name for field in fields(self)):
            value, limit = getattr(self, name), limits.get(name, 1.0)
            if not 0 <= value <= limit:
                raise UsageError(f"tracks.{name} is {value}; it must be 0 to {limit:g}")


@dataclass(frozen=True, slots=True)
class _Items:
    """Detections of one table by frame and rank: rank of the frame, item index, label, score, box."""

    frame: Int64Array
    item: Int64Array
    label: Int64Array
    score: Float32Array
    box: Float32Array


class Tracks(TableOp):
    """Links rows of `objects` and `faces`: those asked for by name, or of `objects` where neither is."""

    name = "tracks"
    after = ("frames", "objects", "faces")
    Options = TracksOptions
    schema = pa.schema(
        [
            column("table", pa.dictionary(pa.int32(), pa.string()), "table of the row: objects or faces"),
            *FRAME_COLUMNS,
            column("item_index", pa.int32(), "the row's object_index or face_index in that frame"),
            column("track_id", pa.int64(), "unique within the source, 0-based by first appearance per table"),
        ]
    )

    @classmethod
    def follows(cls, asked: Collection[str], entry_of: Callable[[str], ModelEntry]) -> tuple[str, ...]:
        """The sampled frames, and the tables to link."""
        tables = tuple(table for table in TRACKED if table in asked)
        return ("frames", *(tables or ("objects",)))

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        sampled = upstream["frames"].sort_by("frame_index")
        frame_index, seconds = sampled["frame_index"].to_numpy(), sampled["pts_seconds"].to_numpy()
        parts, used = [], 0
        for position, (table, rank) in enumerate(TRACKED.items()):
            if table not in upstream:
                continue
            items = _read(upstream[table], rank, frame_index)
            track = follow(items, seconds, self.options)
            kept = np.flatnonzero(track != _UNUSED)
            at = items.frame[kept]
            names = pa.DictionaryArray.from_arrays(
                pa.array(np.full(len(kept), position, np.int32)), pa.array(list(TRACKED))
            )
            values = [frame_index[at], seconds[at], items.item[kept].astype(np.int32), used + track[kept]]
            parts.append(pa.table([names, *map(pa.array, values)], schema=self.schema))
            used += int(track.max(initial=_UNUSED)) + 1
        return pa.concat_tables(parts)


def _read(table: pa.Table, rank: str, frame_index: Int64Array) -> _Items:
    table = table.sort_by([("frame_index", "ascending"), (rank, "ascending")]).combine_chunks()
    labels = table["label_index"].to_numpy() if "label_index" in table.column_names else None
    return _Items(
        frame=np.searchsorted(frame_index, table["frame_index"].to_numpy()),
        item=table[rank].to_numpy().astype(np.int64),
        label=np.zeros(table.num_rows, np.int64) if labels is None else labels.astype(np.int64),
        score=table["score"].to_numpy(),
        box=read_boxes(table),
    )


def follow(items: _Items, seconds: Float64Array, options: TracksOptions) -> Int64Array:
    """The track of each item, int64 [m]; -1 for those that belong to none.

    Args:
        seconds: float64 [n], time of each sampled frame.
    """
    track_of = np.full(len(items.frame), _UNUSED, np.int64)
    motion, number = begin_motion(np.zeros((0, 4), np.float32)), np.zeros(0, np.int64)
    label, seen = np.zeros(0, np.int64), np.zeros(0, np.int64)  # seen: rank of the last frame with it
    num_tracks = 0
    starts = np.searchsorted(items.frame, np.arange(len(seconds) + 1))
    for now in range(len(seconds)):
        if now:
            motion = move(motion, seconds[now] - seconds[now - 1])
            fresh = (seen >= now - 2) | (seconds[now] - seconds[seen] <= options.max_gap_seconds)
            motion, number, label, seen = motion.take(fresh), number[fresh], label[fresh], seen[fresh]
        here = np.arange(starts[now], starts[now + 1])
        sure = items.score[here] >= options.sure
        free = np.ones(len(number), np.bool_)
        rounds = ((here[sure], options.overlap), (here[~sure], options.unsure_overlap))
        for candidates, least in rounds:
            tracks = np.flatnonzero(free)
            overlap = _overlaps(motion.boxes[tracks], items.box[candidates], options.enlarge)
            overlap[label[tracks][:, None] != items.label[candidates][None]] = 0
            rows, columns = match(overlap, least)
            found, detections = tracks[rows], candidates[columns]
            free[found] = False
            track_of[detections] = number[found]
            seen[found] = now
            motion = observe(motion, found, items.box[detections])
        new = here[sure][track_of[here[sure]] == _UNUSED]
        track_of[new] = num_tracks + np.arange(len(new))
        motion = motion.join(begin_motion(items.box[new]))
        number, label = np.append(number, track_of[new]), np.append(label, items.label[new])
        seen = np.append(seen, np.full(len(new), now))
        num_tracks += len(new)
    return track_of


def match(overlap: Float64Array, least: float) -> tuple[Int64Array, Int64Array]:
    """Pairs of rows and columns, the largest overlap first, none below `least` or without any overlap.

    Greedy: the best sum would differ only where two things overlap each other about as much as themselves.
    """
    order = np.argsort(-overlap, axis=None, kind="stable")
    good = order[overlap.ravel()[order] >= max(least, 1e-9)]
    rows, columns = np.divmod(good, max(overlap.shape[1], 1))
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for row, at in zip(rows.tolist(), columns.tolist(), strict=True):
        if row not in pairs and at not in taken:
            pairs[row] = at
            taken.add(at)
    return np.array(list(pairs), np.int64), np.array(list(pairs.values()), np.int64)


def _overlaps(left: npt.NDArray[np.floating], right: Float32Array, enlarge: float) -> Float64Array:
    """Intersection over union of each pair of enlarged boxes, float64 [a, b]."""
    a, b = (_enlarged(boxes.astype(np.float64), enlarge) for boxes in (left, right))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    sides = np.maximum(np.minimum(a[:, None, 2:], b[None, :, 2:]) - low, 0)
    shared = sides.prod(axis=2)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b))
    union = area_a[:, None] + area_b[None] - shared
    ratio: Float64Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def _enlarged(boxes: Float64Array, by: float) -> Float64Array:
    margins = (boxes[:, 2:] - boxes[:, :2]) * by
    return np.concatenate([boxes[:, :2] - margins, boxes[:, 2:] + margins], axis=1)
