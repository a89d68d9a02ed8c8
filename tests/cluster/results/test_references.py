"""Keys, ranks and references: what tells rows apart, counts them, or names a row of another table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from framemill.cluster.results.invariants import SOURCE_ID, Extent, find_broken, require_unbroken
from framemill.cluster.results.keys import KEYS, RANKS, order_columns
from framemill.cluster.results.queries import CORPUS_TABLES, corpus_schema
from framemill.cluster.results.references import REFERENCES, reference_columns, referred_tables
from framemill.cluster.results.tables import ERRORS_SCHEMA, RUNS_SCHEMA
from framemill.errors import InvariantError
from framemill.ops import OPS, load_op

EXTENTS = {"a": Extent(10.0, 100, 640, 360, 3), "b": Extent(10.0, 100, 640, 360, 3)}
WITHOUT_KEY = {"text_embeddings", "transcript_embeddings"}

Row = dict[str, Any]


def _schema(table: str) -> pa.Schema:
    if table in CORPUS_TABLES:
        return corpus_schema(table)
    others = {"errors": ERRORS_SCHEMA, "runs": RUNS_SCHEMA}
    return others.get(table) or pa.schema([SOURCE_ID, *load_op(table).schema])


def _blank(field: pa.Field) -> Any:
    kind = field.type
    if field.nullable:
        return None
    if pa.types.is_struct(kind):
        return dict.fromkeys((child.name for child in kind), 0)
    if pa.types.is_list(kind) or pa.types.is_map(kind):
        return []
    if pa.types.is_boolean(kind):
        return False
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind):
        return 0
    return b"x" * kind.byte_width if pa.types.is_fixed_size_binary(kind) else "x"


def blank_table(table: str, *rows: Row) -> pa.Table:
    """Rows of a table of source "a"; what is not named is null, 0 or empty."""
    schema = _schema(table)
    blank = {field.name: _blank(field) for field in schema} | {"source_id": "a"}
    return pa.Table.from_pylist([{n: (blank | row)[n] for n in schema.names} for row in rows], schema)


def _columns(table: str, *rows: Row, upstream: dict[str, pa.Table] | None = None) -> list[str]:
    found = find_broken(table, blank_table(table, *rows), EXTENTS, upstream=upstream)
    return [broken.column for broken in found]


@pytest.mark.parametrize("table", sorted({*OPS, *CORPUS_TABLES, "errors", "runs"} - WITHOUT_KEY))
def test_no_key_is_there_twice_in_any_table(table: str) -> None:
    first = {} if table != "speakers" else {"speaker": "speaker_0"}
    assert _columns(table, first) == []
    (column,) = _columns(table, first, first)
    assert column.split(", ") == list(KEYS[table])


def test_what_keys_ranks_and_references_name_is_in_the_tables() -> None:
    for table in KEYS:
        assert {"source_id", *KEYS[table]} - {*_schema(table).names} <= {"source_id"}
        assert {*order_columns(table, _schema(table).names)} >= {*KEYS[table]}
    for table, (rank, within) in RANKS.items():
        assert {rank, *within} <= {*_schema(table).names} and table in KEYS
    for table in REFERENCES:
        assert {*reference_columns(table)} <= {*_schema(table).names}
        for target, columns in referred_tables(table).items():
            assert {*columns} <= {*_schema(target).names}


def test_rows_of_different_keys_are_told_apart() -> None:
    assert _columns("media", {"uri": "/1"}, {"uri": "/2"}) == []
    assert _columns("media", {"uri": "/1"}, {"uri": "/1", "source_id": "b"}) == ["uri"]
    assert _columns("labels", {"rank": 0}, {"rank": 1}, {"rank": 0, "source_id": "b"}) == []
    span = {"text": "a", "polygon": [0.0] * 8}
    assert _columns("text_spans", span, span | {"polygon": [1.0] * 8}) == []
    assert _columns("text_spans", span, span | {"text": "b"}, span) == [", ".join(KEYS["text_spans"])]
    assert _columns("duplicates", {"kind": "video"}, {"kind": "frame", "frame_index": 0}) == []


LATER = {"start_frame": 1, "end_frame": 2}
RANKED: list[tuple[str, str, list[Row], bool]] = [
    ("scenes", "scene_index", [{"scene_index": 0}, {"scene_index": 1}], True),
    ("scenes", "scene_index", [{"scene_index": 1}], False),
    ("scenes", "scene_index", [{"scene_index": 0}, {"scene_index": 2}], False),
    ("scenes", "scene_index", [{"scene_index": 0}, {"scene_index": 0, "source_id": "b"}], True),
    ("scenes", "scene_index", [{"scene_index": 0}, {"scene_index": 1, "source_id": "b"}], False),
    ("faces", "face_index", [{"face_index": 0}, {"frame_index": 1, "face_index": 0}], True),
    ("faces", "face_index", [{"face_index": 0}, {"frame_index": 1, "face_index": 1}], False),
    ("faces", "face_index", [{"face_index": 1}, {"face_index": 0}], True),
    ("objects", "object_index", [{"object_index": 0}, {"object_index": 2}], False),
    ("poses", "person_index", [{"person_index": 1}], False),
    ("text", "text_index", [{"text_index": 0}, {"text_index": 2}], False),
    ("labels", "rank", [{"rank": 0}, {"rank": 2}], False),
    ("tracks", "track_id", [{"item_index": 0}, {"item_index": 1}, {"item_index": 2, "track_id": 1}], True),
    ("tracks", "track_id", [{"item_index": 0}, {"item_index": 1, "track_id": 2}], False),
    ("speakers", "speaker", [{"speaker": "speaker_1"}, {"speaker": "speaker_0"}], True),
    ("speakers", "speaker", [{"speaker": "speaker_0"}, {"speaker": "speaker_2"}], False),
    ("speakers", "speaker", [{"speaker": "Ann"}], False),
    ("importance", "shot_index", [{"shot_index": 0}, LATER | {"shot_index": 1}], True),
    ("importance", "shot_index", [{"shot_index": 0}, LATER | {"shot_index": 2}], False),
    ("transcript", "segment_index", [{}, {"segment_index": 1}, {"stream_index": 1}], True),
    ("transcript", "segment_index", [{"stream_index": 1}, {"stream_index": 2, "segment_index": 1}], False),
    ("preview", "rank", [{"rank": 1}, {"frame_index": 1}, {"frame_index": 2, "rank": 0}], True),
    ("preview", "rank", [{"rank": 0}, {"frame_index": 1}, {"frame_index": 2, "rank": 2}], False),
]  # fmt: skip


@pytest.mark.parametrize(("table", "column", "rows", "is_sound"), RANKED)
def test_ranks_begin_at_0_and_leave_none_out(
    table: str, column: str, rows: list[Row], is_sound: bool
) -> None:
    assert _columns(table, *rows) == ([] if is_sound else [column])


def test_a_stream_is_one_of_the_file() -> None:
    assert _columns("transcript", {"stream_index": 2}) == []
    assert _columns("transcript", {"stream_index": 3}) == ["stream_index"]


FACES = blank_table(
    "faces", {"frame_index": 5}, {"frame_index": 5, "face_index": 1}, {"frame_index": 6, "source_id": "b"}
)
OBJECTS = blank_table("objects", {"frame_index": 5}, {"frame_index": 7})
FRAMES = blank_table("frames", {"frame_index": 5}, {"frame_index": 7})
SPANS = blank_table("text_spans", {"end_seconds": 1.0, "text": "here"})
UPSTREAM = {
    "faces": FACES,
    "objects": OBJECTS,
    "frames": FRAMES,
    "image_embeddings": blank_table("image_embeddings", {"frame_index": 5}),
    "text_spans": SPANS,
    "transcript": blank_table("transcript", {"end_seconds": 1.0, "text": "here"}),
}
FACE = "frame_index, face_index"
SPAN = "start_seconds, end_seconds, text"
REFERRING: list[tuple[str, Row, str]] = [
    *((table, {"frame_index": 5, "face_index": 1}, "") for table in ("emotions", "face_quality", "people")),
    *((table, {"frame_index": 5, "face_index": 2}, FACE) for table in ("emotions", "face_quality", "people")),
    ("face_embeddings", {"frame_index": 6}, FACE),
    ("face_embeddings", {"frame_index": 6, "source_id": "b"}, ""),
    ("poses", {"frame_index": 7, "object_index": 0}, ""),
    ("poses", {"frame_index": 7, "object_index": 1}, "frame_index, object_index"),
    ("composition", {"frame_index": 6, "subject_index": None}, ""),
    ("composition", {"frame_index": 7, "subject_index": 0}, ""),
    ("composition", {"frame_index": 6, "subject_index": 0}, "frame_index, subject_index"),
    ("tracks", {"frame_index": 5, "table": "faces", "item_index": 0}, ""),
    ("tracks", {"frame_index": 5, "table": "objects", "item_index": 1}, "frame_index, item_index"),
    ("tracks", {"frame_index": 7, "table": "faces", "item_index": 0}, "frame_index, item_index"),
    ("aesthetics", {"frame_index": 5}, ""),
    ("aesthetics", {"frame_index": 7}, "frame_index"),
    *((table, {"frame_index": 7}, "") for table in ("editability", "thumbnails", "candidates")),
    *((table, {"frame_index": 6}, "frame_index") for table in ("editability", "thumbnails", "candidates")),
    ("candidates", {"frame_index": 7, "stand_in_frame": 7}, ""),
    ("candidates", {"frame_index": 7, "stand_in_frame": 5}, "stand_in_frame"),
    ("duplicates", {"kind": "frame", "frame_index": 6}, "frame_index"),
    ("duplicates", {"kind": "video"}, ""),
    *((table, {"end_seconds": 1.0, "text": "here"}, "") for table in WITHOUT_KEY),
    *((table, {"end_seconds": 1.0, "text": "gone"}, SPAN) for table in WITHOUT_KEY),
]  # fmt: skip


@pytest.mark.parametrize(("table", "row", "column"), REFERRING)
def test_what_a_row_refers_to_is_there(table: str, row: Row, column: str) -> None:
    assert _columns(table, row, upstream=UPSTREAM) == ([column] if column else [])
    if column and table in OPS:
        with pytest.raises(InvariantError, match="is not in "):
            require_unbroken(table, blank_table(table, row), EXTENTS, UPSTREAM)
    assert _columns(table, row, upstream={}) == (["stand_in_frame"] if column == "stand_in_frame" else [])


def test_rows_that_refer_to_nothing_are_told_once_for_each_source() -> None:
    rows = [{"frame_index": 9, "face_index": i, "source_id": source} for source in "ab" for i in range(3)]
    (first, second) = find_broken("emotions", blank_table("emotions", *rows), EXTENTS, upstream=UPSTREAM)
    assert (first.source_id, first.num_rows, second.source_id) == ("a", 3, "b")
    assert first.message == "9, 0 is not in faces"


def test_columns_of_tables_are_asked_for_once() -> None:
    assert {table: {*names} for table, names in referred_tables("tracks").items()} == {
        "frames": {"source_id", "frame_index"},
        "objects": {"source_id", "frame_index", "object_index"},
        "faces": {"source_id", "frame_index", "face_index"},
    }
