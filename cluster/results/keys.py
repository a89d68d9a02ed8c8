"""Keys of tables: what tells the rows of a source apart, what they ascend by, and ranks without gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.cluster.results.broken import Broken, Sources, Told, is_number, read_numbers
from framemill.ops.at_first_use import pc

# Table -> columns that no two rows of a source (of `media`, `errors` and `runs`: no two rows) have in common.
# Where it is one number, it rises from row to row. Embeddings of text have none: the same words may be read
# twice at one time.
KEYS: Mapping[str, tuple[str, ...]] = {
    "media": ("uri",),
    "errors": ("uri", "operation"),
    "runs": ("run_id",),
    **dict.fromkeys(
        ("frames", "image_embeddings", "aesthetics", "moderation", "quality", "composition", "editability"),
        ("frame_index",),
    ),
    **dict.fromkeys(
        ("depth", "key_frames", "sampling", "candidates", "preview", "camera_steps"), ("frame_index",)
    ),
    **dict.fromkeys(("faces", "emotions", "face_embeddings", "face_quality"), ("frame_index", "face_index")),
    **dict.fromkeys(("objects", "open_vocabulary"), ("frame_index", "object_index")),
    "poses": ("frame_index", "person_index"),
    "text": ("frame_index", "text_index"),
    "labels": ("frame_index", "rank"),
    "tracks": ("frame_index", "table", "item_index"),
    "text_spans": ("start_seconds", "end_seconds", "text", "polygon"),
    **dict.fromkeys(("scenes", "motion", "clip_embeddings"), ("scene_index",)),
    **dict.fromkeys(("stretches", "importance"), ("start_frame",)),
    "beats": ("time_seconds",),
    **dict.fromkeys(
        ("audio_levels", "audio_embeddings", "speech", "silences", "music_or_speech", "loudness"),
        ("start_seconds",),
    ),
    "sounds": ("start_seconds", "label"),
    "speakers": ("start_seconds", "speaker"),
    "transcript": ("origin", "stream_index", "segment_index"),
    **dict.fromkeys(("people", "person_names"), ("frame_index", "face_index")),
    "tags": ("start_seconds", "end_seconds", "tag"),
    "duplicates": ("kind", "frame_index"),
    **dict.fromkeys(("thumbnails", "highlights"), ("rank",)),
    "clips": ("clip_index",),
    "captions": ("of", "scene_index", "clip_index"),
    "summaries": ("of",),
    "recall": ("operation",),
}
# Whose key tells their rows apart in all of the folder.
_OF_FOLDER = ("media", "errors", "runs")
# Table -> a position that begins at 0 and leaves none out, and the columns of a source within which it does.
RANKS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("scenes", "motion"), ("scene_index", ())),
    "importance": ("shot_index", ()),
    "transcript": ("segment_index", ("origin", "stream_index")),
    "faces": ("face_index", ("frame_index",)),
    **dict.fromkeys(("objects", "open_vocabulary"), ("object_index", ("frame_index",))),
    "poses": ("person_index", ("frame_index",)),
    "text": ("text_index", ("frame_index",)),
    "labels": ("rank", ("frame_index",)),
    "tracks": ("track_id", ()),
    "speakers": ("speaker", ()),
    "preview": ("rank", ()),
    **dict.fromkeys(("thumbnails", "highlights"), ("rank", ())),
    "clips": ("clip_index", ()),
}
# Never earlier in a later row of the same source, beside the key.
_TIMES = {"frame_index": "pts_seconds"}
_NUMBERED = r"^speaker_(?P<number>[0-9]{1,9})$"

Values = npt.NDArray[Any]


def order_columns(table: str, names: Sequence[str]) -> list[str]:
    """The columns that `broken_order` looks at; empty where it has nothing to say."""
    key = KEYS.get(table, ())
    rank, within = RANKS.get(table, ("", ()))
    if not key or not {*key, *within} <= {*names}:  # an older part may lack one: it is told of as a misfit
        return []
    wanted = {"source_id", *key, rank, *within, *(_TIMES.get(name, "") for name in key)}
    return [name for name in names if name in wanted]


def broken_order(table: str, rows: pa.Table, sources: Sources | None = None) -> list[Broken]:
    """What does not hold of keys and ranks; of each source all rows of the table, or none, are given."""
    if not order_columns(table, rows.column_names) or not rows.num_rows:
        return []
    told = Told(table, sources or Sources.of(rows))
    key = list(KEYS[table])
    rank, within = RANKS.get(table, ("", ()))
    columns = {name: _codes(rows[name]) for name in {*key, *within}}
    if len(key) == 1 and is_number(rows.schema.field(key[0]).type):
        _rising(told, rows, key[0], columns[key[0]])
    else:
        _once(told, key, [columns[name] for name in key], is_of_folder=table in _OF_FOLDER)
    if rank:
        _without_gaps(told, rows[rank], rank, [columns[name] for name in within])
    return told.found


def _rising(told: Told, rows: pa.Table, name: str, key: Values) -> None:
    """The rows of a source follow each other: the key rises from each to the next."""
    codes = told.sources.codes
    of_next = np.zeros(len(codes), np.bool_)
    of_next[1:] = (codes[1:] == codes[:-1]) & (key[1:] <= key[:-1])
    told.note(name, None, of_next, lambda at: f"{key[at]:.10g} follows {key[at - 1]:.10g}")
    time = _TIMES.get(name)
    if time is not None and time in rows.column_names and not of_next.any():
        seconds = read_numbers(rows[time].combine_chunks())
        of_next[1:] = (codes[1:] == codes[:-1]) & (seconds[1:] < seconds[:-1])
        told.note(time, None, of_next, lambda at: f"{seconds[at]:.10g} follows {seconds[at - 1]:.10g}")


def _once(told: Told, names: list[str], key: list[Values], *, is_of_folder: bool) -> None:
    """No two rows have the same key."""
    keys = key if is_of_folder else [told.sources.codes, *key]
    if _is_ascending(keys):
        return
    order = np.lexsort(keys[::-1])
    twice = np.zeros(len(order), np.bool_)
    twice[order[1:]] = ~_differs([values[order] for values in keys])
    told.note(", ".join(names), None, twice, lambda at: f"row {at} repeats the key of another row")


def _without_gaps(told: Told, column: pa.ChunkedArray, name: str, within: list[Values]) -> None:
    """In each group of rows the ranks are 0, 1, 2 and so on; null is no rank."""
    ranks = _ranks(column.combine_chunks())
    if not within and len(told.sources.ids) == 1 and np.array_equal(ranks, np.arange(len(ranks))):
        return
    rows = np.flatnonzero(~np.isnan(ranks))
    ranks, groups = ranks[rows], [values[rows] for values in (told.sources.codes, *within)]
    order = np.lexsort([ranks, *reversed(groups)])
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = _differs([values[order] for values in groups])
    in_order = ranks[order]
    gaps = np.zeros(len(rows), np.bool_)
    gaps[order] = np.where(is_first, in_order != 0, in_order > np.roll(in_order, 1) + 1)
    told.note(name, rows, gaps, lambda at: f"{column[int(rows[at])]} comes without the one before it")


def _ranks(array: pa.Array) -> Values:
    if is_number(array.type):
        return read_numbers(array)
    number = pc.struct_field(pc.extract_regex(array, _NUMBERED), "number")
    return read_numbers(pc.fill_null(number.cast(pa.int64()), -1))


def _is_ascending(keys: list[Values]) -> bool:
    """Whether rows come in strictly rising order, as nearly all do, so that none is there twice."""
    rises = np.zeros(max(0, len(keys[0]) - 1), np.bool_)
    for values in reversed(keys):
        rises = (values[1:] > values[:-1]) | ((values[1:] == values[:-1]) & rises)
    return bool(rises.all())


def _differs(keys: list[Values]) -> npt.NDArray[np.bool_]:
    """Whether each row but the first has another key than the one before."""
    differs: npt.NDArray[np.bool_] = np.logical_or.reduce([values[1:] != values[:-1] for values in keys])
    return differs


def _codes(column: pa.ChunkedArray) -> Values:
    """Values that are equal where those of the column are, in the same order if they are numbers."""
    array = column.combine_chunks()
    if is_number(array.type):
        return read_numbers(array) if not array.null_count else np.nan_to_num(read_numbers(array), nan=-1)
    if pa.types.is_list(array.type):
        seen: dict[tuple[Any, ...], int] = {}
        return np.array([seen.setdefault(tuple(value or ()), len(seen)) for value in array.to_pylist()])
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    codes: Values = pc.fill_null(encoded.indices, -1).to_numpy()
    return codes
