"""No row ends after its file."""

from __future__ import annotations

import pyarrow as pa

from framemill.cluster.run.row_ends import ending_with
from framemill.ops import load_op

WORDS = pa.list_(
    pa.struct([("start_seconds", pa.float64()), ("end_seconds", pa.float64()), ("text", pa.string())])
)


def test_what_reaches_beyond_the_end_ends_there() -> None:
    rows = pa.table({"start_seconds": [0.0, 1.5, 2.1], "end_seconds": [1.0, 2.04, 2.2], "n": [1, 2, 3]})
    assert ending_with(rows, 2.0).to_pylist() == [
        {"start_seconds": 0.0, "end_seconds": 1.0, "n": 1},
        {"start_seconds": 1.5, "end_seconds": 2.0, "n": 2},
    ]


def test_rows_that_fit_stay_as_they_are() -> None:
    rows = pa.table({"start_seconds": [0.0, 1.0], "end_seconds": [1.0, None]})
    assert ending_with(rows, 2.0).equals(rows)
    assert ending_with(pa.table({"pts_seconds": [9.0]}), 2.0).num_rows == 1


def test_words_end_with_their_line() -> None:
    words = [[{"start_seconds": 1.9, "end_seconds": 2.3, "text": "a"}], None, []]
    rows = pa.table({"start_seconds": [0.0] * 3, "end_seconds": [9.0] * 3, "words": pa.array(words, WORDS)})
    ended = ending_with(rows, 2.0)
    assert ended["words"].to_pylist() == [
        [{"start_seconds": 1.9, "end_seconds": 2.0, "text": "a"}], None, []
    ]  # fmt: skip
    assert ended.schema == rows.schema


def test_an_empty_transcript_keeps_its_schema() -> None:
    empty = load_op("transcript").schema.empty_table()
    assert ending_with(empty, 2.0).schema == empty.schema
