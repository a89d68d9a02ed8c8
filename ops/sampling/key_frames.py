"""Thumbnails and measures of key frames, for a cheap first estimate of what a file shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from framemill.ops.chunks import BoolArray, Chunk, FrameIndex, Int64Array, ShardInfo, Signals
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, Op, Partial, Reads
from framemill.ops.shots.features import THUMB_BYTES, detail_of, thumbnails

# Where nearly every frame is a key frame, processing all of them would not be cheap.
LEAST_GAP_SECONDS = 0.5


def select_key_frames(index: FrameIndex) -> Int64Array:
    """Sorted key frames to process: the first in each half second; the first frame where there is none."""
    keys = np.flatnonzero(index.is_key)
    if not len(keys):
        return np.zeros(min(1, len(index)), np.int64)
    _, first = np.unique(np.floor(index.pts_seconds[keys] / LEAST_GAP_SECONDS), return_index=True)
    return keys[first].astype(np.int64)


class KeyFrames(Op):
    """One row a key frame, at most two a second."""

    name = "key_frames"
    version = 2
    reads = Reads.SIGNALS
    schema = pa.schema(
        [
            column("frame_index", pa.int64(), "0-based position among the presented frames"),
            column("pts_seconds", pa.float64(), "seconds since the start of the presentation, >= 0"),
            column("brightness", pa.float32(), "mean of the coded luma samples, 0 to 255"),
            column(
                "detail",
                pa.float32(),
                "mean squared difference of neighbouring luma samples (long side at most 256), >= 0",
            ),
            column(
                "cells",
                pa.binary(THUMB_BYTES),
                "a tiny picture: means of 8 x 8 cells of luma, then of 4 x 4 of each chroma plane, as bytes",
            ),
        ]
    )

    def select(self, index: FrameIndex) -> Int64Array:
        return select_key_frames(index)

    def open(self, shard: ShardInfo) -> Extractor:
        is_mine = np.zeros(len(shard.index), bool)
        is_mine[select_key_frames(shard.index)] = True
        is_mine[: shard.start_frame] = False
        is_mine[shard.end_frame :] = False
        return _Thumbnails(is_mine)


@dataclass(slots=True)
class _Thumbnails:
    is_mine: BoolArray  # others may have asked for more frames
    rows: list[tuple[int, float, float, float, bytes]] = field(default_factory=list)
    done: bool = False

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Signals)
        mine = np.flatnonzero(self.is_mine[chunk.frame_index])
        cells = thumbnails(chunk.luma[mine], chunk.chroma_u[mine], chunk.chroma_v[mine])
        for i, tiny in zip(mine.tolist(), cells, strict=True):
            self.rows.append(
                (
                    int(chunk.frame_index[i]),
                    float(chunk.pts_seconds[i]),
                    float(chunk.luma[i].mean()),
                    detail_of(chunk.luma[i]),
                    tiny.tobytes(),
                )
            )

    def finish(self) -> Partial:
        columns = [list(values) for values in zip(*self.rows, strict=True)] or [[] for _ in KeyFrames.schema]
        return Partial(pa.table(columns, schema=KeyFrames.schema))
