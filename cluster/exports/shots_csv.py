"""Shots as the CSV of PySceneDetect, with file, still, transition, source timecode and marker behind."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from framemill.cluster.exports.shot_lists import ShotList
from framemill.cluster.exports.stills import still_name
from framemill.cluster.exports.stretches import Shot
from framemill.cluster.exports.timecode import nominal_rate

COLUMNS = (
    "Scene Number", "Start Frame", "Start Timecode", "Start Time (seconds)", "End Frame", "End Timecode",
    "End Time (seconds)", "Length (frames)", "Length (timecode)", "Length (seconds)", "File", "Still",
    "Transition", "Source In", "Source Out", "Marker",
)  # fmt: skip


def write_shots_csv(listed: ShotList) -> Mapping[str, bytes]:
    """One file; frames are numbered from 1 and the end frame is the shot's last, as in PySceneDetect.

    Frames that are not known, since neither the shots nor the file's rate tell them, are left empty, and so
    is timecode of a rate that has none.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    fps = listed.media.get("fps")
    rate = nominal_rate(fps) if fps else None
    clock = listed.clock(rate) if rate else None
    for shot in listed.shots:
        start, end = shot.start_seconds, shot.end_seconds
        first, last = _frames(shot, fps)
        codes = ["", ""]
        if rate and clock:
            codes = [clock.code(clock.start + frame) for frame in listed.frames(shot, rate)]
        writer.writerow(
            (
                shot.number,
                "" if first is None else first + 1, _clock(start), f"{start:.3f}",
                "" if last is None else last, _clock(end), f"{end:.3f}",
                "" if first is None or last is None else last - first, _clock(end - start),
                f"{end - start:.3f}",
                listed.uri, still_name(listed, shot) if shot.still else "", shot.transition, *codes,
                shot.marker,
            )
        )  # fmt: skip
    return {f"{listed.stem}-shots.csv": text.getvalue().encode()}


def _frames(shot: Shot, fps: float | None) -> tuple[int | None, int | None]:
    """Frames as they are numbered in the file, also where its rate varies."""
    if shot.start_frame is not None and shot.end_frame is not None:
        return shot.start_frame, shot.end_frame
    if not fps:
        return None, None
    start = round(shot.start_seconds * fps)
    return start, max(round(shot.end_seconds * fps), start + 1)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"
