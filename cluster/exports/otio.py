"""Shots as an OpenTimelineIO timeline at the source's rate, with a marker for what each shows."""

from __future__ import annotations

from collections.abc import Mapping

from framemill.cluster.editing.timeline import media_url, plain_name
from framemill.cluster.editing.timeline_files import opentimelineio
from framemill.cluster.exports.edl import frames_of
from framemill.cluster.exports.shot_lists import ShotList


def write_otio(listed: ShotList) -> Mapping[str, bytes]:
    """One file.

    Raises:
        UsageError: the rate is not known. SetupError: OpenTimelineIO is not installed.
    """
    otio, fps = opentimelineio(), float(listed.rate("otio", is_timecode=False))

    def span(start: int, length: int) -> object:
        time = otio.opentime
        return time.TimeRange(time.RationalTime(start, fps), time.RationalTime(length, fps))

    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    for shot in listed.shots:
        start, end = frames_of(shot, fps)
        media = otio.schema.ExternalReference(media_url(listed.uri))
        known = {"scene_index": shot["scene_index"], "transition": shot["transition"]}
        clip = otio.schema.Clip(
            f"{plain_name(listed.uri)} {shot['scene_index'] + 1:03}", media, span(start, end - start),
            {"framemill": known},
        )  # fmt: skip
        if shot["labels"]:
            clip.markers.append(otio.schema.Marker(", ".join(shot["labels"]), span(start, 1)))
        track.append(clip)
    timeline = otio.schema.Timeline(plain_name(listed.uri))
    timeline.tracks.append(track)
    text: str = otio.adapters.write_to_string(timeline, "otio_json")
    return {f"{listed.stem}.otio": text.encode()}
