"""Shots as the CSV that PySceneDetect writes, with the file, its still and the transition behind."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from framemill.cluster.exports.shot_lists import ShotList
from framemill.cluster.exports.stills import still_name

COLUMNS = (
    "Scene Number", "Start Frame", "Start Timecode", "Start Time (seconds)", "End Frame", "End Timecode",
    "End Time (seconds)", "Length (frames)", "Length (timecode)", "Length (seconds)", "File", "Still",
    "Transition",
)  # fmt: skip


def write_shots_csv(listed: ShotList) -> Mapping[str, bytes]:
    """One file; frames are numbered from 1 and the end frame is the shot's last, as in PySceneDetect."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for shot in listed.shots:
        start, end = shot["start_seconds"], shot["end_seconds"]
        writer.writerow(
            (
                shot["scene_index"] + 1,
                shot["start_frame"] + 1, _clock(start), f"{start:.3f}",
                shot["end_frame"], _clock(end), f"{end:.3f}",
                shot["end_frame"] - shot["start_frame"], _clock(end - start), f"{end - start:.3f}",
                listed.uri, still_name(listed, shot) if shot["still"] else "", shot["transition"],
            )
        )  # fmt: skip
    return {f"{listed.stem}-shots.csv": text.getvalue().encode()}


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"
