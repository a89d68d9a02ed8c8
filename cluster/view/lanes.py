"""The lanes of a file's timeline: spans, curves and ticks along its seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from framemill.cluster.view.shots import ShotTables
from framemill.cluster.view.source_rows import Row, SourceRows

MAX_LANES = 5  # of one kind: the most frequent people, objects and sounds
MAX_SPANS = 300  # of one lane; beyond it the shortest are left out
MAX_TICKS = 2000
CURVE_POINTS = 400
LEAST_SOUND_SCORE = 0.3
FLOOR_DB = -60.0

Span = list[Any]  # start, end in seconds, and what it says
Lane = dict[str, Any]


class LaneTables:
    """The tables that lanes are made of beside those of shots, read once for all sources."""

    def __init__(self, rows: SourceRows) -> None:
        span = ["start_seconds", "end_seconds"]
        self.speech = rows.by_source("speech", span)
        self.speakers = rows.by_source("speakers", [*span, "speaker"])
        self.levels = rows.by_source("audio_levels", ["start_seconds", "rms_db", "channel"])
        self.sounds = rows.by_source("sounds", [*span, "label", "score"])
        self.music = rows.by_source("music_or_speech", [*span, "label"])
        self.beats = rows.by_source("beats", ["time_seconds", "tempo_bpm"])
        self.highlights = rows.by_source("highlights", [*span, "rank", "reasons"])
        self.texts = rows.by_source("text_spans", [*span, "text"])


def plan_lanes(shots: ShotTables, tables: LaneTables, source_id: str, seconds: float) -> list[Lane]:
    """The lanes of one source that have something in them; the shots themselves are not among them.

    Returns:
        Per lane: kind, name, and `spans` (start, end, text), `ticks` (seconds) or `curve` (0..1, evenly over
        the file).
    """

    def of(table: Mapping[str, list[Row]]) -> list[Row]:
        return table.get(source_id, [])

    lanes: list[Lane] = []
    picked = [[*_times(row), ", ".join(row["reasons"] or ())] for row in of(tables.highlights)]
    lanes.append({"kind": "highlight", "name": "highlights", "spans": picked})
    lanes += [
        {"kind": "speech", "name": "speech", "spans": [[*_times(row), ""] for row in of(tables.speech)]}
    ]
    turns: dict[str, list[Span]] = {}
    for row in of(tables.speakers):
        turns.setdefault(row["speaker"], []).append([*_times(row), row["speaker"]])
    lanes += [
        {"kind": "speaker", "name": name.replace("_", " "), "spans": own} for name, own in turns.items()
    ]
    lanes.append({"kind": "loudness", "name": "loudness", "curve": _curve(of(tables.levels), seconds)})

    sampled = [row["pts_seconds"] for row in of(shots.frames)]
    people = shots.people.get(source_id, {})
    faces = [
        (row["pts_seconds"], people.get((row["frame_index"], row["face_index"]), ""))
        for row in of(shots.faces)
    ]
    for person, spans in _seen(faces, sampled, seconds):
        lanes.append({"kind": "face", "name": f"person {person}" if person else "faces", "spans": spans})
    things = ((row["pts_seconds"], row["label"]) for row in of(shots.objects))
    lanes += [
        {"kind": "object", "name": label, "spans": spans} for label, spans in _seen(things, sampled, seconds)
    ]
    texts = [[*_times(row), row["text"]] for row in of(tables.texts)]
    lanes.append({"kind": "text", "name": "text", "spans": texts})
    lanes += [{"kind": "sound", "name": name, "spans": own} for name, own in _heard(of(tables.sounds))]
    music = [[*_times(row), row["label"].replace("_", " ")] for row in of(tables.music)]
    lanes.append({"kind": "sound", "name": "music, speech", "spans": music})
    beats = of(tables.beats)
    tempo = f" {beats[0]['tempo_bpm']:.0f} bpm" if beats else ""
    ticks = [round(row["time_seconds"], 2) for row in beats[:MAX_TICKS]]
    lanes.append({"kind": "beat", "name": f"beats{tempo}", "ticks": ticks})
    for lane in lanes:
        if len(lane.get("spans", ())) > MAX_SPANS:
            kept = sorted(lane["spans"], key=lambda span: span[0] - span[1])[:MAX_SPANS]
            lane["spans"] = sorted(kept, key=lambda span: (span[0], span[1]))
    return [lane for lane in lanes if any(lane.get(key) for key in ("spans", "curve", "ticks"))]


def _times(row: Row) -> list[float]:
    return [round(row["start_seconds"], 2), round(row["end_seconds"], 2)]


def _curve(levels: Sequence[Row], seconds: float) -> list[float]:
    """The loudest level of each piece, 0 (`FLOOR_DB` or less) to 1 (full scale)."""
    if not levels or seconds <= 0:
        return []
    points = min(CURVE_POINTS, max(1, round(seconds * 10)))
    curve = [0.0] * points
    for row in levels:
        at = min(points - 1, max(0, int(row["start_seconds"] / seconds * points)))
        curve[at] = max(curve[at], round(1 - max(FLOOR_DB, min(0.0, row["rms_db"])) / FLOOR_DB, 2))
    return curve


def _seen(
    sightings: Iterable[tuple[float, str]], sampled: Sequence[float], seconds: float
) -> list[tuple[str, list[Span]]]:
    """Per name, most frequent first, the stretches of sampled frames that show it.

    A sampled frame speaks for the time until the next one.
    """
    follows = dict(zip(sampled, [*sampled[1:], seconds], strict=True)) if sampled else {}
    times: dict[str, set[float]] = {}
    for at, name in sightings:
        times.setdefault(name, set()).add(at)
    most = Counter({name: len(own) for name, own in times.items()}).most_common(MAX_LANES)
    return [
        (name, _joined(((at, follows.get(at, at)) for at in sorted(times[name])), name)) for name, _ in most
    ]


def _heard(sounds: Sequence[Row]) -> list[tuple[str, list[Span]]]:
    windows: dict[str, list[tuple[float, float]]] = {}
    for row in sounds:
        if row["score"] >= LEAST_SOUND_SCORE:
            windows.setdefault(row["label"], []).append((row["start_seconds"], row["end_seconds"]))
    most = sorted(windows, key=lambda name: -len(windows[name]))[:MAX_LANES]
    return [(name, _joined(windows[name], name)) for name in most]


def _joined(stretches: Iterable[tuple[float, float]], name: str) -> list[Span]:
    """Stretches in order of time, those that touch as one."""
    spans: list[Span] = []
    for start, end in stretches:
        if spans and start <= spans[-1][1] + 0.01:
            spans[-1][1] = max(spans[-1][1], round(end, 2))
        else:
            spans.append([round(start, 2), round(end, 2), name])
    return spans
