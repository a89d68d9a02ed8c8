"""Shots as an edit decision list (CMX 3600): the shots of a file one behind the other on one track."""

from __future__ import annotations

from collections.abc import Mapping

from framemill.cluster.editing.timeline import media_url, plain_name
from framemill.cluster.editing.timeline_files import reel_name
from framemill.cluster.exports.shot_lists import Shot, ShotList
from framemill.cluster.exports.timecode import drops, timecode
from framemill.errors import UsageError

_MOST_EVENTS = 999  # the number of an event has three digits
_LABELS = 3


def write_edl(listed: ShotList) -> Mapping[str, bytes]:
    """One file at the source's rate; the record side begins at 01:00:00:00, as is usual.

    Raises:
        UsageError: the rate has no timecode, or there are more shots than the format numbers.
    """
    rate = listed.rate("edl")
    if len(listed.shots) > _MOST_EVENTS:
        raise UsageError(
            f"an EDL numbers {_MOST_EVENTS} events and {listed.uri} has {len(listed.shots)} shots: choose "
            "some with `where`, or take otio"
        )
    name, reel = plain_name(listed.uri), reel_name(listed.uri, listed.number)
    lines = [f"TITLE: {name}", f"FCM: {'DROP FRAME' if drops(rate) else 'NON-DROP FRAME'}", ""]
    at = round(rate) * 3600 - (108 if drops(rate) else 0) * (round(rate) // 30)
    for number, shot in enumerate(listed.shots, 1):
        start, end = frames_of(shot, float(rate))
        times = (start, end, at, at + end - start)
        lines += [
            f"{number:03}  {reel:8} V     C        {' '.join(timecode(frames, rate) for frames in times)}",
            f"* FROM CLIP NAME: {name}",
            f"* SOURCE FILE: {media_url(listed.uri)}",
        ]
        if shot["labels"]:
            labels = ", ".join(map(plain_name, shot["labels"][:_LABELS]))
            lines.append(f"* LOC: {timecode(at, rate)} GREEN   {labels}")
        at += end - start
    return {f"{listed.stem}.edl": ("\n".join(lines) + "\n").encode()}


def frames_of(shot: Shot, rate: float) -> tuple[int, int]:
    """First frame of a shot and the one behind its last, counted at `rate` from the file's start."""
    start = round(shot["start_seconds"] * rate)
    return start, max(round(shot["end_seconds"] * rate), start + 1)
