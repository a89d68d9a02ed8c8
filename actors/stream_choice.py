"""Which picture, sound and subtitle streams of a file are taken, and what the container says of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import av.error
from av.stream import Discard, Disposition

from framemill.actors.safe_open import open_media
from framemill.ops.languages import UNKNOWN, short_code
from framemill.ops.media import StreamDescription

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

# Packets of all candidates that are looked at to tell a film from a single picture.
LOOK_PACKETS = 2000
# Sound that accompanies another track or replaces it for some; players take it only if asked.
_SECONDARY = (
    Disposition.comment
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.clean_effects
    | Disposition.karaoke
    | Disposition.descriptions
    | Disposition.dependent
)
S = TypeVar("S", bound="Stream")


@dataclass(frozen=True, slots=True)
class Tracks:
    """Which tracks to take: each the `index` of `media.streams` as a text, a language, or empty.

    Attributes:
        video, audio: empty for the one that players take; see `rank_pictures` and `rank_sounds`.
    """

    video: str = ""
    audio: str = ""


def rank_pictures(container: InputContainer, path: str, wanted: str = "") -> tuple[list[VideoStream], str]:
    """Picture tracks, the one to take first, and why there is none where one was asked for.

    Flagged as default first, then those of more than one picture, then the larger, then the
    earlier. Attached pictures are none.

    Args:
        path: the same file, whose packets may have to be looked at.
        wanted: as in `Tracks`.
    """
    tracks = [stream for stream in container.streams.video if not _is_attached(stream)]
    found, problem = _asked_for(tracks, wanted, "video")
    moving: set[int] = set()
    flagged = [stream for stream in found if stream.disposition & Disposition.default] or found
    if len(flagged) > 1:
        moving = _with_more_than_one(flagged, path)

    def rank(stream: VideoStream) -> tuple[bool, bool, int]:
        context = stream.codec_context
        size = context.width * context.height if context is not None else 0
        return not stream.disposition & Disposition.default, stream.index not in moving, -size

    return sorted(found, key=rank), problem


def rank_sounds(container: InputContainer, wanted: str = "") -> tuple[list[AudioStream], str]:
    """Sound tracks, the one to take first, and why there is none where one was asked for.

    Flagged as default first, then those that are no commentary and for everybody, then the
    earlier.

    Args:
        wanted: as in `Tracks`.
    """
    found, problem = _asked_for(container.streams.audio, wanted, "audio")

    def rank(stream: AudioStream) -> tuple[bool, bool]:
        return not stream.disposition & Disposition.default, bool(stream.disposition & _SECONDARY)

    return sorted(found, key=rank), problem


def _asked_for(found: Sequence[S], wanted: str, kind: str) -> tuple[list[S], str]:
    """The streams with this index or language, or all; a file without any lacks none."""
    if not wanted:
        return list(found), ""
    if wanted.isdecimal():
        chosen = [stream for stream in found if stream.index == int(wanted)]
    else:
        chosen = [stream for stream in found if _is_language(stream.language, wanted)]
    if chosen or not found:
        return chosen, ""
    there = ", ".join(f"{stream.index} ({stream.language or 'und'})" for stream in found)
    return [], f"no {kind} track {wanted!r}; there are {there}: choose one of these with `{kind}_track`"


def _is_language(tagged: str | None, wanted: str) -> bool:
    """Whether a tag such as deu or de-AT is the language asked for, by whichever code."""
    whole, asked = (tagged or "und").lower(), wanted.lower()
    if whole == asked:
        return True
    plain = whole.partition("-")[0]
    return _plain_code(plain) == _plain_code(asked)


def _plain_code(tag: str) -> str:
    """The two letters of a language; one that is nothing of the kind equals no tag."""
    code = short_code(tag)
    # Tracks in Norwegian are tagged as such or as its usual written form.
    return {"nb": "no", UNKNOWN: tag}.get(code, code)


def _with_more_than_one(streams: Sequence[VideoStream], path: str) -> set[int]:
    """Indices of those of more than one picture: by what the container states, else by their packets."""
    if any(stream.frames > 1 for stream in streams):  # then 0 is a count too, of an empty track
        return {stream.index for stream in streams if stream.frames > 1}
    counts = dict.fromkeys((stream.index for stream in streams), 0)
    with open_media(path) as container, contextlib.suppress(av.error.FFmpegError):
        for other in container.streams:
            if other.index not in counts:
                other.discard = Discard.all
        for number, packet in enumerate(container.demux([container.streams[i] for i in counts])):
            if packet.size:
                counts[packet.stream_index] += 1
            if number >= LOOK_PACKETS or min(counts.values()) > 1:
                break
    return {index for index, count in counts.items() if count > 1}


def _is_attached(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def describe_streams(container: InputContainer, taken: Iterable[int]) -> tuple[StreamDescription, ...]:
    """Every stream of a container.

    Args:
        taken: indices of those that operations read.
    """
    read = frozenset(taken)
    return tuple(
        StreamDescription(
            index=stream.index,
            type="attachment" if _is_attached(stream) else (stream.type or "data"),
            codec=stream.codec_context.name if stream.codec_context is not None else None,
            language=stream.language,
            title=stream.metadata.get("title"),
            is_default=bool(stream.disposition & Disposition.default),
            is_forced=bool(stream.disposition & Disposition.forced),
            is_hearing_impaired=bool(stream.disposition & Disposition.hearing_impaired),
            is_commentary=bool(stream.disposition & Disposition.comment),
            is_taken=stream.index in read,
        )
        for stream in container.streams
    )
