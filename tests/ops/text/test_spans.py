"""Spans of text from rows made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from framemill.errors import UsageError
from framemill.ops.frames.frames import FramesOp
from framemill.ops.text.spans import TextSpans, TextSpansOptions
from framemill.ops.text.text import Text
from tests.ops.stand_ins import shard

STEP = 5  # every fifth frame is sampled, at ten a second


def spans(lines: list[tuple[int, str, float, float]], num_sampled: int = 8, **options: Any) -> list[Any]:
    """(start, end, text, score, left edge) from (rank of the sampled frame, text, left edge, score)."""
    schema = Text.schema
    rows = pa.Table.from_pylist(
        [
            {
                "frame_index": rank * STEP,
                "pts_seconds": rank * STEP / 10,
                "text_index": index,
                "text": text,
                "score": score,
                "polygon": [x, 10, x + 100, 10, x + 100, 30, x, 30],
            }
            for index, (rank, text, x, score) in enumerate(lines)
        ],
        schema=schema,
    )
    places = [rank * STEP for rank in range(num_sampled)]
    frames = pa.table({"frame_index": places, "pts_seconds": [place / 10 for place in places]})
    op = TextSpans(TextSpansOptions(**options), {})
    # in no particular order
    upstream = {"text": rows.take(np.arange(rows.num_rows)[::-1].copy()), "frames": frames}
    table = op.combine(upstream, shard(num_sampled * STEP, 200, 100, num_sampled * STEP / 10))
    assert table.schema.equals(op.schema, check_metadata=True)
    assert set(TextSpans.after) == {Text.name, FramesOp.name}
    return [
        (r["start_seconds"], r["end_seconds"], r["text"], round(r["score"], 3), r["polygon"][0])
        for r in table.to_pylist()
    ]


def test_rows_of_neighbouring_frames_are_one_span() -> None:
    lines = [(1, "hello", 10, 0.8), (2, "hello", 12, 0.9), (3, "hello", 11, 0.7)]
    assert spans(lines) == [(0.5, 2.0, "hello", 0.9, 12.0)]


def test_a_sampled_frame_without_the_text_parts_spans() -> None:
    lines = [(1, "hello", 10, 0.8), (3, "hello", 10, 0.9)]
    assert spans(lines) == [(0.5, 1.0, "hello", 0.8, 10.0), (1.5, 2.0, "hello", 0.9, 10.0)]


def test_the_same_text_at_another_place_is_another_span() -> None:
    lines = [(0, "EXIT", 0, 0.9), (0, "EXIT", 300, 0.8), (1, "EXIT", 300, 0.7), (1, "EXIT", 0, 0.6)]
    assert spans(lines) == [(0.0, 1.0, "EXIT", 0.9, 0.0), (0.0, 1.0, "EXIT", 0.8, 300.0)]


def test_text_that_creeps_is_one_span_and_text_that_jumps_is_not() -> None:
    creeping = [(rank, "credits", 30.0 * rank, 0.9) for rank in range(4)]
    assert [line[:3] for line in spans(creeping)] == [(0.0, 2.0, "credits")]
    assert len(spans(creeping, overlap=0.9)) == 4
    assert len(spans([(0, "credits", 0, 0.9), (1, "credits", 60, 0.9)])) == 2


def test_the_last_span_ends_with_the_source() -> None:
    assert spans([(7, "The End", 10, 0.9)]) == [(3.5, 4.0, "The End", 0.9, 10.0)]


def test_other_text_at_the_same_place_is_another_span() -> None:
    assert [line[:3] for line in spans([(0, "1", 10, 0.9), (1, "2", 10, 0.9)])] == [
        (0.0, 0.5, "1"),
        (0.5, 1.0, "2"),
    ]


def test_no_text_gives_no_spans() -> None:
    assert spans([]) == []


@pytest.mark.parametrize("overlap", [0, 1.1])
def test_wrong_overlap_is_refused(overlap: float) -> None:
    with pytest.raises(UsageError, match=r"text_spans\.overlap is .*more than 0 and at most 1"):
        TextSpansOptions(overlap=overlap)
