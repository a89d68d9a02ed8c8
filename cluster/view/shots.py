"""What a page shows of each shot: times, the frame that stands for it, boxes in that frame, labels."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from framemill.cluster.exports.stretches import MARKER_LABELS
from framemill.cluster.view.best_frames import find_best_frames
from framemill.cluster.view.source_rows import Row, SourceRows
from framemill.cluster.view.stills import Box

MAX_BOXES = 12  # of a still: more cannot be told apart at its size
MAX_LABELS = 4
# Below these scores a label says more of the model than of the picture.
LEAST_LABEL_SCORE = 0.2

BySource = dict[str, list[Row]]


class ShotTables:
    """The tables that shots are made of, read once for all sources.

    Args:
        media: the row of each source. Without `scenes` a file with a picture is one shot.
    """

    def __init__(self, rows: SourceRows, media: Mapping[str, Row]) -> None:
        self.frames = rows.by_source("frames", ["pts_seconds"])
        for source, seen in rows.by_source("preview", ["pts_seconds"]).items():
            self.frames.setdefault(source, seen)
        times = ["start_seconds", "end_seconds", "start_frame", "end_frame", "transition"]
        self.scenes = rows.by_source("scenes", ["scene_index", *times])
        for source, row in media.items():
            self.scenes.setdefault(source, _whole(row))
        self.best = find_best_frames(rows, self.scenes)
        self.objects = rows.by_source("objects", ["frame_index", "pts_seconds", "label", "score", "box"])
        self.faces = rows.by_source("faces", ["frame_index", "pts_seconds", "face_index", "score", "box"])
        self.text = rows.by_source("text", ["frame_index", "pts_seconds", "text", "polygon"])
        self.labels = rows.by_source("labels", ["frame_index", "pts_seconds", "rank", "label", "score"])
        self.moderation = rows.by_source("moderation", ["frame_index", "unsafe"])
        people = rows.by_source("people", ["frame_index", "face_index", "person_id"])
        self.people = {
            source: {(row["frame_index"], row["face_index"]): str(row["person_id"]) for row in own}
            for source, own in people.items()
        }


def plan_shots(tables: ShotTables, source_id: str) -> list[Row]:
    """The shots of one source, as the page reads them.

    Returns:
        Per shot: start, end (seconds), first, last (frames, half-open), transition, frame and at (frame index
        and seconds of the still: the best sampled frame, or the middle where none was sampled), boxes (kind,
        name, x0, y0, x1, y1 in display pixels), labels, marker: what an EDL says of it, and
        unsafe: the highest score of `moderation`, None where there is none.
    """
    shots = []
    for scene in tables.scenes.get(source_id, []):
        start, end = scene["start_seconds"], scene["end_seconds"]
        best = tables.best.get((source_id, scene["scene_index"]))
        middle = (scene["start_frame"] + max(scene["start_frame"], scene["end_frame"] - 1)) // 2
        frame = middle if best is None else best.frame_index
        shots.append(
            {
                "start": round(start, 3),
                "end": round(end, 3),
                "first": scene["start_frame"],
                "last": scene["end_frame"],
                "transition": scene["transition"],
                "frame": frame,
                "at": round((start + end) / 2 if best is None else best.pts_seconds, 3),
                "boxes": _boxes(tables, source_id, frame),
                "labels": _labels(tables, source_id, start, end),
                "marker": _marker(tables, source_id, scene),
                "unsafe": max(
                    (row["unsafe"] for row in _in_frames(tables.moderation, source_id, scene)), default=None
                ),
            }
        )
    return shots


def poster_of(tables: ShotTables, source_id: str) -> int:
    """Position of the shot that stands for a source, that with the best frame; -1 where there is no shot."""
    scenes = tables.scenes.get(source_id, [])
    best = [tables.best.get((source_id, scene["scene_index"])) for scene in scenes]
    ranks = [len(scenes) if one is None else one.rank for one in best]
    return ranks.index(min(ranks)) if ranks else -1


def _whole(media: Mapping[str, Any]) -> list[Row]:
    if not media.get("video_codec") or not media.get("num_frames"):
        return []
    times = {"start_seconds": 0.0, "end_seconds": media.get("duration_seconds") or 0.0}
    frames = {"start_frame": 0, "end_frame": media["num_frames"]}
    return [{"scene_index": 0, **times, **frames, "transition": "start"}]


def between(rows: Sequence[Row], start: float, end: float) -> Sequence[Row]:
    """Rows of one source, in order of `pts_seconds`, within a half-open range of seconds."""
    seconds = itemgetter("pts_seconds")
    return rows[bisect_left(rows, start, key=seconds) : bisect_left(rows, end, key=seconds)]


def corners(box: Mapping[str, float]) -> Box:
    """A box of a table as x0, y0, x1, y1, in tenths of a display pixel."""
    return (round(box["x0"], 1), round(box["y0"], 1), round(box["x1"], 1), round(box["y1"], 1))


def _boxes(tables: ShotTables, source_id: str, frame: int) -> list[list[Any]]:
    people = tables.people.get(source_id, {})
    found: list[list[Any]] = []
    for row in _of_frame(tables.faces.get(source_id, []), frame):
        name = people.get((frame, row["face_index"]), "face")
        found.append(["face", name if name == "face" else f"person {name}", *corners(row["box"])])
    objects = sorted(_of_frame(tables.objects.get(source_id, []), frame), key=lambda row: -row["score"])
    found += [["object", row["label"], *corners(row["box"])] for row in objects]
    for row in _of_frame(tables.text.get(source_id, []), frame):
        x, y = row["polygon"][::2], row["polygon"][1::2]
        edges = {"x0": min(x), "y0": min(y), "x1": max(x), "y1": max(y)}
        found.append(["text", row["text"], *corners(edges)])
    return found[:MAX_BOXES]


def _of_frame(rows: Sequence[Row], frame: int) -> Sequence[Row]:
    index = itemgetter("frame_index")
    return rows[bisect_left(rows, frame, key=index) : bisect_right(rows, frame, key=index)]


def _labels(tables: ShotTables, source_id: str, start: float, end: float) -> list[list[Any]]:
    """What is seen: objects with the most of a kind at once, then classes of whole frames with scores."""
    at_once: Counter[str] = Counter()
    counts = Counter(
        (row["frame_index"], row["label"]) for row in between(tables.objects.get(source_id, []), start, end)
    )
    for (_, label), number in counts.items():
        at_once[label] = max(at_once[label], number)
    scores: dict[str, float] = {}
    for row in between(tables.labels.get(source_id, []), start, end):
        if row["score"] >= LEAST_LABEL_SCORE:
            scores[row["label"]] = max(scores.get(row["label"], 0.0), row["score"])
    best = sorted(scores.items(), key=lambda item: -item[1])[:MAX_LABELS]
    objects = [[label, number, 0] for label, number in at_once.most_common(MAX_LABELS)]
    return [*objects, *([label, 0, round(score, 2)] for label, score in best)]


def _marker(tables: ShotTables, source_id: str, scene: Row) -> str:
    """Labels by the number of frames that show them, as `labels` of the view `shots` has them."""
    seen = {(row["frame_index"], row["label"]) for row in _in_frames(tables.objects, source_id, scene)}
    found = _in_frames(tables.labels, source_id, scene)
    seen |= {(row["frame_index"], row["label"]) for row in found if row["rank"] == 0}
    counts = Counter(label for _, label in seen)
    return ", ".join(sorted(counts, key=lambda label: (-counts[label], label))[:MARKER_LABELS])


def _in_frames(rows: BySource, source_id: str, scene: Row) -> Sequence[Row]:
    own, index = rows.get(source_id, []), itemgetter("frame_index")
    return own[
        bisect_left(own, scene["start_frame"], key=index) : bisect_left(own, scene["end_frame"], key=index)
    ]
