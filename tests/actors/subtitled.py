"""Files with subtitles, muxed for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.subtitles.subtitle import SubtitleSet

from tests.actors.clips import moving, sine, sound_frames

CueTuple = tuple[float, float, str]  # start and end in seconds, text as ASS has it
# The least header that encoders of styled text take.
_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, \
MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def write_subtitled(
    path: Path,
    streams: Sequence[tuple[str, str, Sequence[CueTuple]]],
    *,
    seconds: float = 6.0,
    with_sound: bool = True,
    with_picture: bool = False,
    first_seconds: float = 0.0,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Encodes subtitle streams beside sound, a picture, or both.

    Args:
        streams: (codec, language, cues) of each; an empty language is not tagged.
        first_seconds: time in the container at which everything starts; cues count from it.
    """
    with av.open(str(path), "w", options=dict(options or {})) as out:
        picture = sound = None
        if with_picture:
            picture = out.add_stream("mpeg4", rate=10)
            picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        if with_sound:
            sound = out.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48_000, layout="mono")
        texts = []
        for codec, language, _ in streams:
            text = out.add_stream(codec)
            assert isinstance(text, av.subtitles.stream.SubtitleStream)
            if language:
                text.metadata["language"] = language
            text.codec_context.subtitle_header = _HEADER
            text.time_base = text.codec_context.time_base = Fraction(1, 1000)
            texts.append(text)
        out.start_encoding()
        for text, (_, _, cues) in zip(texts, streams, strict=True):
            for start, end, words in cues:
                line = f"0,0,Default,,0,0,0,,{words}".encode()
                length, pts = round((end - start) * 1000), round((start + first_seconds) * 1000)
                packet = text.codec_context.encode_subtitle(SubtitleSet.create(line, 0, length, pts))
                packet.stream, packet.time_base, packet.duration = text, Fraction(1, 1000), length
                out.mux(packet)
        if picture is not None:
            for number, pixels in enumerate(moving(round(10 * seconds))):
                frame = av.VideoFrame.from_ndarray(pixels)
                frame.pts, frame.time_base = number + round(10 * first_seconds), Fraction(1, 10)
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
        if sound is not None:
            kind = "flt" if path.suffix == ".webm" else "fltp"
            tone = (0.1 * sine(seconds, 48_000)).astype(np.float32)
            for piece in sound_frames(tone, 48_000, kind, "mono", round(48_000 * first_seconds)):
                out.mux(sound.encode(piece))
            out.mux(sound.encode(None))
    return path


def with_packets(path: Path, codec: str, contents: Sequence[bytes]) -> Path:
    """A file with sound and a stream of subtitles whose packets hold these bytes, a second each."""
    made = write_subtitled(path.with_name(f"made{path.suffix}"), [(codec, "eng", [(0.0, 1.0, "a")])])
    with av.open(str(made)) as given, av.open(str(path), "w") as out:
        (sound,), (text,) = given.streams.audio, given.streams.subtitles
        copies = {stream.index: out.add_stream_from_template(stream) for stream in (sound, text)}
        for packet in given.demux(sound):
            if packet.dts is not None:
                packet.stream = copies[sound.index]
                out.mux(packet)
        for second, content in enumerate(contents):
            packet = av.Packet(content)
            packet.stream, packet.time_base = copies[text.index], Fraction(1, 1000)
            packet.pts = packet.dts = second * 1000
            packet.duration = 1000
            out.mux(packet)
    made.unlink()
    return path


def no_decoder(path: Path) -> Path:
    """The same Matroska file with a codec of its sound that nobody knows."""
    content = path.read_bytes()
    assert content.count(b"A_AAC") == 1
    path.write_bytes(content.replace(b"A_AAC", b"A_XYZ"))
    return path
