"""Shots as a project of Final Cut Pro, with a marker for what each shows."""

from __future__ import annotations

from collections.abc import Mapping

from framemill.cluster.editing.fcpxml import fcpxml_text
from framemill.cluster.editing.timeline import Clip, Timeline, plain_name
from framemill.cluster.exports.shot_lists import ShotList
from framemill.errors import UsageError


def write_fcpxml(listed: ShotList) -> Mapping[str, bytes]:
    """One file at the source's rate; times of the source count from its own timecode.

    Raises:
        UsageError: the rate has no timecode, or the size of the picture is not known.
    """
    rate = listed.rate("fcpxml")
    clock = listed.clock(rate)
    width, height = listed.media.get("width"), listed.media.get("height")
    if not width or not height:
        raise UsageError(f"fcpxml states the size of the picture and that of {listed.uri} is not known")
    frames = [listed.frames(shot, rate) for shot in listed.shots]
    lasts = max([listed.num_frames or 0, *(end for _, end in frames)])
    clips = tuple(
        Clip(
            listed.uri, start, end - start, lasts, width, height,
            has_sound=bool(listed.media.get("audio_codec")), first_number=clock.start, marker=shot.marker,
        )
        for shot, (start, end) in zip(listed.shots, frames, strict=True)
    )  # fmt: skip
    timeline = Timeline(
        plain_name(listed.uri), round(rate), width, height, clips,
        is_ntsc=rate.denominator == 1001, is_dropping=clock.is_dropping, keeps_sound=True,
    )  # fmt: skip
    return {f"{listed.stem}.fcpxml": fcpxml_text(timeline).encode()}
