"""Boxes of each sampled frame of a stretch of a file, to be drawn over the video that plays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    "poses": ("person_index", "keypoints"),
    "text": ("text_index", "text", "polygon"),
}
LEAST_POINT_SCORE = 0.3  # of a point of a body: below, most are where nothing of it can be seen
# By the names that all models of poses share; each but the head on both sides.
_LIMBS = [
    *(("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")),
    *(
        (f"{side}_{start}", f"{side}_{end}")
        for side in ("left", "right")
        for start, end in (
            *(("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip")),
            *(("hip", "knee"), ("knee", "ankle"), ("eye", "ear")),
        )
    ),
    *(("nose", "left_eye"), ("nose", "right_eye")),
]


def boxes_between(
    dataset: Dataset, source_id: str, start: float, end: float, names: Mapping[str, str]
) -> list[list[Any]]:
    """Seconds and boxes of each sampled frame; one that shows nothing has none, which ends those before it.

    A box is kind, name, x0, y0, x1, y1 in display pixels; that of a pose is around what is seen of the body,
    and has a list of its limbs, each x0, y0, x1, y1, behind.
    Names hold the person of a face and the track of an object, where they are known.

    Args:
        start, end: in seconds, half-open.
        names: what people call persons, by id.

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
            limbs = []
            if table == "poses":
                seen = _seen(row["keypoints"])
                if not seen:
                    continue
                x, y = [at[0] for at in seen.values()], [at[1] for at in seen.values()]
                box, name = corners({"x0": min(x), "y0": min(y), "x1": max(x), "y1": max(y)}), "pose"
                limbs = [[[*seen[a], *seen[b]] for a, b in _LIMBS if a in seen and b in seen]]
            elif table == "text":
                x, y = row["polygon"][::2], row["polygon"][1::2]
                box, name = corners({"x0": min(x), "y0": min(y), "x1": max(x), "y1": max(y)}), row["text"]
            else:
                box, name = corners(row["box"]), row.get("label") or "face"
                person = people.get((row["frame_index"], row[number])) if table == "faces" else None
                if person is not None:
                    name = names.get(str(person)) or f"person {person}"
                track = tracks.get((table, row["frame_index"], row[number]))
                name = f"{name} #{track}" if track is not None else name
            kind = table.removesuffix("s")
            frames.setdefault(round(row["pts_seconds"], 3), []).append([kind, name, *box, *limbs])
    return [[at, boxes] for at, boxes in sorted(frames.items())]


def _seen(keypoints: Sequence[Mapping[str, Any]] | None) -> dict[str, tuple[float, float]]:
    """Points of a body by name, in tenths of a display pixel."""
    return {
        point["name"]: (round(point["x"], 1), round(point["y"], 1))
        for point in keypoints or ()
        if point["score"] >= LEAST_POINT_SCORE
    }
