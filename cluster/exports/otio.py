"""Shots as an OpenTimelineIO timeline at the source's rate, with a marker for what each shows."""

from __future__ import annotations

from collections.abc import Mapping

from framemill.cluster.editing.timeline import media_url, plain_name
from framemill.cluster.editing.timeline_files import opentimelineio
from framemill.cluster.exports.shot_lists import ShotList


def write_otio(listed: ShotList) -> Mapping[str, bytes]:
    """One file; times of the source count from its own timecode.

    Raises:
        UsageError: the rate is not known. SetupError: OpenTimelineIO is not installed.
    """
    otio, rate = opentimelineio(), listed.rate("otio", is_timecode=False)
    clock, fps = listed.clock(rate), float(rate)

    def span(start: int, length: int) -> object:
        time = otio.opentime
        return time.TimeRange(time.RationalTime(start, fps), time.RationalTime(length, fps))

    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    for shot in listed.shots:
        start, end = listed.frames(shot, rate)
        available = span(clock.start, max(listed.num_frames or 0, end))
        media = otio.schema.ExternalReference(media_url(listed.uri), available)
        known = {"scene_index": shot.number - 1, "transition": shot.transition}
        clip = otio.schema.Clip(
            f"{plain_name(listed.uri)} {shot.number:03}", media, span(clock.start + start, end - start),
            {"framemill": known},
        )  # fmt: skip
        if shot.marker:
            clip.markers.append(otio.schema.Marker(shot.marker, span(clock.start + start, 1)))
        track.append(clip)
    timeline = otio.schema.Timeline(plain_name(listed.uri))
    timeline.tracks.append(track)
    text: str = otio.adapters.write_to_string(timeline, "otio_json")
    return {f"{listed.stem}.otio": text.encode()}
