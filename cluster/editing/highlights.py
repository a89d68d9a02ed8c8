"""Highlights: the segments of each file with the most activity.

It reads those of `activity_curves.ACTIVITY_TABLES` that exist, and writes the table `highlights`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.editing.activity import WEIGHTS
from framemill.cluster.editing.activity_curves import (
    ACTIVITY_TABLES,
    IGNORED_SOUNDS,
    Curves,
    channel_mean,
    make_curves,
    source_seconds,
)
from framemill.cluster.editing.segments import Segments, candidate_segments, choose_segments, segment_means
from framemill.cluster.editing.shortfalls import Shortfall, group_shortfalls
from framemill.cluster.results.corpus_tables import corpus_key, is_current, owners_of, replace_table
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.source_columns import SourceColumns
from framemill.errors import UsageError
from framemill.ops.chunks import Float64Array, Int64Array
from framemill.ops.columns import column

TABLE = "highlights"
VERSION = 2
# Read too where they exist; alone they are not enough to judge a file by.
FURTHER = ("media", "quality", "composition", "emotions", "importance")
COUNT, MAX_COUNT = 5, 1000
LEAST_SECONDS, MOST_SECONDS = 3.0, 10.0
# Segments of lower activity are never highlights.
LEAST_SCORE = 0.02
# Sources are processed in groups of about so many seconds, which bounds memory.
GROUP_SECONDS = 2_000_000.0

HIGHLIGHTS_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("rank", pa.int32(), "0-based: the best first"),
        column(
            "start_seconds",
            pa.float64(),
            "seconds since the start of the presentation; at a cut where shots are known and short enough",
        ),
        column("end_seconds", pa.float64(), "its end, exclusive; segments of a source do not overlap"),
        column(
            "score",
            pa.float32(),
            "how much happens, 0..1: weighted mean of motion, loudness, speech, faces, text and sounds, as "
            "far as they are known, less where the picture is bad",
        ),
        column("reasons", pa.list_(pa.string()), "what happens, in words, the strongest first"),
    ]
)


@dataclass(frozen=True, slots=True)
class HighlightsReport:
    """What was found.

    Attributes:
        rows: in `HIGHLIGHTS_SCHEMA`, by source and rank. num_files: sources with at least one.
        shortfalls: why files got fewer than asked for, by descending number of files.
        missing: tables that would add something -> what. changed: False when the table was up to date.
    """

    rows: pa.Table
    num_files: int
    shortfalls: tuple[Shortfall, ...]
    missing: Mapping[str, str]
    changed: bool


def find_highlights(
    dataset: Dataset,
    run_id: str,
    count: int = COUNT,
    least_seconds: float = LEAST_SECONDS,
    most_seconds: float = MOST_SECONDS,
) -> HighlightsReport:
    """Finds up to `count` segments a source and replaces the table. Call it inside `dataset.hold`.

    Args:
        least_seconds, most_seconds: of a segment; a file that is shorter gives one segment.

    Raises:
        UsageError: an argument is out of range, or the dataset has none of the tables.
        DatasetError: the storage refuses, or the lease is lost.
    """
    if not 1 <= count <= MAX_COUNT:
        raise UsageError(f"the count is {count}; it must be 1 to {MAX_COUNT}, such as {COUNT}")
    if not 0.5 <= least_seconds <= most_seconds <= 3600:
        raise UsageError(
            f"segments of {least_seconds:g} to {most_seconds:g} seconds cannot be made; "
            "the least must be 0.5 or more, and the most as much or more, up to 3600"
        )
    # A file with rows in any of them is judged, whatever others are missing for it.
    tables = tuple(ACTIVITY_TABLES)
    owners = owners_of(dataset, tables)
    if not owners:
        raise UsageError(
            f"{dataset.root} has none of the tables {', '.join(ACTIVITY_TABLES)}: "
            f"run `framemill extract SOURCES -o {dataset.root}` first"
        )
    options = {"count": count, "least_seconds": least_seconds, "most_seconds": most_seconds}
    key = corpus_key(dataset, TABLE, tables, VERSION, options, also=FURTHER)
    missing = {name: what for name, what in ACTIVITY_TABLES.items() if name not in dataset.state.keys}
    shortfalls: Counter[tuple[str, str]] = Counter()
    found = [HIGHLIGHTS_SCHEMA.empty_table()]
    for reader in _groups(dataset, owners):
        curves = make_curves(reader)
        segments, scores, kept = best_segments(curves, count, least_seconds, most_seconds)
        found.append(_rows(curves, reader, segments, scores, kept))
        shortfalls.update(_with_fewer(reader, curves, segments.take(kept), count, least_seconds))
    rows = pa.concat_tables(found)
    changed = not is_current(dataset, TABLE, tables, key)
    if changed:
        replace_table(dataset, run_id, TABLE, tables, key, rows)
    return HighlightsReport(
        rows=rows,
        num_files=pc.count_distinct(rows["source_id"]).as_py(),
        shortfalls=group_shortfalls(dataset, shortfalls),
        missing=missing,
        changed=changed,
    )


def _groups(dataset: Dataset, owners: Collection[str]) -> Iterator[SourceColumns]:
    """The sources in order, in groups of bounded length."""
    everything = SourceColumns(dataset, owners)
    seconds = np.cumsum(source_seconds(everything))
    if not len(seconds) or seconds[-1] <= GROUP_SECONDS:
        yield everything
        return
    group = np.floor(seconds / GROUP_SECONDS)
    for number in np.unique(group):
        own = [everything.sources[row] for row in np.flatnonzero(group == number)]
        yield SourceColumns(dataset, own, is_part=True)


def best_segments(
    curves: Curves, count: int, least_seconds: float, most_seconds: float
) -> tuple[Segments, Float64Array, Int64Array]:
    """All candidates, their scores, and the rows of the chosen ones by source and rank."""
    segments = candidate_segments(*curves.shots, least_seconds, most_seconds)
    scores = segment_means(curves.cells, curves.curve, segments)
    return segments, scores, choose_segments(segments, scores, curves.cells.seconds, count, LEAST_SCORE)


def _rows(
    curves: Curves,
    reader: SourceColumns,
    segments: Segments,
    scores: Float64Array,
    kept: Int64Array,
) -> pa.Table:
    chosen = segments.take(kept)
    first = np.searchsorted(chosen.file, chosen.file)
    columns = [
        pa.array(reader.sources, pa.string()).take(pa.array(chosen.file)),
        (np.arange(len(kept)) - first).astype(np.int32),
        chosen.start_seconds,
        np.minimum(chosen.end_seconds, np.maximum(curves.cells.seconds[chosen.file], chosen.start_seconds)),
        scores[kept].astype(np.float32),
        [_reasons(curves, *segment) for segment in zip(
            chosen.file.tolist(), chosen.start_seconds.tolist(), chosen.end_seconds.tolist(), strict=True
        )],
    ]  # fmt: skip
    arrays = [
        c if isinstance(c, pa.Array) else pa.array(c, kind)
        for c, kind in zip(columns, HIGHLIGHTS_SCHEMA.types, strict=True)
    ]
    return pa.table(arrays, schema=HIGHLIGHTS_SCHEMA)


# Least mean of a channel to be named as a reason, and the text.
_REASONS: Mapping[str, tuple[float, str]] = {
    "motion": (0.2, "motion"),
    "loud": (0.2, "louder than usual"),
    "faces": (0.2, "faces"),
    "speech": (0.2, "speech"),
    "sounds": (0.1, "sound"),
    "things": (0.2, "more in view than usual"),
    "text": (0.2, "text on screen"),
}


def _reasons(curves: Curves, source: int, start: float, end: float) -> list[str]:
    reasons = []
    for name, (least, words) in _REASONS.items():
        if name not in curves.channels or not curves.available[name][source]:
            continue
        mean = channel_mean(curves, name, source, start, end)
        if mean >= least:
            if name == "sounds":
                words = f"sound: {_sound(curves, source, start, end)}"
            elif name in ("motion", "speech", "faces") and mean >= 0.6:
                words = f"much {words}" if name != "faces" else "large faces"
            reasons.append((WEIGHTS[name] * mean, words))
    reasons.sort(key=lambda reason: (-reason[0], reason[1]))
    return [words for _, words in reasons[:4]] or ["the liveliest part"]


def _sound(curves: Curves, source: int, start: float, end: float) -> str:
    """The class with the highest score in a segment, without the ignored ones."""
    sounds = curves.sounds
    assert sounds is not None
    low, high = np.searchsorted(sounds.source, [source, source + 1])
    within = np.arange(low, high)
    within = within[(sounds["start_seconds"][within] < end) & (sounds["end_seconds"][within] > start)]
    within = within[~np.isin(sounds["label"][within].astype(np.str_), IGNORED_SOUNDS)]
    return str(sounds["label"][within[np.argmax(sounds["score"][within])]])


def _with_fewer(
    reader: SourceColumns, curves: Curves, chosen: Segments, count: int, least_seconds: float
) -> Iterator[tuple[str, str]]:
    """Sources with fewer highlights than `count`: why, and which."""
    num_found = np.bincount(chosen.file, minlength=len(reader.sources))
    lengths = chosen.end_seconds - chosen.start_seconds
    room = curves.cells.seconds / 2 - np.bincount(chosen.file, lengths, minlength=len(reader.sources))
    best = np.maximum.reduceat(curves.curve, curves.cells.starts[:-1]) if reader.sources else np.zeros(0)
    for source, source_id in enumerate(reader.sources):
        if num_found[source] >= count:
            continue
        if num_found[source] and room[source] < least_seconds:
            yield "it is too short for more: highlights take at most half of a file", source_id
        elif num_found[source]:
            yield "nothing else in it is as lively", source_id
        elif curves.cells.seconds[source] <= 0:
            yield "its length is not known", source_id
        elif best[source] <= 0:
            yield "nothing happens in it: no motion, no sound, no face or text", source_id
        else:
            yield "too little happens in it", source_id
