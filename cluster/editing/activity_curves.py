"""Activity over time of each file, from the tables of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from framemill.cluster.editing.activity import (
    CELL_SECONDS,
    SILENCE_DB,
    TimeCells,
    activity,
    loudness_above_usual,
)
from framemill.cluster.editing.diversity import TWIN_BITS, UNLIKE_BITS
from framemill.cluster.editing.frame_measures import ScoredFrames, read_shots, score_sampled_frames
from framemill.cluster.editing.frame_scores import FULL_FACE_SHARE, grouped_quantile
from framemill.cluster.editing.instants import last_before
from framemill.cluster.results.source_columns import Columns, SourceColumns
from framemill.ops.chunks import BoolArray, Float64Array, Int64Array

# Tables that are read where they exist, with what each adds.
ACTIVITY_TABLES = {
    "frames": "change of the picture",
    "scenes": "boundaries of shots",
    "stretches": "motion",
    "audio_levels": "loudness",
    "speech": "speech",
    "faces": "faces",
    "objects": "things in view",
    "text": "text on screen",
    "sounds": "sounds such as applause",
}
# Mean difference from frame to frame at which motion counts in full, in 8-bit levels. A person walking in
# front of a still camera gives about 2, a moving camera 8 and more (measured).
FULL_MOTION = 6.0
SHAKY_SHARE = 0.5
MANY_LINES = 4
MANY_THINGS = 3
# Classes that are nearly always present, or have a channel of their own.
IGNORED_SOUNDS = ("Silence", "Speech", "Music", "Inside, small room", "Inside, large room or hall")


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves of all sources.

    Attributes:
        cells: of all sources. owner: int64 [cells], source of each cell.
        channels: name -> float64 [cells], 0..1. available: name -> bool [sources].
        curve: float64 [cells], the activity, 0..1.
        frames: the sampled frames with their scores, or None.
        shots: source, start and end of shots; one a source where they are not known.
        sounds: rows of `sounds`, or None.
    """

    cells: TimeCells
    owner: Int64Array
    channels: Mapping[str, Float64Array]
    available: Mapping[str, BoolArray]
    curve: Float64Array
    frames: ScoredFrames | None
    shots: tuple[Int64Array, Float64Array, Float64Array]
    sounds: Columns | None


def source_seconds(reader: SourceColumns) -> Float64Array:
    """Length of each source as the commit log has it, float64 [sources]; 0 where it is not known."""
    known = reader.durations()
    return np.array([known.get(source, 0.0) for source in reader.sources], np.float64)


def make_curves(reader: SourceColumns) -> Curves:
    """Reads what there is of `ACTIVITY_TABLES`.

    Raises:
        DatasetError: a part is gone or damaged.
    """
    cells = TimeCells.of(source_seconds(reader))
    owner = cells.file_of_cell()
    frames = score_sampled_frames(reader) if reader.has("frames").any() else None
    sounds = reader.read("sounds", ("start_seconds", "end_seconds", "label", "score"))
    channels: dict[str, Float64Array] = {}
    available: dict[str, BoolArray] = {}

    def add(name: str, table: str, values: Float64Array | None) -> None:
        if values is not None:
            channels[name] = np.clip(values, 0, 1)
            available[name] = reader.has(table)

    stretches = reader.read("stretches", ("start_seconds", "end_seconds", "kind", "difference"))
    if stretches is not None:
        add("motion", "stretches", _motion(cells, stretches))
    elif frames is not None:
        add("motion", "frames", _change(cells, frames))
    levels = reader.read("audio_levels", ("start_seconds", "rms_db"))
    if levels is not None:
        db = np.maximum(levels["rms_db"].astype(np.float64), 2 * SILENCE_DB)
        level = cells.mean(levels.source, levels["start_seconds"], db, empty=-np.inf)
        add("loud", "audio_levels", loudness_above_usual(level, owner))
        sounding = np.bincount(levels.source, minlength=len(reader.sources)) > 0
        available["loud"] &= sounding
    speech = reader.read("speech", ("start_seconds", "end_seconds", "probability"))
    if speech is not None:
        add("speech", "speech", _rasterize(cells, speech, speech["probability"].astype(np.float64)))
    if sounds is not None:
        add("sounds", "sounds", _rasterize(cells, sounds, _rarity(sounds)))
    if frames is not None:
        add("faces", "faces", _faces(cells, frames, reader))
        add("text", "text", _count(cells, frames, reader, "text", MANY_LINES))
        add("things", "objects", _count(cells, frames, reader, "objects", MANY_THINGS, above_usual=True))
    picture = None
    if frames is not None and len(frames):
        has_picture = np.bincount(frames.source, minlength=len(reader.sources)) > 0
        score = np.where(frames.scores.seen, 0.3 + 0.7 * frames.scores.score, 0.0)
        picture = cells.hold(frames.source, frames.pts_seconds, score)
        picture[~has_picture[owner]] = np.nan
    curve = activity(channels, available, picture, owner)
    return Curves(cells, owner, channels, available, curve, frames, _shots(reader, cells.seconds), sounds)


def _rasterize(cells: TimeCells, rows: Columns, value: Float64Array) -> Float64Array:
    return cells.rasterize(rows.source, rows["start_seconds"], rows["end_seconds"], value)


def _motion(cells: TimeCells, stretches: Columns) -> Float64Array:
    moves = np.clip(stretches["difference"].astype(np.float64) / FULL_MOTION, 0, 1)
    kind = stretches["kind"]
    still = (kind == "frozen") | (kind == "static")
    return _rasterize(
        cells, stretches, np.where(still, 0.0, np.where(kind == "shaky", SHAKY_SHARE, 1.0) * moves)
    )


def _change(cells: TimeCells, frames: ScoredFrames) -> Float64Array:
    """Bits by which the hash changes from one sampled frame of a shot to the next."""
    bits = np.zeros(len(frames))
    same = np.flatnonzero(
        (frames.shot[1:] == frames.shot[:-1]) & frames.scores.seen[1:] & frames.scores.seen[:-1]
    )
    bits[same] = np.bitwise_count(frames.phash[same] ^ frames.phash[same + 1])
    value = np.clip((bits - TWIN_BITS / 2) / (UNLIKE_BITS - TWIN_BITS), 0, 1)
    return cells.hold(frames.source, frames.pts_seconds, value)


def _rarity(sounds: Columns) -> Float64Array:
    """Scores of sounds times their rarity in the file; 0 for ignored classes."""
    if not len(sounds):
        return np.zeros(0)
    labels, number = np.unique(sounds["label"].astype(np.str_), return_inverse=True)
    pairs, which, counts = np.unique(
        np.stack([sounds.source, number]), axis=1, return_inverse=True, return_counts=True
    )
    windows = np.bincount(sounds.source)[pairs[0]]
    rare = 1 - (counts - 1) / np.maximum(windows, 1)
    ignored = np.isin(labels, IGNORED_SOUNDS)[number]
    rarity: Float64Array = np.where(ignored, 0.0, rare[which.ravel()] * sounds["score"])
    return rarity


def _faces(cells: TimeCells, frames: ScoredFrames, reader: SourceColumns) -> Float64Array | None:
    if not reader.has("faces").any():
        return None
    share = np.nan_to_num(frames.face_share)
    return cells.hold(frames.source, frames.pts_seconds, np.clip(np.sqrt(share / FULL_FACE_SHARE), 0, 1))


def _count(
    cells: TimeCells,
    frames: ScoredFrames,
    reader: SourceColumns,
    table: str,
    many: int,
    above_usual: bool = False,
) -> Float64Array | None:
    """Rows a frame, 1 where there are `many`; or that many more than usual in the file."""
    rows = reader.read(table, ("pts_seconds",))
    if rows is None:
        return None
    at = last_before(rows.source, rows["pts_seconds"], frames.source, frames.pts_seconds)
    counts = np.bincount(at[at >= 0], minlength=len(frames)).astype(np.float64)
    if above_usual:
        counts -= grouped_quantile(counts, frames.source, 0.5)
    return cells.hold(frames.source, frames.pts_seconds, np.clip(counts / many, 0, 1))


def _shots(reader: SourceColumns, seconds: Float64Array) -> tuple[Int64Array, Float64Array, Float64Array]:
    """Of sources without shots the whole is one."""
    shots = read_shots(reader)
    own = np.zeros(0, np.int64) if shots is None else shots.source
    bare = np.setdiff1d(np.flatnonzero(seconds > 0), own)
    source = np.concatenate([own, bare])
    start = np.concatenate([np.zeros(0) if shots is None else shots["start_seconds"], np.zeros(len(bare))])
    end = np.concatenate([np.zeros(0) if shots is None else shots["end_seconds"], seconds[bare]])
    order = np.lexsort((start, source))
    return source[order], start[order], np.maximum(end, start)[order]


def channel_mean(curves: Curves, name: str, source: int, start: float, end: float) -> float:
    """Mean of a channel over a stretch of one source."""
    first = int(curves.cells.starts[source])
    low = first + int(start / CELL_SECONDS)
    high = min(int(curves.cells.starts[source + 1]), first + int(np.ceil(end / CELL_SECONDS)))
    return float(curves.channels[name][low : max(high, low + 1)].mean())
