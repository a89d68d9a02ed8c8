"""Stretches of time by motion: frozen, static, shaky or moving. Processes every frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from framemill.errors import UsageError
from framemill.ops.chunks import Chunk, Float64Array, ShardInfo, Signals, UInt8Array
from framemill.ops.columns import STRETCH_COLUMNS, column
from framemill.ops.operation import Extractor, Op, Partial, Reads
from framemill.ops.shots.picture_steps import ASSUMED_STEP_SECONDS, KINDS, Steps, classify, measure_step

# One row per shard. Lists run over its frames; the first step of a shard is measured when shards are merged.
STATE_SCHEMA = pa.schema(
    [
        column("frame_index", pa.list_(pa.int64()), "0-based position in the source"),
        column("pts_seconds", pa.list_(pa.float64()), "seconds since the start of the presentation"),
        column(
            "difference", pa.list_(pa.float64()), "mean absolute difference to the frame before, in levels"
        ),
        column("shift_x", pa.list_(pa.float64()), "shift from the frame before in long sides of the frame"),
        column("shift_y", pa.list_(pa.float64()), "likewise, downwards"),
        column("planes", pa.list_(pa.large_binary()), "luma samples of the first and of the last frame"),
        column("shape", pa.list_(pa.int64()), "height and width of the planes"),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StretchesOptions:
    """Options of `stretches`.

    Attributes:
        frozen_difference: most that a frozen picture changes from frame to frame, as the mean absolute
            difference in 8-bit levels, 0..255; 0.001 of the range, as in FFmpeg's freezedetect.
        static_difference: the same for a static picture, averaged over half a second.
        shake: least root mean square speed, less its running mean, of a shaky picture, in long sides of the
            frame per second, > 0: 0.05 is a swing of 0.3% of the width four times a second.
        min_still_seconds: least length of a frozen or static stretch, >= 0; freezedetect's.
        min_shake_seconds: least length of a shaky stretch, >= 0.
    """

    frozen_difference: float = 0.255
    static_difference: float = 1.0
    shake: float = 0.05
    min_still_seconds: float = 2.0
    min_shake_seconds: float = 1.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            limit = 86400.0 if name.endswith("_seconds") else 255.0
            if not 0 <= getattr(self, name) <= limit:
                raise UsageError(f"stretches.{name} is {getattr(self, name)}; it must be 0 to {limit:g}")


class Stretches(Op):
    """Rows in order of time; together they cover the picture without gap or overlap."""

    name = "stretches"
    reads = Reads.SIGNALS
    Options = StretchesOptions
    options: StretchesOptions
    schema = pa.schema(
        [
            *STRETCH_COLUMNS,
            column(
                "kind",
                pa.dictionary(pa.int32(), pa.string()),
                "frozen: the same picture but for coding noise; shaky: the camera trembles; static: hardly "
                "anything moves; moving: none of these; the first that holds",
            ),
            column(
                "difference",
                pa.float32(),
                "mean over its frames of the mean absolute difference to the one before, 8-bit levels, >= 0",
            ),
            column(
                "shake",
                pa.float32(),
                "root mean square, over its frames, of the speed of the picture less its running mean, in "
                "long sides of the frame per second, >= 0; speeds are found by phase correlation",
            ),
        ]
    )

    def open(self, shard: ShardInfo) -> Extractor:
        """Collects five numbers a frame."""
        return _Collector(self, shard)

    def merge(self, partials: Sequence[Partial]) -> pa.Table:
        """Finds the stretches in the joined series of all shards."""
        states = [p.state for p in partials if p.state is not None]
        states = [state for state in states if len(state["frame_index"][0])]
        if not states:
            return self.schema.empty_table()
        steps = _joined(states)
        o = self.options
        kind, jitter = classify(
            steps, o.frozen_difference, o.static_difference, o.shake, o.min_still_seconds, o.min_shake_seconds
        )
        starts = np.flatnonzero(np.append(True, kind[1:] != kind[:-1]))
        counts = np.diff(np.append(starts, len(kind)))
        frame, seconds = steps.frame_index, steps.pts_seconds
        gap = float(np.median(np.diff(seconds))) if len(seconds) > 1 else ASSUMED_STEP_SECONDS
        columns = [
            seconds[starts],
            np.append(seconds[starts[1:]], seconds[-1] + gap),
            frame[starts],
            np.append(frame[starts[1:]], frame[-1] + 1),
            pa.DictionaryArray.from_arrays(pa.array(kind[starts].astype(np.int32)), pa.array(KINDS)),
            (np.add.reduceat(steps.difference, starts) / counts).astype(np.float32),
            np.sqrt(np.add.reduceat(jitter**2, starts) / counts).astype(np.float32),
        ]
        return pa.table(columns, schema=self.schema)


class _Collector:
    """Steps between the frames of one shard."""

    def __init__(self, op: Stretches, shard: ShardInfo) -> None:
        self.op, self.shard = op, shard
        self.done = False
        self.rows: list[tuple[int, float, float, float, float]] = []
        self.first: UInt8Array | None = None
        self.last: UInt8Array | None = None

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Signals)
        inside = (chunk.frame_index >= self.shard.start_frame) & (chunk.frame_index < self.shard.end_frame)
        for i in np.flatnonzero(inside).tolist():
            luma = chunk.luma[i]
            step = (0.0, 0.0, 0.0) if self.last is None else measure_step(self.last, luma)
            self.rows.append((int(chunk.frame_index[i]), float(chunk.pts_seconds[i]), *step))
            self.first = luma.copy() if self.first is None else self.first
            self.last = luma
        if self.last is not None:
            self.last = self.last.copy()  # a view would keep the whole chunk alive

    def finish(self) -> Partial:
        series = [list(values) for values in zip(*self.rows, strict=True)] or [[], [], [], [], []]
        ends = [plane for plane in (self.first, self.last) if plane is not None]
        row = [*series, [plane.tobytes() for plane in ends], list(ends[0].shape) if ends else [0, 0]]
        columns = [pa.array([value], field.type) for value, field in zip(row, STATE_SCHEMA, strict=True)]
        return Partial(self.op.schema.empty_table(), pa.table(columns, schema=STATE_SCHEMA))


def _joined(states: Sequence[pa.Table]) -> Steps:
    """The series of all shards, with the step across each shard boundary measured."""
    parts: list[list[Float64Array]] = []
    before: UInt8Array | None = None
    for state in states:
        series = [state[name][0].values.to_numpy().copy() for name in Steps.__slots__]
        shape = state["shape"][0].as_py()
        first, last = (np.frombuffer(b, np.uint8).reshape(shape) for b in state["planes"][0].as_py())
        if before is not None:
            for values, value in zip(series[2:], measure_step(before, first), strict=True):
                values[0] = value
        before = last
        parts.append(series)
    return Steps(*(np.concatenate(values) for values in zip(*parts, strict=True)))
