"""Writing timelines for editing programs: OTIO, EDL (CMX 3600) and FCPXML, chosen by the file's ending.

OTIO and EDL are written by OpenTimelineIO. FCPXML is written here: the adapter for it (1.0.0) starts ffprobe
on every file, and looks clips up by an expression that a quote in a name breaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from framemill.cluster.editing.fcpxml import fcpxml_text
from framemill.cluster.editing.timeline import Timeline, media_url, plain_name
from framemill.cluster.results.single_files import check_path, write_whole
from framemill.errors import SetupError, UsageError


def check_timeline_path(path: str) -> Path:
    """The path of a timeline, whole; what `write_timeline` would refuse is refused before any work is done.

    Raises:
        UsageError: the ending is unknown, or there is no such folder.
        SetupError: OpenTimelineIO is needed and not installed.
    """
    target = check_path(path, FORMATS, "the timeline")
    if target.suffix.lower() != ".fcpxml":
        opentimelineio()
    return target


def write_timeline(timeline: Timeline, path: str) -> None:
    """Writes a timeline whole, in the format of the path's ending; an existing file is replaced.

    Raises:
        UsageError: as `check_timeline_path`, the timeline is empty, or the file cannot be written.
        SetupError: OpenTimelineIO is needed and not installed.
    """
    target = check_timeline_path(path)
    if not timeline.clips:
        raise UsageError("the timeline has no clips: there is nothing to write")
    write_whole(target, FORMATS[target.suffix.lower()](timeline).encode(), "the timeline")


def _otio(timeline: Timeline) -> str:
    otio = opentimelineio()
    text: str = otio.adapters.write_to_string(_as_otio(otio, timeline), "otio_json")
    return text


def _edl(timeline: Timeline) -> str:
    """One video track; the format has no place for music, which is named in a comment."""
    otio = opentimelineio()
    text: str = otio.adapters.write_to_string(
        _as_otio(otio, timeline), "cmx_3600", rate=float(timeline.fps), reelname_len=8
    )
    if timeline.music:
        text += f"* MUSIC: {media_url(timeline.music)}\n"
    return text


def _as_otio(otio: Any, timeline: Timeline) -> Any:
    time, fps = otio.opentime, float(timeline.fps)

    def span(start: int, length: int) -> Any:
        return time.TimeRange(time.RationalTime(start, fps), time.RationalTime(length, fps))

    def clip_of(name: str, uri: str, used: Any, available: Any, metadata: Mapping[str, Any]) -> Any:
        media = otio.schema.ExternalReference(media_url(uri), available)
        return otio.schema.Clip(name, media, used, dict(metadata))

    reels = reel_names([clip.uri for clip in timeline.clips])
    pictures = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    for clip in timeline.clips:
        used, available = span(clip.start_frame, clip.num_frames), span(0, clip.media_frames)
        metadata = {"cmx_3600": {"reel": reels[clip.uri]}}
        pictures.append(clip_of(plain_name(clip.uri), clip.uri, used, available, metadata))
    made = otio.schema.Timeline(timeline.name)
    made.tracks.append(pictures)
    if timeline.music:
        music = otio.schema.Track("A1", kind=otio.schema.TrackKind.Audio)
        length = min(timeline.num_frames, timeline.music_frames)
        name = plain_name(timeline.music)
        music.append(clip_of(name, timeline.music, span(0, length), span(0, timeline.music_frames), {}))
        made.tracks.append(music)
    return made


def reel_names(uris: Sequence[str]) -> dict[str, str]:
    """Eight letters and digits for each file, unlike those of every other: an EDL has no more.

    They are the beginning of its name and its position among the files.
    """
    files = dict.fromkeys(uris)
    # All numbers are of one length, so that no letters of a name can pass for a part of one.
    width = max(3, len(str(len(files))))
    names = {}
    for number, uri in enumerate(files, 1):
        letters = re.sub(r"[^A-Z0-9]", "", PurePosixPath(uri).stem.upper())
        names[uri] = f"{letters[: 8 - width]}{number:0{width}}".rjust(8, "0")
    return names


def opentimelineio() -> Any:
    try:
        import opentimelineio as otio
    except ImportError as exc:
        raise SetupError(
            "OpenTimelineIO is not installed: run `pip install 'framemill[edit]'`, or write a .fcpxml file"
        ) from exc
    if "cmx_3600" not in otio.adapters.available_adapter_names():
        raise SetupError("OpenTimelineIO has no EDL adapter: run `pip install 'framemill[edit]'`")
    return otio


FORMATS: Mapping[str, Callable[[Timeline], str]] = {".otio": _otio, ".edl": _edl, ".fcpxml": fcpxml_text}
