"""Rows end with the file that they speak of: models and codecs work in windows that reach beyond it."""

from __future__ import annotations

import pyarrow as pa

from framemill.ops.at_first_use import pc


def ending_with(rows: pa.Table, seconds: float | None) -> pa.Table:
    """The rows of an operation for a source of this length, if it is known: none starts or ends later.

    What starts behind the end is left out, and what reaches beyond it ends there, words of a line likewise.
    """
    if seconds is None or "start_seconds" not in rows.column_names:
        return rows
    is_inside = pc.less_equal(rows["start_seconds"], seconds)
    if not pc.all(is_inside, min_count=0).as_py():
        rows = rows.filter(is_inside)
    if "end_seconds" in rows.column_names:
        rows = _replaced(rows, "end_seconds", _at_most(rows["end_seconds"], seconds))
    if "words" in rows.column_names and pa.types.is_list(rows.schema.field("words").type):
        chunks = [_with_words(chunk, seconds) for chunk in rows["words"].chunks]
        rows = _replaced(rows, "words", pa.chunked_array(chunks, rows.schema.field("words").type))
    return rows


def _replaced(rows: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    at = rows.column_names.index(name)
    return rows.set_column(at, rows.schema.field(name), column)


def _at_most(times: pa.ChunkedArray, seconds: float) -> pa.ChunkedArray:
    return pc.min_element_wise(times, pa.scalar(seconds, times.type), skip_nulls=False)


def _with_words(lists: pa.ListArray, seconds: float) -> pa.ListArray:
    words = lists.flatten()
    fields = list(words.type)
    columns = [
        _at_most(words.field(i), seconds)
        if field.name in ("start_seconds", "end_seconds")
        else words.field(i)
        for i, field in enumerate(fields)
    ]
    within = pa.StructArray.from_arrays(columns, fields=fields)
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, within, type=lists.type, mask=lists.is_null())
