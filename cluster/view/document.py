"""What a page shows of a result folder, as plain data: `plan_document` reads tables, and decodes nothing."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from framemill.actors.object_store import is_remote
from framemill.cluster.editing.timeline_files import reel_names
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.run.sources import paths_of
from framemill.cluster.view.lanes import LaneTables, plan_lanes
from framemill.cluster.view.overview import MAX_FAILURES, failures, histograms, runs
from framemill.cluster.view.shots import ShotTables, corners, plan_shots, poster_of
from framemill.cluster.view.source_rows import Row, SourceRows
from framemill.cluster.view.stills import Stills, Wanted

MAX_SHOTS = 20_000
MAX_FILES = 2_000
MAX_PEOPLE, MAX_SIGHTINGS = 40, 5
MAX_GROUPS, MAX_TWINS = 24, 4

Document = dict[str, Any]
_MEDIA = (
    *("uri", "num_bytes", "container", "duration_seconds", "start_seconds", "status"),
    *("video_codec", "width", "height", "rotation_degrees", "pixel_format", "bit_depth"),
    *(
        "fps",
        "start_timecode",
        "is_variable_rate",
        "num_frames",
        "audio_codec",
        "sample_rate",
        "num_channels",
    ),
)
# Measured in Chromium: what it plays of each kind of file. No HEVC, which few machines play.
_PLAYED = {
    "mp4": {"h264", "av1", "vp9"},
    "webm": {"vp8", "vp9", "av1"},
    "sound": {"mp3", "flac", "wav", "ogg", "opus", "aac", "m4a"},
}


def plan_document(dataset: Dataset, stills: Stills, rows: SourceRows, sources: Sequence[str]) -> Document:
    """Everything a page says of some sources of a result folder; pictures are numbers in `stills`.

    Args:
        rows: reads the tables of `sources`.
        sources: content ids, in the order to be shown.
    """
    media = media_of(rows)
    shots = ShotTables(rows, media)
    files = plan_files(dataset, stills, rows, media, shots, sources)
    models, past, costs = runs(rows)
    failed = failures(rows)
    return {
        "title": PurePosixPath(str(dataset.root)).name or str(dataset.root),
        "totals": {
            "files": len(dataset.state.sources),
            "seconds": round(sum(record.duration_seconds for record in dataset.state.sources.values()), 1),
            "bytes": sum(record.num_bytes for record in dataset.state.sources.values()),
            "shots": sum(len(file["shots"]) for file in files),
            "failed": len({row["uri"] for row in failed if row["operation"] == "*"}),
            "partial": sum(file["status"] == "partial" for file in files),
        },
        "failures": failed[:MAX_FAILURES],
        "models": models,
        "runs": past,
        "costs": costs,
        "histograms": histograms(files),
        "tables": sorted(name for name in dataset.state.keys if name in rows),
        "files": files,
        "people": _people(shots, stills, sources),
        "twins": _twins(rows, stills, sources, files),
    }


def media_of(rows: SourceRows) -> dict[str, Row]:
    """Content id -> its row of `media`."""
    return {source: own[0] for source, own in rows.by_source("media", _MEDIA).items()}


def plan_files(
    dataset: Dataset,
    stills: Stills,
    rows: SourceRows,
    media: Mapping[str, Row],
    shots: ShotTables,
    sources: Sequence[str],
) -> list[Row]:
    """What a page says of each of some sources: facts, shots, lanes, words and text on screen.

    Args:
        rows: reads the tables of `sources`. media, shots: read by it.
    """
    uris = uris_by_source(dataset)
    reels = reel_names(sorted(own[0] for own in uris.values()))
    lanes = LaneTables(rows)
    words = rows.by_source("transcript", ["start_seconds", "end_seconds", "text", "origin", "words"])
    texts = rows.by_source("text_spans", ["start_seconds", "end_seconds", "text"])
    files: list[Row] = []
    for source in sources:
        described = media.get(source, {})
        uri = uris[source][0]
        seconds = described.get("duration_seconds") or dataset.state.sources[uri].duration_seconds
        planned = plan_shots(shots, source)
        for shot in planned:
            shot["still"] = stills.number(Wanted(source, shot["frame"]))
        files.append(
            {
                "id": source,
                "uri": uri,
                "name": PurePosixPath(uri).name or uri,
                "copies": uris[source][1:],
                "url": playable_url(uri, described),
                "seconds": round(seconds, 3),
                "fps": described.get("fps") or 0.0,
                "varies": bool(described.get("is_variable_rate")),
                "timecode": described.get("start_timecode") or "",
                "reel": reels[uri],
                "width": described.get("width") or 0,
                "height": described.get("height") or 0,
                "offset": described.get("start_seconds") or 0.0,
                "status": described.get("status") or "ok",
                "codec": described.get("video_codec") or described.get("audio_codec") or "",
                "facts": _facts(described, seconds),
                "shots": planned,
                "poster": poster_of(shots, source),
                "lanes": plan_lanes(shots, lanes, source, seconds),
                "words": [_segment(row) for row in words.get(source, [])],
                "texts": _texts(texts.get(source, []), shots.text.get(source, [])),
            }
        )
    return files


def choose_sources(dataset: Dataset, rows: SourceRows) -> list[str]:
    """The sources that a page shows: by path, until `MAX_FILES` or `MAX_SHOTS` are reached."""
    counts = Counter(row["source_id"] for row in rows.rows("scenes", ["source_id"], order="source_id"))
    chosen: list[str] = []
    total = 0
    for source in shown_sources(dataset)[:MAX_FILES]:
        total += max(1, counts[source])
        if total > MAX_SHOTS and chosen:
            break
        chosen.append(source)
    return chosen


def shown_sources(dataset: Dataset) -> list[str]:
    """Sources of which there is at least one table, by path; others stand among the failures."""
    done = {owner for (_, owner), entry in dataset.state.entries.items() if entry.status in ("ok", "partial")}
    uris = uris_by_source(dataset)
    # The entries of `media` belong to paths, those of all others to contents.
    shown = [source for source, own in uris.items() if source in done or not done.isdisjoint(own)]
    return sorted(shown, key=lambda source: uris[source][0])


def playable_url(uri: str, media: Mapping[str, Any]) -> str:
    """A file URL where browsers play such a file, and "" elsewhere."""
    if is_remote(uri) or not media:
        return ""
    kinds = set((media["container"] or "").split(","))
    ending = PurePosixPath(uri).suffix.lower().lstrip(".")
    codec = media["video_codec"]
    if codec is None:
        plays = ending in _PLAYED["sound"]
    elif "mp4" in kinds:
        plays = codec in _PLAYED["mp4"] and (
            codec != "h264" or media["pixel_format"] in ("yuv420p", "yuvj420p")
        )
    else:
        plays = ending == "webm" and codec in _PLAYED["webm"]
    path = next((path for path in paths_of(uri) if os.path.isfile(path)), "")
    return Path(os.path.abspath(path)).as_uri() if plays and path else ""


def _facts(media: Mapping[str, Any], seconds: float) -> list[list[str]]:
    if not media:
        return []
    names = (media["container"] or "").split(",")
    ending = PurePosixPath(media["uri"]).suffix.lower().lstrip(".")
    facts = [["container", ending if ending in names else names[0]]]
    if media["video_codec"]:
        depth = f", {media['bit_depth']} bit" if (media["bit_depth"] or 8) != 8 else ""
        rate = f"{media['fps']:.3f}".rstrip("0").rstrip(".") if media["fps"] else "?"
        varies = ", varies" if media["is_variable_rate"] else ""
        facts += [
            ["picture", f"{media['video_codec']} {media['width']} x {media['height']}{depth}"],
            ["rate", f"{rate} fps{varies}"],
            ["frames", f"{media['num_frames']:,}"],
        ]
    if media["audio_codec"]:
        rate = f"{(media['sample_rate'] or 0) / 1000:g} kHz"
        facts.append(["sound", f"{media['audio_codec']} {rate}, {media['num_channels']} ch"])
    if media["rotation_degrees"]:
        facts.append(["turned by", f"{media['rotation_degrees']} degrees"])
    if seconds and media["num_bytes"]:
        facts.append(["data rate", f"{media['num_bytes'] * 8 / seconds / 1e6:.2f} Mbit/s"])
    return facts


def _segment(row: Row) -> list[Any]:
    """Start, end, text, origin, and words as start and text."""
    words = [[round(word["start_seconds"], 2), word["text"]] for word in row["words"] or ()]
    return [round(row["start_seconds"], 2), round(row["end_seconds"], 2), row["text"], row["origin"], words]


def _texts(spans: Sequence[Row], lines: Sequence[Row]) -> list[list[Any]]:
    """Text on screen as the first and the last second that show it, and text; of lines where no spans are."""
    if spans:
        # Spans end at the first sampled frame without the text, which may lie in a shot that never showed it.
        times = sorted(row["pts_seconds"] for row in lines)
        shown = []
        for row in spans:
            before = bisect_left(times, row["end_seconds"])
            last = max(row["start_seconds"], times[before - 1]) if before else row["end_seconds"]
            shown.append([round(row["start_seconds"], 3), round(last, 3), row["text"]])
        return shown
    found: dict[str, list[Any]] = {}
    for row in lines:
        at = round(row["pts_seconds"], 2)
        found.setdefault(row["text"], [at, at, row["text"]])[1] = at
    return list(found.values())


def _people(shots: ShotTables, stills: Stills, sources: Sequence[str]) -> list[Row]:
    """The most frequent people: id, number of faces, up to `MAX_SIGHTINGS` sightings with a picture each."""
    seen: dict[str, list[tuple[float, int, Row]]] = {}
    for position, source in enumerate(sources):
        names = shots.people.get(source, {})
        for face in shots.faces.get(source, []) if names else ():
            person = names.get((face["frame_index"], face["face_index"]))
            if person is not None:
                box = corners(face["box"])
                area = (box[2] - box[0]) * (box[3] - box[1])
                seen.setdefault(person, []).append((area * face["score"], position, face))
    people = []
    for person, faces in sorted(seen.items(), key=lambda item: -len(item[1]))[:MAX_PEOPLE]:
        best = sorted(faces, key=lambda face: -face[0])[:MAX_SIGHTINGS]
        sightings = [
            {
                "file": position,
                "at": round(face["pts_seconds"], 3),
                "still": stills.number(Wanted(sources[position], face["frame_index"], corners(face["box"]))),
            }
            for _, position, face in best
        ]
        files = len({position for _, position, _ in faces})
        people.append({"id": person, "faces": len(faces), "files": files, "sightings": sightings})
    return people


def _twins(rows: SourceRows, stills: Stills, sources: Sequence[str], files: Sequence[Row]) -> list[Row]:
    """Groups of videos, then of frames, that are nearly identical: kind, and their items."""
    positions = {source: position for position, source in enumerate(sources)}
    columns = ["kind", "source_id", "group_id", "frame_index", "pts_seconds"]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows.rows("duplicates", columns, order="group_id"):
        if row["source_id"] in positions:
            groups.setdefault((row["kind"], row["group_id"]), []).append(row)
    found: list[Row] = []
    for (kind, _), own in sorted(groups.items(), key=_telling):
        if len(own) < 2 or len(found) >= MAX_GROUPS:
            continue
        items = []
        for row in own[:MAX_TWINS]:
            position = positions[row["source_id"]]
            file = files[position]
            if kind == "video":
                shot = file["shots"][file["poster"]] if file["shots"] else None
                at, still = 0.0, shot["still"] if shot else -1
            else:
                frame = row["frame_index"]
                shot = next((s for s in file["shots"] if s["first"] <= frame < s["last"]), None)
                at, still = round(row["pts_seconds"], 3), stills.number(Wanted(row["source_id"], frame))
            unsafe = shot["unsafe"] if shot else None
            items.append({"file": position, "at": at, "still": still, "unsafe": unsafe})
        found.append({"kind": kind, "size": len(own), "items": items})
    return found


def _telling(group: tuple[tuple[str, str], Sequence[Row]]) -> tuple[bool, int, int]:
    """Whole videos first, then frames that several files have, then by number."""
    (kind, _), rows = group
    return kind != "video", -len({row["source_id"] for row in rows}), -len(rows)
