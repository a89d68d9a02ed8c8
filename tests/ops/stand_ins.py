"""Frames, sound and sessions without files, for tests of operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import (
    Audio,
    Float32Array,
    FrameIndex,
    Frames,
    Int64Array,
    ShardInfo,
    Signals,
    UInt8Array,
)


class ArrayFrames(Frames):
    """Frames from an RGB array, uint8 [n, height, width, 3]."""

    def __init__(self, pixels: UInt8Array, first_index: int = 0, fps: float = 10.0) -> None:
        self.pixels = pixels
        self.frame_index = first_index + np.arange(len(pixels), dtype=np.int64)
        self.pts_seconds = self.frame_index / fps
        self.is_key = self.frame_index % 5 == 0
        self.height, self.width = pixels.shape[1:3]

    def slice(self, start: int, stop: int) -> ArrayFrames:
        part = ArrayFrames(self.pixels[start:stop])
        for name in ("frame_index", "pts_seconds", "is_key"):
            setattr(part, name, getattr(self, name)[start:stop])
        return part

    def luma(self, size: tuple[int, int] | None = None) -> UInt8Array:
        import cv2

        if not len(self):
            width, height = size or (self.width, self.height)
            return np.empty((0, height, width), np.uint8)
        return np.stack([cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in self.rgb(size)])

    def rgb(self, size: tuple[int, int] | None = None) -> UInt8Array:
        import cv2

        width, height = size or (self.width, self.height)
        views = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in self.pixels]
        return np.stack(views) if views else np.empty((0, height, width, 3), np.uint8)

    def crops(self, index: Int64Array, boxes: Float32Array, size: tuple[int, int]) -> UInt8Array:
        import cv2

        found = [np.empty((0, size[1], size[0], 3), np.uint8)]
        for position, (x0, y0, x1, y1) in zip(index, np.rint(boxes).astype(int), strict=True):
            region = self.pixels[position, max(y0, 0) : y1, max(x0, 0) : x1]
            found.append(cv2.resize(region, size)[None])
        return np.concatenate(found)

    def jpeg(self, quality: int) -> list[bytes]:
        import cv2

        flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
        return [cv2.imencode(".jpg", p[..., ::-1], flags)[1].tobytes() for p in self.pixels]


class OrtRunner:
    """A model on ONNX Runtime, one thread, one row at a time."""

    max_batch = 1

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        num_rows = len(next(iter(inputs.values())))
        rows = [
            self.run_whole({name: values[row : row + 1] for name, values in inputs.items()})
            for row in range(num_rows)
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in self.names}

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return dict(zip(self.names, self.session.run(None, dict(inputs)), strict=True))


def vad_path() -> Path:
    """The Silero detector inside faster-whisper."""
    from importlib.util import find_spec

    spec = find_spec("faster_whisper")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "assets" / "silero_vad_v6.onnx"


def frame_index(num_frames: int, fps: float = 10.0, key_interval: int = 5) -> FrameIndex:
    """An index of evenly spaced frames."""
    position = np.arange(num_frames, dtype=np.int64)
    return FrameIndex(
        position, position / fps, position % key_interval == 0, np.full(num_frames, 1000, np.int64)
    )


def shard(num_frames: int = 0, width: int = 0, height: int = 0, seconds: float = 0.0) -> ShardInfo:
    """A shard that is the whole source."""
    return ShardInfo(frame_index(num_frames), 0, num_frames, 0, 1, width, height, seconds)


def audio_chunks(samples: Float32Array, sizes: Iterator[int], start_sample: int = 0) -> list[Audio]:
    """The sound at 16 kHz cut into consecutive pieces of these sizes (the last takes the rest)."""
    chunks, position = [], 0
    while position < len(samples):
        piece = samples[position : position + next(sizes)]
        chunks.append(Audio(start_sample + position, piece, 16_000))
        position += len(piece)
    return chunks


def signals(num_frames: int, first_index: int = 0) -> Signals:
    """Planes of scenes of ten frames each, bright and dark in turn, with a little change in every frame."""
    position = first_index + np.arange(num_frames, dtype=np.int64)
    y, x = np.mgrid[:72, :128]
    texture = (position[:, None, None] * 7 + y * 3 + x * 5) % 4
    luma = (40 + 150 * (position // 10 % 2)[:, None, None] + texture).astype(np.uint8)
    chroma = np.full((num_frames, 36, 64), 128, np.uint8)
    return Signals(position, position / 10.0, position % 5 == 0, luma, chroma, chroma.copy())
