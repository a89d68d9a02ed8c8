"""Subtitle streams of a file as timed plain text."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import av.error

from framemill.actors.safe_open import open_media
from framemill.ops.chunks import Cue, Subtitles

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.subtitles.stream import SubtitleStream

UNTAGGED = "und"  # what ISO 639-2 has for an undetermined language
# What decoders give as the end of cues that last until the next one.
_OPEN_END_MILLISECONDS = 2**32 - 1
# FFmpeg gives every text format as a line of ASS: eight fields, then the text with its styling.
_NUM_FIELDS = 8
# A block in braces and the text up to the next one. A block that never ends is taken to the end at once:
# searched for at each of its braces, a hostile line would take time by the square of its length.
_BLOCK = re.compile(r"\{[^}]*(?:\}[^{]*|\Z)")
_DRAWING = re.compile(r"\\p[1-9]")  # from here on shapes stand as text


def text_streams(container: InputContainer) -> tuple[int, ...]:
    """Indices of the subtitle streams whose decoders give text; pictures of text are left out."""
    return tuple(
        stream.index
        for stream in container.streams.subtitles
        if stream.codec_context is not None and stream.codec_context.codec.text_sub
    )


def subtitles_end(path: str, streams: Sequence[int]) -> float:
    """Where the last cue of these streams of a file ends, in seconds since the container's time 0."""
    end = 0.0
    with open_media(path) as fresh, contextlib.suppress(av.error.FFmpegError):
        for packet in fresh.demux([fresh.streams[i] for i in streams]):
            if packet.size and packet.pts is not None and packet.time_base is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return end


class SubtitleTrack:
    """Turns packets of one stream into cues.

    Attributes:
        num_errors: packets that could not be decoded.
    """

    def __init__(self, stream: SubtitleStream, origin_seconds: float) -> None:
        self.num_errors = 0
        self._stream = stream
        self._origin_seconds = origin_seconds
        self._language = stream.language or UNTAGGED
        self._is_ass = stream.codec_context.name in ("ass", "ssa")

    def feed(self, packet: av.Packet[Any]) -> Subtitles | None:
        """The cues in a packet, or None where it holds none."""
        if not packet.size or packet.pts is None or packet.time_base is None:
            return None
        try:
            found = self._stream.codec_context.decode2(packet)
        except av.error.FFmpegError:
            self.num_errors += 1
            return None
        if found is None:
            return None
        seconds = float(packet.pts * packet.time_base) - self._origin_seconds
        start = seconds + found.start_display_time / 1000
        if packet.duration:
            end = seconds + float(packet.duration * packet.time_base)
        elif 0 < found.end_display_time < _OPEN_END_MILLISECONDS:
            end = seconds + found.end_display_time / 1000
        else:
            end = math.inf
        start = max(0.0, start)
        lines = (getattr(rect, "ass", b"").decode("utf-8", "replace") for rect in found)
        texts = [text for line in lines if (text := plain_text(line, self._is_ass))]
        cues = tuple(Cue(start, max(start, end), text) for text in texts)
        return Subtitles(self._stream.index, self._language, cues) if cues and end > 0 else None


def plain_text(line: str, is_ass: bool) -> str:
    """The words of a line of ASS, without styling, drawings and empty lines.

    Args:
        line: as FFmpeg gives it, with the fields before the text.
        is_ass: whether the stream itself is ASS, where everything in braces is styling or a comment.
    """
    text = line.split(",", _NUM_FIELDS)[-1]
    text = _BLOCK.sub(lambda block: _without_drawing(block[0]), text)
    text = text.replace("\\{{}", "\x00")  # how FFmpeg's WebVTT decoder writes a brace that is meant
    text = _BLOCK.sub(lambda block: _without_styling(block[0], is_ass), text).replace("\x00", "{")
    text = text.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    text = text.replace("\\\u2060", "\\")  # and a backslash that is meant
    lines = (" ".join(part.split()) for part in text.splitlines())
    return "\n".join(part for part in lines if part)


def _without_drawing(text: str) -> str:
    """A block in braces and the text after it; nothing where the block makes shapes of that text."""
    block, end, _ = text.partition("}")
    return "" if end and _DRAWING.search(block) else text


def _without_styling(text: str, is_ass: bool) -> str:
    """What is shown of a block in braces and the text after it."""
    block, end, after = text.partition("}")
    start = 0 if is_ass else block.find("{\\")
    return block[:start] + after if end and start >= 0 else text
