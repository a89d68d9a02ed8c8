"""Rows as a page of the viewer reads them: short names, addresses of stills and files, short numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from framemill.cluster.exports.stretches import MARKER_LABELS
from framemill.cluster.view.document import playable_url
from framemill.cluster.view.shot_pages import still_frame
from framemill.cluster.view.stills import Box, Wanted

Row = dict[str, Any]


def still_address(wanted: Wanted) -> str:
    """Where the server has a still."""
    face = "" if wanted.box is None else "?" + urlencode({"face": ",".join(map(str, wanted.box))})
    return f"stills/{wanted.source_id}/{wanted.frame_index}{face}"


def shot_row(shot: Mapping[str, Any], reels: Mapping[str, str]) -> Row:
    """One shot of a grid.

    Args:
        shot: as `ShotPages` has it.
        reels: what an EDL calls each file, by uri; one that has just come in may lack it.
    """
    source, frame, at = shot["source_id"], still_frame(shot), shot["best_seconds"]
    return {
        "source": source,
        "index": shot["scene_index"],
        "name": shot["name"],
        "uri": shot["uri"],
        "reel": reels.get(shot["uri"], ""),
        "url": file_url(source, shot["uri"], shot),
        "start": round(shot["start_seconds"], 3),
        "end": round(shot["end_seconds"], 3),
        "first": shot["start_frame"],
        "last": shot["end_frame"],
        "transition": shot["transition"],
        "frame": frame,
        "at": round((shot["start_seconds"] + shot["end_seconds"]) / 2 if at is None else at, 3),
        "still": still_address(Wanted(source, frame)),
        "boxes": [
            [box["kind"], box["name"], *(round(box[edge], 1) for edge in ("x0", "y0", "x1", "y1"))]
            for box in shot["boxes"] or ()
        ],
        "labels": [[each["label"], each["number"], each["score"]] for each in shot["shown"] or ()],
        "marker": ", ".join((shot["labels"] or [])[:MARKER_LABELS]),
        "text": shot["text"] or [],
        "words": shot["words"] or "",
        "caption": shot["caption"] or "",
        "people": shot["people"],
        "tags": shot["tags"],
        **{name: short(shot[name]) for name in ("sharpness", "motion", "loudness", "unsafe")},
        "width": shot["width"] or 0,
        "height": shot["height"] or 0,
        "fps": shot["fps"] or 0.0,
        "varies": bool(shot["is_variable_rate"]),
        "timecode": shot["start_timecode"] or "",
        "offset": shot["file_start_seconds"] or 0.0,
    }


def file_row(file: Mapping[str, Any]) -> Row:
    """One file of a list.

    Args:
        file: as `ShotPages` has it.
    """
    frame = file["frame"]
    return {
        "id": file["source_id"],
        "name": file["name"],
        "uri": file["uri"],
        "url": file_url(file["source_id"], file["uri"], file),
        "seconds": round(file["duration_seconds"] or 0.0, 3),
        "shots": file["shots"],
        "codec": file["video_codec"] or file["audio_codec"] or "",
        "status": file["status"],
        "width": file["width"] or 0,
        "height": file["height"] or 0,
        "still": "" if frame is None else still_address(Wanted(file["source_id"], frame)),
        "unsafe": file["frame_unsafe"],
    }


PLAYED = ("container", "video_codec", "pixel_format")  # what tells whether browsers play a file


def file_url(source_id: str, uri: str, media: Mapping[str, Any]) -> str:
    """Where the server has a file that browsers play; "" for others, and where nothing is known of it."""
    is_known = media["container"] is not None
    return f"media/{source_id}" if is_known and playable_url(uri, media) else ""


def short(value: float | None) -> float | None:
    """A number with four digits that count."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def plain(value: Any) -> Any:
    """A value of a table as JSON has it: bytes as their number, what JSON lacks as text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [plain(each) for each in value]
    return str(value)


def corners_of(box: Sequence[float] | Mapping[str, float]) -> Box:
    """A box in tenths of a display pixel."""
    x0, y0, x1, y1 = (box[edge] for edge in ("x0", "y0", "x1", "y1")) if isinstance(box, Mapping) else box
    return round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1)
