"""Clips rendered for tests: pictures and tones whose content is known exactly."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def moving(count: int, width: int = 96, height: int = 64, seed: int = 0) -> list[Pixels]:
    """RGB pictures, each another one: blotches that drift, under a clock made of the frame's number."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    texture = coarse.repeat(8, 0).repeat(8, 1)[:height, :width]
    pictures = []
    for number in range(count):
        picture = np.roll(texture, (number, 2 * number), (0, 1)).copy()
        for bit in range(8):
            picture[:4, bit * 4 : bit * 4 + 4] = 235 if number >> bit & 1 else 20
        pictures.append(picture)
    return pictures


def marked(width: int, height: int, colour: tuple[int, int, int] = (220, 40, 40)) -> Pixels:
    """A grey picture with one coloured block in its upper left eighth."""
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[height // 8 : height // 4, width // 8 : width // 4] = colour
    return picture


def write_clip(
    path: Path,
    pictures: Iterable[Pixels | av.VideoFrame],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: int = 25,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
    flags: int = 0,
    tone: npt.NDArray[Any] | None = None,
    **context: Any,
) -> Path:
    """Encodes pictures, and a mono tone at 48 kHz as AAC beside them.

    Args:
        path: the file to write.
        pictures: RGB arrays or ready frames, at least one.
        codec, pixel_format, rate, options, flags, context: of the encoder.
        times: presentation time of each picture in `time_base`; evenly spaced without.
        container_options, container_format: of the muxer.
        tone: float samples at 48 kHz.
    """
    frames = [p if isinstance(p, av.VideoFrame) else av.VideoFrame.from_ndarray(p) for p in pictures]
    with av.open(str(path), "w", options=container_options or {}, format=container_format) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pixel_format
        if time_base is not None:
            stream.codec_context.time_base = time_base
        stream.codec_context.flags |= flags
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        sound = out.add_stream("aac", rate=48000, layout="mono") if tone is not None else None
        for number, frame in enumerate(frames):
            frame.pts = number if times is None else times[number]
            frame.time_base = time_base or Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            assert tone is not None
            for piece in sound_frames(tone, 48000, "fltp", "mono"):
                out.mux(sound.encode(piece))
            out.mux(sound.encode(None))
    return path


def sine(seconds: float, rate: int, hertz: float = 440.0) -> npt.NDArray[np.float64]:
    """A tone of amplitude 0.5."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def sound_frames(
    samples: npt.NDArray[Any], rate: int, sample_format: str, layout: str, first: int = 0
) -> list[av.AudioFrame]:
    """Frames of 1024 samples of float sound [n] (all channels alike) or [channels, n]."""
    channels = av.AudioLayout(layout).nb_channels
    planes = np.broadcast_to(samples, (channels, samples.shape[-1])) if samples.ndim == 1 else samples
    frames = []
    for start in range(0, planes.shape[1], 1024):
        piece = planes[:, start : start + 1024]
        plain = {"u8": lambda x: x * 127 + 128, "s16": lambda x: x * 32767, "s32": lambda x: x * (2**31 - 1)}
        kind = sample_format.rstrip("p")
        scaled = plain[kind](piece) if kind in plain else piece
        typed = scaled.astype({"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32}[kind])
        if not sample_format.endswith("p"):
            typed = typed.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(typed), format=sample_format, layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, first + start, Fraction(1, rate)
        frames.append(frame)
    return frames


def write_sound(
    path: Path,
    samples: npt.NDArray[Any],
    rate: int,
    *,
    codec: str = "pcm_s16le",
    sample_format: str = "s16",
    layout: str = "mono",
    first: int = 0,
    skip: tuple[int, int] = (0, 0),
) -> Path:
    """Encodes float sound.

    Args:
        first: time of the first sample, in samples.
        skip: from this sample on, times are later by so many samples.
    """
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout, format=sample_format)
        for frame in sound_frames(samples, rate, sample_format, layout, first):
            assert frame.pts is not None
            if skip[1] and frame.pts - first >= skip[0]:
                frame.pts += skip[1]
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def turn(path: Path, degrees: int, is_mirrored: bool = False) -> Path:
    """Writes a clockwise turn into the track header of an MP4 (14496-12, 8.3.2), mirrored before if asked."""
    a, b = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    sign = -1 if is_mirrored else 1
    return write_matrix(path, sign * a, sign * b, -b, a)


def write_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Writes a display matrix into the track header of an MP4."""
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # behind version, times, identity, duration, layer and volume
    data[at : at + 36] = matrix
    path.write_bytes(data)
    return path


def remux(source: Path, target: Path, options: dict[str, str] | None = None, **open_options: Any) -> Path:
    """Copies all packets into another container."""
    with (
        av.open(str(source)) as given,
        av.open(str(target), "w", options=options or {}, **open_options) as made,
    ):
        copies = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is not None or packet.size:
                packet.stream = copies[packet.stream.index]
                made.mux(packet)
    return target


def decode_all(path: Path, stream_index: int) -> list[av.VideoFrame]:
    """Every frame of a straight decode on one thread."""
    with av.open(str(path)) as container:
        stream = container.streams[stream_index]
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.thread_count = 1
        return list(container.decode(stream))
