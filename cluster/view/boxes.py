"""Boxes of each sampled frame of a stretch of a file, to be drawn over the video that plays."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.shots import corners
from framemill.cluster.view.source_tables import source_tables
from framemill.errors import DatasetError, UsageError

MAX_SECONDS = 600.0
_KINDS = {
    "faces": ("face_index", "box"),
    "objects": ("object_index", "label", "box"),
    "text": ("text_index", "text", "polygon"),
}


def boxes_between(dataset: Dataset, source_id: str, start: float, end: float) -> list[list[Any]]:
    """Seconds and boxes of each sampled frame; one that shows nothing has none, which ends those before it.

    A box is kind, name, x0, y0, x1, y1 in display pixels.
    Names hold the person of a face and the track of an object, where they are known.

    Args:
        start, end: in seconds, half-open.

    Raises:
        UsageError: the stretch is longer than `MAX_SECONDS`.
        DatasetError: a part cannot be read.
    """
    if not 0 <= end - start <= MAX_SECONDS:
        raise UsageError(f"boxes of {start:g} to {end:g} s: ask for 0 to {MAX_SECONDS:g} s at once")
    tables = source_tables(dataset.root, dataset.state, (*_KINDS, "frames", "people", "tracks"), [source_id])
    inside = (pc.field("pts_seconds") >= start) & (pc.field("pts_seconds") < end)

    def rows(name: str, *columns: str, within: pc.Expression | None = None) -> list[dict[str, Any]]:
        if name not in tables or not set(columns) <= set(tables[name].schema.names):
            return []
        try:
            found: list[dict[str, Any]] = (
                tables[name].to_table(columns=list(columns), filter=within).to_pylist()
            )
            return found
        except (pa.ArrowException, OSError) as exc:
            raise DatasetError(f"table {name} cannot be read: {exc}; run the command again") from exc

    people = {
        (row["frame_index"], row["face_index"]): row["person_id"]
        for row in rows("people", "frame_index", "face_index", "person_id")
    }
    tracks = {
        (row["table"], row["frame_index"], row["item_index"]): row["track_id"]
        for row in rows("tracks", "table", "frame_index", "item_index", "track_id", within=inside)
    }
    frames: dict[float, list[Any]] = {
        round(row["pts_seconds"], 3): [] for row in rows("frames", "pts_seconds", within=inside)
    }
    for table, (number, *columns) in _KINDS.items():
        found = rows(table, "pts_seconds", "frame_index", number, *columns, within=inside)
        for row in sorted(found, key=lambda row: (row["frame_index"], row[number])):
            if table == "text":
                x, y = row["polygon"][::2], row["polygon"][1::2]
                box, name = corners({"x0": min(x), "y0": min(y), "x1": max(x), "y1": max(y)}), row["text"]
            else:
                box, name = corners(row["box"]), row.get("label") or "face"
                person = people.get((row["frame_index"], row[number])) if table == "faces" else None
                name = f"person {person}" if person is not None else name
                track = tracks.get((table, row["frame_index"], row[number]))
                name = f"{name} #{track}" if track is not None else name
            kind = {"faces": "face", "objects": "object", "text": "text"}[table]
            frames.setdefault(round(row["pts_seconds"], 3), []).append([kind, name, *box])
    return [[at, boxes] for at, boxes in sorted(frames.items())]
