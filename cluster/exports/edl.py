"""Shots as an edit decision list (CMX 3600): the shots of a file one behind the other on one track."""

from __future__ import annotations

from collections.abc import Mapping

from framemill.cluster.editing.timeline import media_url, plain_name, printable
from framemill.cluster.exports.shot_lists import ShotList
from framemill.errors import UsageError

_MOST_EVENTS = 999  # the number of an event has three digits


def write_edl(listed: ShotList) -> Mapping[str, bytes]:
    """One file at the source's rate, in its own timecode; the record side begins at 01:00:00:00, as is usual.

    Raises:
        UsageError: the rate has no timecode, or there are more shots than the format numbers.
    """
    rate = listed.rate("edl")
    if len(listed.shots) > _MOST_EVENTS:
        raise UsageError(
            f"an EDL numbers {_MOST_EVENTS} events and {listed.uri} has {len(listed.shots)} shots: choose "
            "some with `where`, or take otio"
        )
    clock, name = listed.clock(rate), plain_name(listed.uri)
    lines = [f"TITLE: {name}", f"FCM: {'DROP FRAME' if clock.is_dropping else 'NON-DROP FRAME'}", ""]
    at = clock.hour
    for number, shot in enumerate(listed.shots, 1):
        start, end = listed.frames(shot, rate)
        times = (clock.start + start, clock.start + end, at, at + end - start)
        lines += [
            f"{number:03}  {listed.reel:8} V     C        {' '.join(map(clock.code, times))}",
            f"* FROM CLIP NAME: {name}",
            f"* SOURCE FILE: {media_url(listed.uri)}",
        ]
        if shot.marker:
            lines.append(f"* LOC: {clock.code(at)} GREEN   {printable(shot.marker)}")
        at += end - start
    return {f"{listed.stem}.edl": ("\n".join(lines) + "\n").encode()}
