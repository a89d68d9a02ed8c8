"""One clip of each kind that has its own way of going wrong."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.actors.clips import moving, remux, sine, write_clip

Maker = Callable[[Path], Path]
INTERLACED = av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me


def b_frames(folder: Path) -> Path:
    options = {"bf": "3", "g": "12", "x264-params": "b-pyramid=normal:scenecut=0"}
    return write_clip(folder / "b.mp4", moving(50), options=options, tone=sine(2, 48000))


def matroska(folder: Path) -> Path:
    return remux(b_frames(folder), folder / "b.mkv")


def long_gops(folder: Path) -> Path:
    """Key frames so far apart that the reader seeks from one to the next."""
    options = {"g": "100", "bf": "2", "preset": "ultrafast", "x264-params": "scenecut=0"}
    return write_clip(folder / "long.mp4", moving(400, 48, 32), options=options)


class _Pipe(io.RawIOBase):
    """Collects what is written; like a pipe, it cannot go back."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, piece: bytes) -> int:  # type: ignore[override]
        self.data += piece
        return len(piece)


def matroska_without_cues(folder: Path) -> Path:
    source, pipe = long_gops(folder), _Pipe()
    with av.open(str(source)) as given, av.open(pipe, "w", format="matroska", options={"live": "1"}) as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    path = folder / "live.mkv"
    path.write_bytes(pipe.data)
    return path


def transport_stream(folder: Path) -> Path:
    return remux(b_frames(folder), folder / "b.ts")


def raw_h264(folder: Path) -> Path:
    return write_clip(folder / "raw.h264", moving(40), options={"bf": "2", "g": "10"})


def raw_hevc(folder: Path) -> Path:
    params = "bframes=2:keyint=10:min-keyint=10:log-level=none"
    return write_clip(folder / "raw.hevc", moving(30), codec="libx265", options={"x265-params": params})


def avi_b_frames(folder: Path) -> Path:
    return write_clip(folder / "b.avi", moving(40), codec="mpeg4", options={"bf": "2", "g": "10"})


def avi_h264(folder: Path) -> Path:
    return write_clip(folder / "h264.avi", moving(40), options={"bf": "2", "g": "10"})


def open_gops(folder: Path) -> Path:
    params = "open-gop=1:bframes=3:keyint=12:min-keyint=12:scenecut=0"
    return write_clip(folder / "open.mp4", moving(60), options={"x264-params": params})


def open_gops_stream(folder: Path) -> Path:
    return remux(open_gops(folder), folder / "open.ts")


def open_gops_hevc(folder: Path) -> Path:
    params = "open-gop=1:bframes=3:keyint=12:min-keyint=12:scenecut=0:log-level=none"
    return write_clip(folder / "open265.mp4", moving(60), codec="libx265", options={"x265-params": params})


def temporal_layers_hevc(folder: Path) -> Path:
    params = "temporal-layers=3:bframes=3:b-adapt=0:keyint=24:min-keyint=24:log-level=none"
    return write_clip(folder / "layers.mp4", moving(50), codec="libx265", options={"x265-params": params})


def interlaced_h264(folder: Path) -> Path:
    params = "tff=1:bframes=2:keyint=12"
    return write_clip(
        folder / "fields.mp4", moving(40, 96, 96), options={"x264-params": params}, flags=INTERLACED
    )


def interlaced_mpeg2(folder: Path) -> Path:
    return write_clip(
        folder / "fields.ts",
        moving(40, 96, 96),
        codec="mpeg2video",
        options={"bf": "2", "g": "12"},
        flags=INTERLACED,
    )


def variable_rate(folder: Path) -> Path:
    steps = np.random.default_rng(5).integers(5, 120, 40)
    times = np.concatenate(([0], np.cumsum(steps)[:-1])).tolist()
    return write_clip(
        folder / "vfr.mkv", moving(40), times=times, time_base=Fraction(1, 1000), options={"g": "9"}
    )


def late_start(folder: Path) -> Path:
    return write_clip(folder / "late.mkv", moving(30), times=[75 + n for n in range(30)], options={"g": "9"})


def odd_size(folder: Path) -> Path:
    return write_clip(
        folder / "odd.mp4", moving(20, 97, 61), pixel_format="yuv444p", options={"g": "8", "bf": "2"}
    )


def ten_bits(folder: Path) -> Path:
    return write_clip(folder / "ten.mp4", moving(30), pixel_format="yuv420p10le", options={"g": "8"})


def intra_refresh(folder: Path) -> Path:
    params = "intra-refresh=1:keyint=10:bframes=0"
    return write_clip(folder / "refresh.mp4", moving(40), options={"x264-params": params})


def all_keys(folder: Path) -> Path:
    return write_clip(folder / "keys.mov", moving(30), codec="prores_ks", pixel_format="yuv422p10le")


def lossless(folder: Path) -> Path:
    return write_clip(folder / "lossless.mkv", moving(20), codec="ffv1", pixel_format="yuv420p")


def gray(folder: Path) -> Path:
    return write_clip(folder / "gray.mkv", moving(20), codec="ffv1", pixel_format="gray")


def rgb(folder: Path) -> Path:
    return write_clip(folder / "rgb.mkv", moving(20), codec="ffv1", pixel_format="bgr0")


def motion_jpeg(folder: Path) -> Path:
    return write_clip(folder / "jpeg.avi", moving(20), codec="mjpeg", pixel_format="yuvj420p")


def vp9_hidden(folder: Path) -> Path:
    """VP9 with pictures that are decoded but not shown."""
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "16", "cpu-used": "8", "deadline": "realtime"}
    return write_clip(folder / "hidden.webm", moving(40), codec="libvpx-vp9", options=options)


def fragmented(folder: Path) -> Path:
    return remux(b_frames(folder), folder / "pieces.mp4", {"movflags": "frag_keyframe+empty_moov"})


KINDS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        b_frames, matroska, long_gops, matroska_without_cues, transport_stream, raw_h264, raw_hevc,
        avi_b_frames, avi_h264, open_gops, open_gops_stream, open_gops_hevc, temporal_layers_hevc,
        interlaced_h264, interlaced_mpeg2, variable_rate, late_start, odd_size, ten_bits, intra_refresh,
        all_keys, lossless, gray, rgb, motion_jpeg, vp9_hidden, fragmented,
    )
}  # fmt: skip
