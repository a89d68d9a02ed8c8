"""Camera steps: how the picture moved as a whole, ten times a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.ops.chunks import Chunk, Float64Array, FrameIndex, Int64Array, ShardInfo, Signals, UInt8Array
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.operation import Extractor, Op, Partial, Reads
from framemill.ops.shots.camera import CameraStep, measure_camera, view_of

# Between looks. Most of the trembling of hands is slower than five times a second.
STEP_SECONDS = 0.1
# One row per shard: what the step across its border is measured from.
STATE_SCHEMA = pa.schema(
    [
        column("planes", pa.list_(pa.large_binary()), "luma samples of the first and of the last look"),
        column("shape", pa.list_(pa.int64()), "height and width of the planes"),
        column("view", pa.list_(pa.float64()), "from places in the plane to the picture as shown, 4 values"),
    ]
)
_UNKNOWN = "; null where it cannot be told: of the first row, over cuts, without texture"
_Row = dict[str, Any]


class CameraSteps(Op):
    """One row for each look, of the step from the row before it, over cuts and transitions too."""

    name = "camera_steps"
    reads = Reads.SIGNALS
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column(
                "shift_x",
                pa.float32(),
                "how far the middle of the picture moved to the right, in its long sides" + _UNKNOWN,
                nullable=True,
            ),
            column("shift_y", pa.float32(), "the same, downwards", nullable=True),
            column(
                "scale", pa.float32(), "factor by which what is seen grew, > 0, 1 for none; null likewise",
                nullable=True,
            ),
            column(
                "roll_degrees", pa.float32(), "by how much the picture turned clockwise; null likewise",
                nullable=True,
            ),
            column(
                "tracked",
                pa.float32(),
                "share of the points followed that moved as these say, 0..1: the rest moved by itself, or "
                "was lost; 0 where they are null",
            ),
            column(
                "movement",
                pa.float32(),
                "mean way of the points followed, in long sides, >= 0; null likewise",
                nullable=True,
            ),
            column(
                "own_movement",
                pa.float32(),
                "the same less what the camera did: of people, things and parallax; null likewise",
                nullable=True,
            ),
        ]
    )  # fmt: skip

    def select(self, index: FrameIndex) -> Int64Array:
        """The first frame of each `STEP_SECONDS`."""
        ticks = np.floor(index.pts_seconds / STEP_SECONDS + 1e-6)
        return np.flatnonzero(np.diff(ticks, prepend=-1.0) > 0)

    def open(self, shard: ShardInfo) -> Extractor:
        """Keeps two planes, and a row for each look."""
        return _Collector(self, shard)

    def merge(self, partials: Sequence[Partial]) -> pa.Table:
        """Measures the steps across the borders of shards."""
        tables = []
        before: UInt8Array | None = None
        for partial in partials:
            state, rows = partial.state, partial.rows
            if state is None or not rows.num_rows:
                continue
            shape = state["shape"][0].as_py()
            first, last = (np.frombuffer(b, np.uint8).reshape(shape) for b in state["planes"][0].as_py())
            if before is not None:
                view = np.array(state["view"][0].as_py()).reshape(2, 2)
                (row,) = rows.slice(0, 1).to_pylist()
                begun = self.table_of([_row(row["frame_index"], row["pts_seconds"], before, first, view)])
                rows = pa.concat_tables([begun, rows.slice(1)])
            before = last
            tables.append(rows)
        return pa.concat_tables(tables) if tables else self.schema.empty_table()

    def table_of(self, rows: Sequence[_Row]) -> pa.Table:
        """Looks in the table's schema."""
        return pa.Table.from_pylist(rows, self.schema)


def _row(
    frame: int, seconds: float, before: UInt8Array | None, after: UInt8Array, view: Float64Array
) -> _Row:
    step: CameraStep | None = None if before is None else measure_camera(before, after, view)
    found = {"tracked": 0.0} if step is None else asdict(step)
    return {"frame_index": frame, "pts_seconds": seconds, **found}


class _Collector:
    """Steps between the looks of one shard."""

    def __init__(self, op: CameraSteps, shard: ShardInfo) -> None:
        self.op, self.shard = op, shard
        self.done = False
        looks = op.select(shard.index)
        self.looks = looks[(looks >= shard.start_frame) & (looks < shard.end_frame)]
        self.view = np.eye(2)
        self.rows: list[_Row] = []
        self.first: UInt8Array | None = None
        self.last: UInt8Array | None = None

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Signals)
        for i in np.flatnonzero(np.isin(chunk.frame_index, self.looks)).tolist():
            luma = chunk.luma[i]
            if self.first is None:
                self.first, self.view = luma.copy(), view_of(self.shard, luma.shape)
            frame, seconds = int(chunk.frame_index[i]), float(chunk.pts_seconds[i])
            self.rows.append(_row(frame, seconds, self.last, luma, self.view))
            self.last = luma
        if self.last is not None:
            self.last = self.last.copy()  # a view would keep the whole chunk alive

    def finish(self) -> Partial:
        ends = [plane for plane in (self.first, self.last) if plane is not None]
        state = {
            "planes": [plane.tobytes() for plane in ends],
            "shape": list(ends[0].shape) if ends else [0, 0],
            "view": self.view.ravel().tolist(),
        }
        return Partial(self.op.table_of(self.rows), pa.Table.from_pylist([state], STATE_SCHEMA))
