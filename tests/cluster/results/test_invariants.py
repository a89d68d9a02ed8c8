"""What holds for every row: sound tables pass, and each kind of break is told with its source and column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from framemill.cluster.results.invariants import (
    SOURCE_ID,
    Extent,
    find_broken,
    require_unbroken,
)
from framemill.cluster.results.rules import ROUNDING_SECONDS
from framemill.errors import InvariantError
from framemill.ops import OPS, load_op

EXTENTS = {"a": Extent(10.0, 100, 640, 360), "b": Extent(2.0, 20, 64, 36), "unmeasured": Extent()}
BOX = {"x0": 0.0, "y0": 1.0, "x1": 640.0, "y1": 360.0}
WORD = {"start_seconds": 1.0, "end_seconds": 1.5, "text": "word", "probability": 0.5}
CORNERS = [0.0, 0.0, 640.0, 0.0, 640.0, 360.0, 0.0, 360.0]
# Per table a row of source "a" that is sound; what is not named is filled in.
SOUND: dict[str, dict[str, Any]] = {
    "frames": {"frame_index": 99, "pts_seconds": 9.9, "phash": 2**64 - 1},
    "scenes": {"scene_index": 0, "end_seconds": 10.0, "start_frame": 0, "end_frame": 100},
    "objects": {"frame_index": 5, "pts_seconds": 0.5, "object_index": 0, "box": BOX},
    "text": {"frame_index": 5, "pts_seconds": 0.5, "text_index": 0, "polygon": CORNERS},
    "transcript": {"segment_index": 0, "start_seconds": 1.0, "end_seconds": 2.0, "words": [WORD]},
    "emotions": {"frame_index": 5, "pts_seconds": 0.5, "face_index": 0, "probabilities": [("sad", 0.5)]},
    "image_embeddings": {"frame_index": 5, "pts_seconds": 0.5, "vector": [0.6, 0.8]},
    "tracks": {"table": "faces", "frame_index": 5, "pts_seconds": 0.5, "item_index": 0, "track_id": 0},
    "audio_levels": {"start_seconds": 9.9, "rms_db": -3.0},
    "media": {"uri": "/a.mp4", "start_seconds": 95443.7, "duration_seconds": 10.0, "streams": []},
}  # fmt: skip


def _blank(kind: pa.DataType) -> Any:
    if pa.types.is_boolean(kind):
        return False
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        return "x"
    return 0


def _table(table: str, *rows: dict[str, Any]) -> pa.Table:
    schema = pa.schema([SOURCE_ID, *load_op(table).schema])
    blank = {field.name: None if field.nullable else _blank(field.type) for field in schema}
    return pa.Table.from_pylist([blank | {"source_id": "a"} | SOUND[table] | row for row in rows], schema)


@pytest.mark.parametrize("table", SOUND)
def test_a_sound_row_passes(table: str) -> None:
    require_unbroken(table, _table(table, {}), EXTENTS)
    require_unbroken(table, _table(table), EXTENTS)


BROKEN: list[tuple[str, str, dict[str, Any], str]] = [
    ("frames", "sharpness", {"sharpness": float("nan")}, "no finite number"),
    ("frames", "frame_index", {"frame_index": 100}, "100 is no frame of 100"),
    ("frames", "frame_index", {"frame_index": -1}, "no frame"),
    ("frames", "pts_seconds", {"pts_seconds": -0.5}, "before the start"),
    ("frames", "pts_seconds", {"pts_seconds": 10 + 2 * ROUNDING_SECONDS}, "after the end of the source, 10"),
    ("frames", "source_id", {"source_id": "stranger"}, "no such source"),
    ("scenes", "end_seconds", {"start_seconds": 5.0, "end_seconds": 4.0}, "before the row's own start, 5 s"),
    ("scenes", "end_frame", {"end_frame": 101}, "101 is no frame of 100"),
    ("scenes", "end_frame", {"start_frame": 50, "end_frame": 49}, "49 is before 50"),
    ("objects", "box.x1", {"box": BOX | {"x1": 641.0}}, "641 is not within the picture, 0 to 640"),
    ("objects", "box.y0", {"box": BOX | {"y0": -1.0}}, "not within"),
    ("objects", "box.x1", {"box": BOX | {"x0": 50.0, "x1": 40.0}}, "40 is below 50"),
    ("objects", "box.x0", {"box": BOX | {"x0": float("inf")}}, "inf is no finite number"),
    ("objects", "object_index", {"object_index": -1}, "-1 is below 0"),
    ("text", "polygon", {"polygon": [*CORNERS[:7], 361.0]}, "361 is not within the picture, 0 to 360"),
    ("transcript", "words.end_seconds", {"words": [WORD, WORD | {"end_seconds": 0.5}]}, "before the row"),
    ("transcript", "words.end_seconds", {"words": [WORD, WORD | {"end_seconds": 99.0}]}, "99 s is after"),
    ("transcript", "words.probability", {"words": [WORD | {"probability": float("nan")}]}, "no finite"),
    ("emotions", "probabilities.value", {"probabilities": [("sad", float("-inf"))]}, "no finite number"),
    ("image_embeddings", "vector", {"vector": [0.0, float("nan")]}, "no finite number"),
    ("audio_levels", "rms_db", {"rms_db": float("-inf")}, "no finite number"),
    ("media", "duration_seconds", {"duration_seconds": float("nan")}, "no finite number"),
    ("media", "width", {"width": -2}, "-2 is below 0"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "column", "row", "said"), BROKEN)
def test_what_is_broken_is_told(table: str, column: str, row: dict[str, Any], said: str) -> None:
    found = find_broken(table, _table(table, row), EXTENTS)
    assert [broken for broken in found if broken.column == column and said in broken.message], found
    with pytest.raises(InvariantError, match=f"the rows of {table} break"):
        require_unbroken(table, _table(table, row), EXTENTS)


def test_each_source_answers_for_its_own_rows() -> None:
    rows = _table(
        "frames",
        {"frame_index": 30, "pts_seconds": 3.0},
        {"frame_index": 30, "pts_seconds": 3.0, "source_id": "b"},
        {"frame_index": 31, "pts_seconds": 3.1, "source_id": "b"},
        {"frame_index": 1 << 40, "pts_seconds": 1e9, "source_id": "unmeasured"},
    )
    found = find_broken("frames", rows, EXTENTS)
    assert {(broken.source_id, broken.column, broken.num_rows) for broken in found} == {
        ("b", "frame_index", 2),
        ("b", "pts_seconds", 2),
    }


ORDERS: list[tuple[str, str, list[dict[str, Any]], bool]] = [
    ("frames", "frame_index", [{"frame_index": 1}, {"frame_index": 2}], True),
    ("frames", "frame_index", [{"frame_index": 2}, {"frame_index": 2}], False),
    ("frames", "frame_index", [{"frame_index": 2}, {"frame_index": 1}], False),
    ("frames", "frame_index", [{"frame_index": 2}, {"frame_index": 1, "source_id": "unmeasured"}], True),
    ("frames", "pts_seconds", [{"frame_index": 1}, {"frame_index": 2, "pts_seconds": 1.0}], False),
    ("scenes", "scene_index", [{"scene_index": 0}, {"scene_index": 0}], False),
    ("objects", "frame_index, object_index", [{"object_index": 0}, {"object_index": 1}], True),
    ("objects", "frame_index, object_index", [{"object_index": 0}, {"object_index": 0}], False),
    ("tracks", "frame_index, table, item_index", [{"table": "faces"}, {"table": "objects"}], True),
    ("tracks", "frame_index, table, item_index", [{}, {}], False),
]  # fmt: skip


@pytest.mark.parametrize(("table", "column", "rows", "is_sound"), ORDERS)
def test_rows_come_in_order_and_once(
    table: str, column: str, rows: list[dict[str, Any]], is_sound: bool
) -> None:
    found = find_broken(table, _table(table, *rows), EXTENTS)
    assert [broken.column for broken in found] == ([] if is_sound else [column])


CHANGES: list[Callable[[pa.Table], pa.Table]] = [
    lambda rows: rows.drop_columns(["sharpness"]),
    lambda rows: rows.append_column("more", pa.array([1])),
    lambda rows: rows.set_column(1, "frame_index", pa.array(["9"])),
]


@pytest.mark.parametrize("change", CHANGES)
def test_rows_of_another_shape_are_refused(change: Callable[[pa.Table], pa.Table]) -> None:
    with pytest.raises(InvariantError, match=r"frames\."):
        require_unbroken("frames", change(_table("frames", {})), EXTENTS)


def test_null_is_refused_where_the_schema_knows_none() -> None:
    schema = pa.schema([SOURCE_ID, *load_op("speech").schema])
    row = {"source_id": "a", "start_seconds": None, "end_seconds": 1.0, "probability": 0.5}
    rows = pa.Table.from_pylist([row], pa.schema([field.with_nullable(True) for field in schema]))
    with pytest.raises(InvariantError, match=r"speech\.start_seconds: it is null"):
        require_unbroken("speech", pa.Table.from_arrays(rows.columns, schema=schema), EXTENTS)


def test_every_table_can_be_checked_without_rows() -> None:
    for name in OPS:
        require_unbroken(name, pa.schema([SOURCE_ID, *load_op(name).schema]).empty_table(), {})
