"""The timecode that a file gives its first frame: of the track or container, else of the picture itself."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import av
import av.error

from framemill.actors.safe_open import open_media

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# A point other than ":" before the frames means that numbers are dropped, as for FFmpeg.
_TIMECODE = re.compile(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)([:;.,])(\d\d\d?)", re.ASCII)
_GROUP_START = b"\0\0\1\xb8"


def start_timecode(
    container: InputContainer, path: str, video: VideoStream, first: av.VideoFrame
) -> str | None:
    """HH:MM:SS:FF of the first frame, HH:MM:SS;FF where numbers are dropped; None where nothing says it.

    The track's tag (QuickTime's timecode track is one of the tracks that refer to it) comes before the
    container's (MXF, DV), the tag of a timecode track that none refers to, and what is coded with the first
    picture (groups of pictures in MPEG-2, SEI messages in H.264 and HEVC).
    """
    for tags in _tags(container, path, video, first):
        found = _TIMECODE.fullmatch(_tag(tags))
        if found:
            hours, minutes, seconds, point, frames = found.groups()
            return f"{hours}:{minutes}:{seconds}{':' if point == ':' else ';'}{frames}"
    return None


def _tags(
    container: InputContainer, path: str, video: VideoStream, first: av.VideoFrame
) -> Iterator[Mapping[str, str]]:
    yield video.metadata
    yield container.metadata
    yield from (stream.metadata for stream in container.streams if stream.type == "data")
    yield first.metadata
    if video.codec_context.name in ("mpeg1video", "mpeg2video"):
        yield {"timecode": _of_first_group(path, video.index)}


def _of_first_group(path: str, stream_index: int) -> str:
    """What the header of the first group of pictures says (ISO/IEC 13818-2, 6.2.2.6).

    FFmpeg's decoder tells it late, with a frame of the group before.
    """
    with open_media(path) as fresh, contextlib.suppress(av.error.FFmpegError):
        for packet in fresh.demux(fresh.streams[stream_index]):
            if not packet.is_keyframe:
                continue
            data = bytes(packet)
            at = data.find(_GROUP_START) + len(_GROUP_START)
            if at < len(_GROUP_START) or at + 4 > len(data):
                break
            bits = int.from_bytes(data[at : at + 4], "big") >> 7
            hours, minutes, seconds = bits >> 19 & 31, bits >> 13 & 63, bits >> 6 & 63
            return f"{hours:02}:{minutes:02}:{seconds:02}{';' if bits >> 24 else ':'}{bits & 63:02}"
    return ""


def _tag(tags: Mapping[str, str]) -> str:
    """The tag, whatever its case: Matroska's is in capitals."""
    return next((value.strip() for name, value in tags.items() if name.lower() == "timecode"), "")
