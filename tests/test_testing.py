"""`check_operation` passes what keeps the contract, and says in words what an operation does not keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from framemill.errors import UsageError
from framemill.models.runner import Model
from framemill.ops.chunks import Audio, Chunk, Frames, ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, FrameOp, Op, Partial, Reads, TableOp
from framemill.testing import NUM_FRAMES, check_operation
from tests.small_models import SMALL

COLUMNS = (
    column("frame_index", pa.int64(), "0-based position"),
    column("pts_seconds", pa.float64(), "seconds, >= 0"),
    column("mean", pa.float64(), "mean brightness, 0..255"),
)


class Good(FrameOp):
    """Mean brightness."""

    name = "good"
    schema = pa.schema(COLUMNS)

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        means = frames.luma((16, 9)).mean((1, 2))
        return pa.table([frames.frame_index, frames.pts_seconds, means], schema=self.schema)


class Undocumented(Good):
    schema = pa.schema([*COLUMNS[:2], pa.field("mean", pa.float64(), False)])


class Nowhere(Good):
    schema = pa.schema([column("mean", pa.float64(), "mean brightness, 0..255")])


class Sourced(Good):
    schema = pa.schema([column("source_id", pa.string(), "content id"), *COLUMNS])


class Timeless(Good):
    schema = pa.schema([COLUMNS[0], COLUMNS[2]])


@dataclasses.dataclass
class Changeable:
    depth: int = 1


@dataclasses.dataclass(kw_only=True)
class Unfrozen:
    depth: int = 1


class Positional(Good):
    Options = Changeable


class Mutable(Good):
    Options = Unfrozen


class Inventing(Good):
    def open(self, shard: ShardInfo) -> Extractor:
        return _Inventing(self)


class _Inventing:
    """Has one row where there is nothing."""

    def __init__(self, op: Op) -> None:
        self.op, self.done, self.count = op, False, 0

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> pa.Table | None:
        self.count += 1
        return None

    def finish(self) -> Partial:
        return Partial(pa.table([[0], [0.0], [float(self.count)]], schema=self.op.schema))


class Untyped(Good):
    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        return super().run(frames, upstream).replace_schema_metadata({"by": "me"})


class Holey(Good):
    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        nothing: list[float | None] = [None] * len(frames)
        return pa.table([frames.frame_index, frames.pts_seconds, nothing], schema=self.schema)


class Silent(Good):
    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        return self.schema.empty_table()


class Relative(Good):
    """Compares each frame with the first of its chunk."""

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        means = frames.luma((16, 9)).mean((1, 2))
        return pa.table([frames.frame_index, frames.pts_seconds, means - means[0]], schema=self.schema)


class Remembering(Good):
    """Numbers its rows on the operation instead of in the extractor."""

    def open(self, shard: ShardInfo) -> Extractor:
        self.seen = 0
        return super().open(shard)

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        numbers = self.seen + np.arange(len(frames), dtype=np.float64)
        self.seen += len(frames)
        return pa.table([frames.frame_index, frames.pts_seconds, numbers], schema=self.schema)


class Hiding(Good):
    """Carries what it needs where no file holds it."""

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        return super().run(frames, upstream).replace_schema_metadata({"scale": "2"})

    def merge(self, partials: Sequence[Partial]) -> pa.Table:
        rows = super().merge(partials)
        scale = float((rows.schema.metadata or {}).get(b"scale", 1))
        means = pa.array(rows["mean"].to_numpy() * scale)
        return pa.table([rows["frame_index"], rows["pts_seconds"], means], schema=self.schema)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Undocumented, r"Undocumented \(good\): column 'mean' has no text"),
        (Nowhere, "no column tells where in its source a row belongs: have one of frame_index, "),
        (Sourced, "take it out of schema"),
        (Timeless, "have pts_seconds, too"),
        (Positional, "option 'depth' can be given without its name"),
        (Mutable, "option 'depth' can be changed: write @dataclass"),
        (Inventing, "it makes 1 rows of an empty source"),
        (Untyped, "its rows have another schema"),
        (Holey, "column 'mean' holds null"),
        (Silent, "it makes no row of the stand-in media"),
        (Relative, r"other rows when it is fed in chunks of \(1,\) frames \(columns that differ: mean\)"),
        (Remembering, r"other rows when two shards are at work: .* \(columns that differ: mean\)"),
        (Hiding, r"other rows after a partial was stored \(columns that differ: mean\)"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_an_operation_does_not_keep_is_said(kind: type[Op], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_operation(kind)


def test_what_keeps_the_contract_passes() -> None:
    check_operation(Good)


class Modelled(Good):
    """Asks a model."""

    models = ("objects",)

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        found = self.loaded["objects"].runner.run({"pictures": frames.luma((16, 9))})
        return pa.table([frames.frame_index, frames.pts_seconds, found["means"]], schema=self.schema)


class _Means:
    max_batch = 4

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"means": inputs["pictures"].mean((1, 2))}

    def run_whole(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return self.run(inputs)


def test_models_are_given() -> None:
    check_operation(Modelled, models={"objects": Model(SMALL["objects"], _Means())})
    with pytest.raises(UsageError, match="good runs a model for the role 'objects': give"):
        check_operation(Modelled)


class Doubled(Good):
    """Twice what another found in each frame."""

    name = "doubled"
    after = ("faces",)

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        rows = upstream["faces"]
        assert set(rows["frame_index"].to_pylist()) <= set(frames.frame_index.tolist())
        return pa.table(
            [rows["frame_index"], rows["frame_index"].cast(pa.float64()), rows["score"]], schema=self.schema
        )


class Counted(TableOp):
    """How often something was found, after two others, one of which it makes by itself."""

    name = "counted"
    after = ("faces", "scenes")
    schema = pa.schema([column("rank", pa.int64(), "position"), column("count", pa.int64(), "rows, >= 0")])

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        counts = [table.num_rows for table in upstream.values() if table.num_rows]
        return pa.table([range(len(counts)), counts], schema=self.schema)


@pytest.mark.parametrize("kind", [Doubled, Counted])
def test_rows_of_others_are_given_or_made(kind: type[Op]) -> None:
    faces = pa.table({"frame_index": [0, 0, 7, NUM_FRAMES - 1], "score": [0.5, 0.25, 1.0, 0.75]})
    check_operation(kind, upstream={"faces": faces})
    with pytest.raises(UsageError, match=r"upstream=\{'faces': table\}"):
        check_operation(kind)


class Heard(Op):
    """Wants sound at the rate of music."""

    name = "heard"
    reads = Reads.AUDIO
    sound_rate = 44_100
    schema = pa.schema([column("start_seconds", pa.float64(), "seconds, >= 0")])

    def open(self, shard: ShardInfo) -> Extractor:
        return _Heard(self)


class _Heard:
    def __init__(self, op: Op) -> None:
        self.op, self.done, self.rates = op, False, set[int]()

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> pa.Table | None:
        assert isinstance(chunk, Audio)
        self.rates.add(chunk.sample_rate)
        return None

    def finish(self) -> Partial:
        assert self.rates <= {44_100}
        return Partial(pa.table([[0.0] * len(self.rates)], schema=self.op.schema))


def test_sound_comes_at_the_rate_that_the_operation_wants() -> None:
    check_operation(Heard)


class Pictured(TableOp):
    """Counts the shots and the pictures that `frames` stores."""

    name = "pictured"
    after = ("scenes", "frames")
    schema = Counted.schema

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        pictures = [jpeg for jpeg in upstream["frames"]["image"].to_pylist() if jpeg.startswith(b"\xff\xd8")]
        counts = [upstream["scenes"].num_rows, len(pictures)] if pictures else []
        assert counts in ([], [NUM_FRAMES // 10, NUM_FRAMES])
        return pa.table([range(len(counts)), counts], schema=self.schema)


def test_frames_that_are_made_hold_pictures() -> None:
    check_operation(Pictured)


class Late(Good):
    """Comes after rows that are not there while frames are fed."""

    reads = Reads.SIGNALS
    after = ("scenes",)


def test_rows_that_come_too_late_are_told() -> None:
    with pytest.raises(UsageError, match="whose rows are made only at the end of a source"):
        check_operation(Late)
