"""Shots or clips that captions are asked for: frames that show them, and what other tables know of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows
from framemill.cluster.results.queries import ask
from framemill.cluster.results.shot_rows import READ

# What captions can be of -> the table that has them.
KINDS = {"shots": "scenes", "clips": "clips"}
_SHOT = ("scene_index", "start_seconds", "end_seconds", "start_frame", "end_frame")
_FACTS = ("source_id", *_SHOT, "name", "best_frame", "words", "text", "labels")


@dataclass(frozen=True, slots=True)
class Unit:
    """A shot or clip.

    Attributes:
        key: shot or clip, scene_index, clip_index. frames: ascending indices of those that are shown.
        facts: values for the fields of the prompt.
    """

    source_id: str
    key: tuple[str, int | None, int | None]
    start_seconds: float
    end_seconds: float
    frames: tuple[int, ...]
    facts: Mapping[str, object]


def read_units(dataset: Dataset, of: str, sources: Sequence[str], where: str, num_frames: int) -> list[Unit]:
    """Those of some sources, by source and time.

    Args:
        of: see `KINDS`. where: a condition on the view `shots`; empty for all. num_frames: most a unit.

    Raises:
        UsageError: the condition is wrong.
        DatasetError: a part cannot be read.
    """
    shots = _shots(dataset, sources, where)
    sampled = _sampled(dataset, sources)
    if of == "shots":
        return [
            _unit(("shot", shot["scene_index"], None), shot, [shot], sampled, num_frames)
            for own in shots.values()
            for shot in own
        ]
    rows = read_rows(dataset.root, "clips", dataset.state.parts_of("clips"), sources)
    units = []
    for clip in [] if rows is None else rows.to_pylist():
        if clip["kept"]:
            own = [shot for shot in shots.get(clip["source_id"], ()) if _meet(shot, clip)]
            key = ("clip", clip["scene_index"], clip["clip_index"])
            units.append(_unit(key, clip, own, sampled, num_frames))
    return units


def _shots(dataset: Dataset, sources: Sequence[str], where: str) -> dict[str, list[dict[str, Any]]]:
    """Content id -> its shots in order of time."""
    if "scenes" not in dataset.state.keys:  # clips of strides need none
        return {}
    # On lines of its own, a condition that ends in a comment leaves the rest of the statement alone.
    condition = f"AND (\n{where}\n)" if where else ""
    ids = ", ".join(f"'{source}'" for source in sources)
    sql = (
        f"SELECT {', '.join(_FACTS)} FROM shots WHERE source_id IN ({ids}) {condition} "
        "ORDER BY source_id, scene_index"
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for row in ask(dataset.narrowed((*READ, "clips"), sources), sql).rows:
        shot = dict(zip(_FACTS, row, strict=True))
        found.setdefault(shot["source_id"], []).append(shot)
    return found


def _sampled(dataset: Dataset, sources: Sequence[str]) -> dict[str, list[tuple[float, int]]]:
    """Content id -> time and index of its sampled frames, in order."""
    columns = ("source_id", "pts_seconds", "frame_index")
    rows = read_rows(dataset.root, "frames", dataset.state.parts_of("frames"), sources, columns)
    found: dict[str, list[tuple[float, int]]] = {}
    for row in [] if rows is None else rows.to_pylist():
        found.setdefault(row["source_id"], []).append((row["pts_seconds"], row["frame_index"]))
    return {source: sorted(frames) for source, frames in found.items()}


def _unit(
    key: tuple[str, int | None, int | None],
    span: Mapping[str, Any],
    shots: Sequence[Mapping[str, Any]],
    sampled: Mapping[str, Sequence[tuple[float, int]]],
    num_frames: int,
) -> Unit:
    source, start, end = span["source_id"], span["start_seconds"], span["end_seconds"]
    times = sampled.get(source, ())
    inside = [n for _, n in times[bisect_left(times, (start, -1)) : bisect_left(times, (end, -1))]]
    best = shots[0]["best_frame"] if len(shots) == 1 else None
    if inside:
        frames = [best] if num_frames == 1 and best in inside else _spread(inside, num_frames)
    elif span["start_frame"] is not None:  # too short for the policy that sampled: its own frames
        frames = _spread(range(span["start_frame"], span["end_frame"]), num_frames)
    else:
        frames = []
    facts = {
        "name": shots[0]["name"] if shots else "",
        "start_seconds": float(start),
        "end_seconds": float(end),
        "words": " ".join(filter(None, (shot["words"] for shot in shots))),
        "text": " / ".join(_distinct(shots, "text")),
        "labels": ", ".join(_distinct(shots, "labels")),
    }
    return Unit(source, key, start, end, tuple(frames), facts)


def _spread(frames: Sequence[int], count: int) -> list[int]:
    """So many of them, evenly, away from the ends, where fades and dissolves are."""
    if len(frames) <= count:
        return list(frames)
    return [frames[int((place + 0.5) * len(frames) / count)] for place in range(count)]


def _distinct(shots: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(value for shot in shots for value in shot[name] or ()))


def _meet(shot: Mapping[str, Any], clip: Mapping[str, Any]) -> bool:
    return bool(shot["start_seconds"] < clip["end_seconds"] and shot["end_seconds"] > clip["start_seconds"])
