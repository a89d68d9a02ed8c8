"""Subtitle streams of a file as timed plain text."""

from __future__ import annotations

import codecs
import contextlib
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import av
import av.error

from framemill.actors.limits import count_packets, size_of
from framemill.actors.safe_open import open_media
from framemill.ops.chunks import Cue, Subtitles
from framemill.ops.plain_text import plain_lines

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.subtitles.stream import SubtitleStream

UNTAGGED = "und"  # what ISO 639-2 has for an undetermined language
# What decoders give as the end of cues that last until the next one.
_OPEN_END_MILLISECONDS = 2**32 - 1
# FFmpeg gives text formats as a line of ASS: eight fields, then the text with its styling.
_NUM_FIELDS = 8
# Formats whose packets are text. In SubRip a backslash has no meaning, but FFmpeg writes it as it stands, so
# that it could not be told from a code of ASS.
_ASS = ("ass", "ssa")
_SUBRIP = ("subrip", "srt")
_TEXTUAL = (*_ASS, *_SUBRIP, "webvtt")
# FFmpeg's own mark of a backslash that is meant, as its decoder of WebVTT writes it: a word joiner follows.
_MEANT = "\\\u2060"
_LONE_BACKSLASH = re.compile(r"(?<!\{)\\")  # behind a brace it begins styling in SubRip, too
# A block in braces and the text up to the next one. A block that never ends is taken to the end at once:
# searched for at each of its braces, a hostile line would take time by the square of its length.
_BLOCK = re.compile(r"\{[^}]*(?:\}[^{]*|\Z)")
_BRACE_OR_BLOCK = re.compile(r"\\[{}]|\{[^}]*(?:\}|\Z)")
_BRACES = {"\\{": "\x00", "\\}": "\x01"}  # stand for braces that are meant; text holds no control characters
_DRAWING = re.compile(r"\\p[1-9]")  # from here on shapes stand as text
_WRAP_STYLE = re.compile(rb"^\s*WrapStyle\s*:\s*([0-3])", re.IGNORECASE | re.MULTILINE)
_WRAP_OVERRIDE = re.compile(r"\\q([0-3])")
_UNWRAPPED = "2"  # the style in which \n breaks a line; in the others it is a space


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
        for packet in count_packets(fresh.demux([fresh.streams[i] for i in streams]), size_of(fresh)):
            if packet.size and packet.pts is not None and packet.time_base is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return end


class SubtitleTrack:
    """Turns packets of one stream into cues.

    Attributes:
        num_errors: packets that could not be decoded, or not whole.
    """

    def __init__(self, stream: SubtitleStream, origin_seconds: float) -> None:
        self.num_errors = 0
        self._stream = stream
        self._origin_seconds = origin_seconds
        self._language = stream.language or UNTAGGED
        self._codec = stream.codec_context.name
        found = _WRAP_STYLE.search(stream.codec_context.extradata or b"")
        self._wrap_style = found[1].decode() if found else "0"

    def feed(self, packet: av.Packet[Any]) -> Subtitles | None:
        """The cues in a packet, or None where it holds none."""
        if not packet.size:
            return None
        if packet.pts is None or packet.time_base is None:
            self.num_errors += 1  # nobody can say when it is shown
            return None
        seconds = float(packet.pts * packet.time_base) - self._origin_seconds
        start, end, texts = 0.0, 0.0, []
        if self._codec in ("mov_text", "text"):
            texts = [_untagged(self._raw_text(bytes(packet)))]
        else:
            try:
                found = self._stream.codec_context.decode2(self._readable(packet))
            except av.error.FFmpegError:
                self.num_errors += 1
                return None
            if found is None:
                return None
            start, end = found.start_display_time / 1000, found.end_display_time / 1000
            lines = (decoded_text(getattr(rect, "ass", b"")) for rect in found)
            texts = [plain_text(line, self._codec in _ASS, self._wrap_style) for line in lines]
        start = max(0.0, seconds + start)
        if packet.duration:
            end = seconds + float(packet.duration * packet.time_base)
        elif 0 < end < _OPEN_END_MILLISECONDS / 1000:
            end += seconds
        else:
            end = math.inf
        cues = tuple(Cue(start, max(start, end), text) for text in texts if text)
        return Subtitles(self._stream.index, self._language, cues) if cues and end > 0 else None

    def _raw_text(self, content: bytes) -> str:
        """The text of a packet that holds its length, too, and styling behind it (3GPP TS 26.245, 5.17)."""
        if self._codec == "mov_text":
            length = int.from_bytes(content[:2], "big")
            if length > len(content) - 2:
                self.num_errors += 1  # what is there of it is given
            content = content[2 : 2 + length]
        return decoded_text(content)

    def _readable(self, packet: av.Packet[Any]) -> av.Packet[Any]:
        """The packet in valid UTF-8, which decoders insist on, with backslashes marked that mean nothing."""
        if self._codec not in _TEXTUAL:
            return packet
        content = bytes(packet)
        # What FFmpeg takes for the end of the text, or for no character.
        text = decoded_text(content).rstrip("\x00").replace("\x00", " ").replace("\ufffe", "\ufffd")
        if self._codec in _SUBRIP:
            text = _LONE_BACKSLASH.sub(lambda _: _MEANT, text)
        if text.encode() == content:
            return packet
        made = av.Packet(text.encode())
        made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
        made.time_base = packet.time_base
        return made


def decoded_text(content: bytes) -> str:
    """Bytes of a subtitle as text: UTF-16 where they begin with its mark, else UTF-8.

    A byte that is no part of UTF-8 is taken as Windows-1252, and one that has no meaning there as Latin-1:
    what old files hold most often, and no byte is lost. Other encodings come out as wrong letters.
    """
    for mark, encoding in ((codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF16_LE, "utf-16-le")):
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", _FALLBACK)


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    return "".join(_WINDOWS_1252[byte] for byte in wrong), error.end


_FALLBACK = "framemill-windows-1252"
_WINDOWS_1252 = [
    bytes([byte]).decode("latin-1" if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else "cp1252")
    for byte in range(256)
]
codecs.register_error(_FALLBACK, _as_windows_1252)


def plain_text(line: str, is_ass: bool, wrap_style: str = "0") -> str:
    r"""The words of a line of ASS, without styling, drawings and empty lines.

    Args:
        line: as FFmpeg gives it, with the fields before the text.
        is_ass: whether the stream itself is ASS, where everything in braces is styling or a comment.
        wrap_style: WrapStyle of its script, 0 to 3; in style 2 `\n` ends a line, in others it is a space.
    """
    text = plain_lines(line.split(",", _NUM_FIELDS)[-1])
    text = text.replace("\\{{}", "\x00")  # how FFmpeg's WebVTT decoder writes a brace that is meant
    text = _BRACE_OR_BLOCK.sub(lambda found: _BRACES.get(found[0], found[0]), text)
    if is_ass:
        for block in _BLOCK.findall(text):
            wrap_style = (_WRAP_OVERRIDE.findall(block.partition("}")[0]) or [wrap_style])[-1]
    text = _BLOCK.sub(lambda block: _without_drawing(block[0]), text)
    text = _BLOCK.sub(lambda block: _without_styling(block[0], is_ass), text)
    text = text.replace("\\N", "\n").replace("\\h", " ")
    text = text.replace("\\n", "\n" if wrap_style == _UNWRAPPED else " ")
    text = text.replace(_MEANT, "\\").replace("\x00", "{").replace("\x01", "}")
    return plain_lines(text)


def _untagged(text: str) -> str:
    """The words of a text without codes of its own; players take blocks that begin with `{\\` for styling."""
    return plain_lines(_BLOCK.sub(lambda block: _without_styling(block[0], False), text))


def _without_drawing(text: str) -> str:
    """A block in braces and the text after it; nothing where the block makes shapes of that text."""
    block, end, _ = text.partition("}")
    return "" if end and _DRAWING.search(block) else text


def _without_styling(text: str, is_ass: bool) -> str:
    """What is shown of a block in braces and the text after it."""
    block, end, after = text.partition("}")
    start = 0 if is_ass else block.find("{\\")
    return block[:start] + after if end and start >= 0 else text
