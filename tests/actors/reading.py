"""Reading for tests: what comes through the reader, and what a straight decode gives."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer

from framemill.actors.indexing import SourceIndex
from framemill.actors.pyav_frames import PyavFrames
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.ops.chunks import Audio, Frames, Signals

NONE = np.zeros(0, np.int64)
Plane = npt.NDArray[np.uint8]


@dataclass
class Heard:
    """What one reading gave, by frame index."""

    report: ReadReport = field(default_factory=ReadReport)
    digests: dict[int, tuple[int, ...]] = field(default_factory=dict)
    signals: dict[int, tuple[Plane, Plane, Plane]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    sound: list[Audio] = field(default_factory=list)
    order: list[int] = field(default_factory=list)


def read(
    path: Path | str,
    index: SourceIndex,
    frames: Sequence[int] | npt.NDArray[np.int64] = (),
    signals: Sequence[int] | npt.NDArray[np.int64] = (),
    with_sound: bool = False,
    threads: int = 1,
    container: InputContainer | None = None,
) -> Heard:
    """Reads these frames and signals, in a file that was opened before if one is given."""
    heard = Heard()
    request = ReadRequest(np.asarray(frames, np.int64), np.asarray(signals, np.int64), with_sound, threads)
    for chunk in read_shard(str(path), index, request, heard.report, container):
        if isinstance(chunk, Audio):
            heard.sound.append(chunk)
            continue
        rows = chunk.frame_index.tolist()
        heard.seconds |= dict(zip(rows, chunk.pts_seconds.tolist(), strict=True))
        if isinstance(chunk, Signals):
            planes = zip(chunk.luma, chunk.chroma_u, chunk.chroma_v, strict=True)
            heard.signals |= dict(zip(rows, planes, strict=True))
        elif isinstance(chunk, PyavFrames):
            heard.order += rows
            heard.digests |= dict(zip(rows, map(digest, chunk._frames), strict=True))
        else:
            assert isinstance(chunk, Frames)
    return heard


def samples(frame: av.VideoFrame, index: int) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """One plane as it is stored, [height, width] of its components."""
    plane = frame.planes[index]
    wide = frame.format.components[min(index, len(frame.format.components) - 1)].bits > 8
    lines = np.frombuffer(memoryview(plane), np.uint16 if wide else np.uint8)  # type: ignore[arg-type]
    return lines.reshape(plane.height, -1)[:, : plane.width]


def digest(frame: av.VideoFrame) -> tuple[int, ...]:
    """A checksum of every plane, without the padding of its lines."""
    lines = []
    for plane in frame.planes:
        packed = frame.format.name in ("bgra", "bgr0", "rgba")
        wide = not packed and frame.format.components[0].bits > 8
        num_bytes = plane.width * (4 if packed else 2 if wide else 1)
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)  # type: ignore[arg-type]
        lines.append(zlib.crc32(np.ascontiguousarray(rows[:, :num_bytes])))
    return tuple(lines)


@dataclass
class Straight:
    """What a straight decode of everything gives."""

    pts: list[int | None] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    digests: list[tuple[int, ...]] = field(default_factory=list)
    thinned: dict[int, tuple[Plane, Plane, Plane]] = field(default_factory=dict)


NUM_THINNED = 100


@functools.cache
def straight(path: Path) -> Straight:
    """Remembered, since several tests ask for the same real file; every seventh frame is thinned."""
    seen = Straight()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for i, frame in enumerate(container.decode(stream)):
            seen.pts.append(frame.pts)
            seen.is_key.append(frame.key_frame)
            seen.digests.append(digest(frame))
            if i < NUM_THINNED and i % 7 == 0:
                seen.thinned[i] = thinned(frame)
    return seen


def thinned(frame: av.VideoFrame) -> tuple[Plane, Plane, Plane]:
    """Luma and chroma as the docstring of `Signals` has it, the slow way."""
    format_name = frame.format.name
    if not format_name.startswith(("yuv", "gray")):
        frame = frame.reformat(format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG")
    out = []
    for number, longest in zip(range(min(3, len(frame.planes))), (256, 128, 128), strict=False):
        plane = samples(frame, number)
        step = 1
        while -(-max(plane.shape) // step) > longest:
            step *= 2
        out.append((plane[::step, ::step] >> (frame.format.components[number].bits - 8)).astype(np.uint8))
    if len(out) == 1:
        rows, columns = out[0].shape
        out += [np.full((-(-rows // 2), -(-columns // 2)), 128, np.uint8)] * 2
    return out[0], out[1], out[2]
