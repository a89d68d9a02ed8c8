"""Clips of one grey level a picture and one tone a clip: each row is proved to hold its own picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from framemill.actors.indexing import SourceIndex, index_source
from framemill.actors.shortfalls import find_shortfall, measure, stated_shortfall
from tests.actors.clips import sine
from tests.actors.reading import Heard, read

RATE, SOUND_RATE = 25, 48_000
HERTZ = (500, 1000, 2000, 4000)
WIDTH, HEIGHT = 64, 48
# Encoders of picture and sound by ending; quality such that a grey level survives.
CODECS = {
    "ts": ("libx264", "aac"),
    "mkv": ("libx264", "aac"),
    "mp4": ("libx264", "aac"),
    "mpg": ("mpeg2video", "mp2"),
    "webm": ("libvpx-vp9", "libopus"),
}
OPTIONS = {
    "libx264": {"g": "12", "bf": "2", "qp": "10", "sc_threshold": "0"},
    "mpeg2video": {"g": "12", "bf": "2", "qscale": "2"},
    "libvpx-vp9": {"g": "12", "crf": "8", "b": "0", "deadline": "realtime", "cpu-used": "8"},
}


@dataclass(frozen=True)
class Part:
    """A clip to be joined: so many pictures, seconds of sound, and the time at which its clock begins."""

    num_frames: int
    sound_seconds: float = 0.0
    start_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        return max(self.num_frames / RATE, self.sound_seconds)


def luma_of(number: int) -> int:
    return 20 + 2 * number


def grey(number: int) -> av.VideoFrame:
    """Picture `number` of a clip, as luma 20 + 2 x number."""
    planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    planes[:HEIGHT] = luma_of(number)
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def write_grey(path: Path, part: Part, first: int = 0, hertz: int = HERTZ[0]) -> Path:
    """One part, whose first picture is number `first`, picture and sound interleaved by their times."""
    video_codec, audio_codec = CODECS[path.suffix[1:]]
    with av.open(str(path), "w") as out:
        video = out.add_stream(video_codec, rate=RATE, options=OPTIONS[video_codec])
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream(audio_codec, rate=SOUND_RATE, layout="mono") if part.sound_seconds else None
        packets: list[av.Packet[Any]] = []
        for number in range(part.num_frames):
            frame = grey(first + number)
            frame.pts = round(part.start_seconds * RATE) + number
            frame.time_base = Fraction(1, RATE)
            packets += video.encode(frame)
        packets += video.encode(None)
        if audio is not None:
            assert isinstance(audio, av.AudioStream)
            for piece in _tone(audio, part, hertz):
                packets += audio.encode(piece)
            packets += audio.encode(None)
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            out.mux(packet)
    return path


def _tone(audio: av.AudioStream, part: Part, hertz: int) -> list[av.AudioFrame]:
    context = audio.codec_context
    samples = sine(part.sound_seconds, SOUND_RATE, hertz)[None]
    name = context.format.name
    typed = samples.astype(np.float32) if name.startswith("flt") else (samples * 32000).astype(np.int16)
    frames = []
    for start in range(0, typed.shape[1], 1024):
        piece = np.ascontiguousarray(typed[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(piece, format=name, layout="mono")
        frame.sample_rate, frame.time_base = SOUND_RATE, Fraction(1, SOUND_RATE)
        frame.pts = round(part.start_seconds * SOUND_RATE) + start
        frames.append(frame)
    return frames


def write_joined(path: Path, parts: Sequence[Part]) -> Path:
    """All parts one behind the other, byte by byte, each with a tone of its own."""
    first = 0
    content = b""
    for number, part in enumerate(parts):
        alone = path.with_name(f"part{number}{path.suffix}")
        content += write_grey(alone, part, first, HERTZ[number]).read_bytes()
        first += part.num_frames
    path.write_bytes(content)
    return path


@dataclass(frozen=True)
class Whole:
    """What a file gave: mean luma of each row, its sound at 16 kHz from the start, and what is lacking."""

    index: SourceIndex
    heard: Heard
    luma: list[float]
    sound: npt.NDArray[np.float32]
    seconds: float
    shortfall: str


def read_whole(path: Path | str) -> Whole:
    index = index_source(str(path))
    heard = read(path, index, (), np.arange(len(index.frames)), with_sound=True)
    luma = [
        float(heard.signals[i][0].mean()) if i in heard.signals else -1.0 for i in range(len(index.frames))
    ]
    pieces = [chunk.samples for chunk in heard.sound]
    if pieces:
        pieces.insert(0, np.zeros(heard.sound[0].start_sample, np.float32))
    length = measure(index, heard.report).duration_seconds
    lack = find_shortfall(index, len(index.frames), bool(pieces), True, heard.report) or stated_shortfall(
        index
    )
    return Whole(
        index,
        heard,
        luma,
        np.concatenate(pieces) if pieces else np.zeros(0, np.float32),
        index.duration_seconds if length is None else length,
        "" if lack is None else lack.message,
    )


def hertz_at(sound: npt.NDArray[np.float32], seconds: float) -> float:
    """The loudest pitch around a time; 0 in silence."""
    middle = round(seconds * 16000)
    piece = sound[max(0, middle - 160) : middle + 160]
    if len(piece) < 200 or np.abs(piece).max() < 0.05:
        return 0.0
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 1 << 13))
    return float(spectrum.argmax() * 16000 / (1 << 13))
