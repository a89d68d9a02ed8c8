"""Text over time: rows of `text` with the same text at the same place, joined to spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.errors import UsageError
from framemill.ops.at_first_use import pc
from framemill.ops.chunks import Float32Array, Float64Array, ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import TableOp
from framemill.ops.pixels.boxes import overlaps


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSpansOptions:
    """Options of `text_spans`.

    Attributes:
        overlap: least overlap of the boxes around two rows for the same place, as intersection over
            union, more than 0 and at most 1.
    """

    overlap: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.overlap <= 1:
            raise UsageError(f"text_spans.overlap is {self.overlap}; it must be more than 0 and at most 1")


@dataclass(slots=True)
class _Span:
    """A text at one place: ranks of its first and last sampled frame, its last box, its best row."""

    first: int
    last: int
    box: Float32Array
    best: int


class TextSpans(TableOp):
    """Joins rows over consecutive sampled frames, which are those of the table `frames`.

    Each row goes to that span of the same text which reached the sampled frame before and overlaps the row
    most; otherwise it starts a span.
    """

    name = "text_spans"
    after = ("frames", "text")
    Options = TextSpansOptions
    schema = pa.schema(
        [
            column("start_seconds", pa.float64(), "time of the first sampled frame that shows it, >= 0"),
            column(
                "end_seconds",
                pa.float64(),
                "time of the first sampled frame that does not show it any more, or the end of the source",
            ),
            column("text", pa.string(), "what the line says"),
            column("score", pa.float32(), "of the row that was read best, 0..1"),
            column(
                "polygon",
                pa.list_(pa.float32()),
                "of the row that was read best: x, y of the four corners in display pixels, 8 values, "
                "clockwise from the top left",
            ),
        ]
    )

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        rows = upstream["text"].sort_by([("frame_index", "ascending"), ("text_index", "ascending")])
        if not rows.num_rows:
            return self.schema.empty_table()
        frame_index, pts_seconds = (
            np.concatenate([table[name].to_numpy() for table in (upstream["frames"], rows)])
            for name in ("frame_index", "pts_seconds")
        )
        frames, first_at = np.unique(frame_index, return_index=True)
        starts: Float64Array = pts_seconds[first_at]
        ends = np.append(starts[1:], max(source.duration_seconds, starts[-1]))
        spans = self._spans(rows, np.searchsorted(frames, rows["frame_index"].to_numpy()))
        best = rows.take(pa.array([span.best for span in spans], pa.int64()))
        values: dict[str, Any] = {
            "start_seconds": starts[[span.first for span in spans]],
            "end_seconds": ends[[span.last for span in spans]],
        }
        arrays = [
            pa.array(values[kind.name]) if kind.name in values else pc.cast(best[kind.name], kind.type)
            for kind in self.schema
        ]
        return pa.table(arrays, schema=self.schema)

    def _spans(self, rows: pa.Table, ranks: npt.NDArray[np.int64]) -> list[_Span]:
        """Spans by the first row of each. Ranks are positions among the sampled frames, in order."""
        texts, scores = rows["text"].to_pylist(), rows["score"].to_numpy()
        corners = np.asarray(rows["polygon"].combine_chunks().flatten()).reshape(-1, 4, 2)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        spans: list[_Span] = []
        current: dict[str, list[_Span]] = {}
        for row, (rank, text) in enumerate(zip(ranks.tolist(), texts, strict=True)):
            same = current.setdefault(text, [])
            same[:] = [span for span in same if span.last >= rank - 1]
            before = [span for span in same if span.last == rank - 1]
            shared = overlaps(boxes[row], np.array([s.box for s in before], np.float32).reshape(-1, 4))
            if len(before) and shared.max() >= self.options.overlap:
                span = before[int(shared.argmax())]
                span.last, span.box = rank, boxes[row]
                span.best = row if scores[row] > scores[span.best] else span.best
            else:
                same.append(_Span(rank, rank, boxes[row], row))
                spans.append(same[-1])
        return spans
