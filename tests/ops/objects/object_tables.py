"""Rows of `objects` and of other tables, made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from framemill.ops.objects.objects import Objects

# frame, label, score, (x0, y0, x1, y1)
Thing = tuple[int, str, float, tuple[float, float, float, float]]
LABELS = ("person", "bicycle", "car")


def objects_table(things: Sequence[Thing], fps: float = 10.0) -> pa.Table:
    """Rows in the schema of `objects`; an object's index is its position among those of its frame."""
    seen: dict[int, int] = {}
    rows = []
    for frame, label, score, box in things:
        rows.append(
            {
                "frame_index": frame,
                "pts_seconds": frame / fps,
                "object_index": seen.setdefault(frame, 0),
                "label": label,
                "label_index": LABELS.index(label),
                "score": score,
                "box": dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
            }
        )
        seen[frame] += 1
    return pa.Table.from_pylist(rows, schema=Objects.schema)
