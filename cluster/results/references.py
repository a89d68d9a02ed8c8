"""Rows that name rows of another table, such as an emotion its face: what they name has to be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.cluster.results.broken import Broken, Sources, Told, is_number
from framemill.ops.at_first_use import pc


@dataclass(frozen=True, slots=True)
class Reference:
    """Columns whose values, of one source, are those of a row of a table.

    Attributes:
        columns: of the row that refers; one that holds null refers to nothing.
        table, targets: what it refers to, and the columns there, in the same order.
        where: column and value of the rows that refer; None for all.
    """

    columns: tuple[str, ...]
    table: str
    targets: tuple[str, ...]
    where: tuple[str, str] | None = None


_FACE = Reference(("frame_index", "face_index"), "faces", ("frame_index", "face_index"))
_OBJECT = ("frame_index", "object_index")
_FRAME = Reference(("frame_index",), "frames", ("frame_index",))
_SPAN = ("start_seconds", "end_seconds", "text")
_ITEM = ("frame_index", "item_index")

REFERENCES: Mapping[str, tuple[Reference, ...]] = {
    **dict.fromkeys(("emotions", "face_embeddings", "face_quality", "people"), (_FACE,)),
    "poses": (Reference(_OBJECT, "objects", _OBJECT),),
    "composition": (Reference(("frame_index", "subject_index"), "objects", _OBJECT),),
    "tracks": (
        _FRAME,
        Reference(_ITEM, "objects", _OBJECT, ("table", "objects")),
        Reference(_ITEM, "faces", ("frame_index", "face_index"), ("table", "faces")),
    ),
    "aesthetics": (Reference(("frame_index",), "image_embeddings", ("frame_index",)),),
    **dict.fromkeys(("editability", "thumbnails", "duplicates"), (_FRAME,)),
    **dict.fromkeys(
        ("motion", "clip_embeddings"), (Reference(("scene_index",), "scenes", ("scene_index",)),)
    ),
    "candidates": (_FRAME, Reference(("stand_in_frame",), "candidates", ("frame_index",))),
    "text_embeddings": (Reference(_SPAN, "text_spans", _SPAN),),
    "transcript_embeddings": (Reference(_SPAN, "transcript", _SPAN),),
}


def referred_tables(table: str) -> dict[str, list[str]]:
    """The tables that rows of this one refer to, itself among them, and the columns there."""
    found: dict[str, list[str]] = {}
    for reference in REFERENCES.get(table, ()):
        columns = found.setdefault(reference.table, ["source_id"])
        columns += [name for name in reference.targets if name not in columns]
    return found


def reference_columns(table: str) -> list[str]:
    """The columns that `broken_references` looks at; empty where rows refer to nothing."""
    columns = ["source_id"]
    for reference in REFERENCES.get(table, ()):
        names = (*reference.columns, *(reference.where or ())[:1])
        columns += [name for name in names if name not in columns]
        if reference.table == table:
            columns += [name for name in reference.targets if name not in columns]
    return columns if table in REFERENCES else []


def broken_references(table: str, rows: pa.Table, upstream: Mapping[str, pa.Table]) -> list[Broken]:
    """Rows that name none of the rows of other tables.

    Args:
        rows: of some sources, with source_id.
        upstream: table -> its rows of the same sources; what refers to other tables is not looked at.
    """
    if table not in REFERENCES:
        return []
    told = Told(table, Sources.of(rows))
    for reference in REFERENCES[table]:
        targets = rows if reference.table == table else upstream.get(reference.table)
        if targets is not None:
            _refer(told, rows, reference, targets)
    return told.found


def _refer(told: Told, rows: pa.Table, reference: Reference, targets: pa.Table) -> None:
    names = ("source_id", *reference.columns)
    refers = np.ones(rows.num_rows, np.bool_)
    if reference.where is not None:
        name, value = reference.where
        refers &= pc.equal(rows[name].cast(pa.string()), value).to_numpy()
    for name in names:
        if rows[name].null_count:
            refers &= rows[name].is_valid().to_numpy()
    at = np.flatnonzero(refers)
    if not len(at):
        return
    chosen = rows.select(list(names)).take(at)
    pairs = zip(names, ("source_id", *reference.targets), strict=True)
    # Targets come first: where a row is equal to one, the sort, which is stable, puts that one before it.
    keys = [_values(targets[there], chosen[here]) for here, there in pairs]
    order = np.lexsort(keys[::-1])
    begins = np.ones(len(order), np.bool_)  # whether a row has another key than the one before
    begins[1:] = np.logical_or.reduce([values[order][1:] != values[order][:-1] for values in keys])
    first = order[np.flatnonzero(begins)[np.cumsum(begins) - 1]]  # the first row with the same key
    missing = np.zeros(len(order), np.bool_)
    missing[order] = first >= targets.num_rows
    told.note(
        ", ".join(reference.columns),
        at,
        missing[targets.num_rows :],
        lambda i: f"{_shown(chosen, reference, i)} is not in {reference.table}",
    )


def _shown(chosen: pa.Table, reference: Reference, at: int) -> str:
    return ", ".join(str(chosen[name][at].as_py()) for name in reference.columns)


def _values(targets: pa.ChunkedArray, rows: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Both one after the other, as numbers that are equal where the values are."""
    if is_number(targets.type):
        return np.concatenate([targets.to_numpy(), rows.to_numpy()])
    both = [column.cast(pa.string()).combine_chunks() for column in (targets, rows)]
    indices = pa.concat_arrays(both).dictionary_encode().indices
    values: npt.NDArray[Any] = pc.fill_null(indices, -1).to_numpy()
    return values
