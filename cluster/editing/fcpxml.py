"""Timelines as FCPXML 1.10, the interchange format of Final Cut Pro (Apple, "FCPXML Reference").

Times are fractions of a second. A clip's `offset` counts on the timeline of what it lies in, its `start` in
its own media.
"""

from __future__ import annotations

from fractions import Fraction
from xml.etree import ElementTree

from framemill.cluster.editing.timeline import Clip, Timeline, media_url, plain_name, printable

VERSION = "1.10"


def fcpxml_text(timeline: Timeline) -> str:
    """The document: one event with one project, clips on the main storyline, music connected below it."""
    root = ElementTree.Element("fcpxml", version=VERSION)
    resources = ElementTree.SubElement(root, "resources")
    main = _format(resources, "r1", timeline.rate, timeline.width, timeline.height)
    assets = _assets(resources, timeline)
    library = ElementTree.SubElement(root, "library")
    event = ElementTree.SubElement(library, "event", name=plain_name(timeline.name))
    project = ElementTree.SubElement(event, "project", name=plain_name(timeline.name))
    total = _time(timeline.num_frames, timeline.rate)
    form_of_time = "DF" if timeline.is_dropping else "NDF"
    sequence = ElementTree.SubElement(
        project, "sequence", format=main, duration=total, tcStart="0s", tcFormat=form_of_time,
        audioLayout="stereo", audioRate="48k",
    )  # fmt: skip
    spine = ElementTree.SubElement(sequence, "spine")
    at = 0
    for clip in timeline.clips:
        ref, form = assets[clip.uri]
        start = _time(clip.first_number + clip.start_frame, timeline.rate)
        element = ElementTree.SubElement(
            spine, "asset-clip", ref=ref, format=form, name=plain_name(clip.uri),
            offset=_time(at, timeline.rate), start=start,
            duration=_time(clip.num_frames, timeline.rate), tcFormat=form_of_time,
            srcEnable="all" if timeline.keeps_sound else "video",
        )  # fmt: skip
        if at == 0 and timeline.music:
            length = min(timeline.num_frames, timeline.music_frames)
            ElementTree.SubElement(
                element, "asset-clip", ref=assets[timeline.music][0], lane="-1",
                name=plain_name(timeline.music), offset=start, start="0s",
                duration=_time(length, timeline.rate), srcEnable="audio", audioRole="music",
            )  # fmt: skip
        if clip.marker:
            ElementTree.SubElement(
                element, "marker", start=start, duration=_time(1, timeline.rate), value=printable(clip.marker)
            )
        at += clip.num_frames
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{text}\n'


def _assets(resources: ElementTree.Element, timeline: Timeline) -> dict[str, tuple[str, str]]:
    """An asset for each file; uri -> its id and that of its format."""
    found: dict[str, tuple[str, str]] = {}
    formats: dict[tuple[int, int], str] = {}
    files: dict[str, Clip] = {clip.uri: clip for clip in timeline.clips}
    number = 2
    for uri, clip in files.items():
        size = (clip.width, clip.height)
        if size not in formats:
            formats[size] = _format(resources, f"r{number}", timeline.rate, *size)
            number += 1
        attributes = {"hasVideo": "1", "format": formats[size], "videoSources": "1"}
        if clip.has_sound:
            attributes |= {"hasAudio": "1", "audioSources": "1"}
        found[uri] = (
            _asset(
                resources, number, clip.uri, clip.first_number, clip.media_frames, timeline.rate, attributes
            ),
            formats[size],
        )
        number += 1
    if timeline.music:
        attributes = {"hasAudio": "1", "audioSources": "1"}
        frames = timeline.music_frames
        found[timeline.music] = (
            _asset(resources, number, timeline.music, 0, frames, timeline.rate, attributes),
            "",
        )
    return found


def _asset(
    resources: ElementTree.Element,
    number: int,
    uri: str,
    first: int,
    frames: int,
    rate: Fraction,
    attributes: dict[str, str],
) -> str:
    own = {
        "id": f"r{number}",
        "name": plain_name(uri),
        "start": _time(first, rate),
        "duration": _time(frames, rate),
        **attributes,
    }
    asset = ElementTree.SubElement(resources, "asset", own)
    ElementTree.SubElement(asset, "media-rep", kind="original-media", src=media_url(uri))
    return f"r{number}"


def _format(resources: ElementTree.Element, name: str, rate: Fraction, width: int, height: int) -> str:
    ElementTree.SubElement(
        resources, "format", id=name, frameDuration=_time(1, rate), width=str(width), height=str(height)
    )
    return name


def _time(frames: int, rate: Fraction) -> str:
    """Frames as seconds; the scale is a multiple of the rate, so that every time lies on a frame."""
    seconds = frames / rate
    if seconds.denominator == 1:
        return f"{seconds}s"
    scale = 1 if rate.denominator > 1 else 100  # as Final Cut Pro has them: 1001/30000s, 100/2500s
    return f"{frames * rate.denominator * scale}/{rate.numerator * scale}s"
