"""Whether an operation keeps the contract that all operations keep, tried without any media.

    from framemill.testing import check_operation

    def test_darkness() -> None:
        check_operation(Darkness)
        check_operation(Darkness, Darkness.Options(below=100))

What it is fed is made of arrays: `NUM_FRAMES` pictures of noise, planes of every frame with a cut every ten
frames, and loud and silent pieces of 8,000 samples at the rate that the operation wants.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from framemill.errors import UsageError
from framemill.models.runner import Model
from framemill.ops import load_op
from framemill.ops.chunks import (
    Audio,
    Chunk,
    Float32Array,
    FrameIndex,
    Frames,
    Int64Array,
    NativeAudio,
    ShardInfo,
    Signals,
    UInt8Array,
)
from framemill.ops.operation import Extractor, Op, Partial, Reads, TableOp

NUM_FRAMES = 60
# One of these columns tells where in its source a row belongs.
KEYS = ("frame_index", "time_seconds", "start_seconds", "uri", "table", "rank")


class ArrayFrames(Frames):
    """Frames from an RGB array, uint8 [n, height, width, 3]; every fifth is a key frame."""

    def __init__(self, pixels: UInt8Array, first_index: int = 0, fps: float = 10.0) -> None:
        self.pixels = pixels
        self.frame_index = first_index + np.arange(len(pixels), dtype=np.int64)
        self.pts_seconds = self.frame_index / fps
        self.is_key = self.frame_index % 5 == 0
        self.height, self.width = pixels.shape[1:3]

    def slice(self, start: int, stop: int) -> ArrayFrames:
        """Some of them, which keep their positions and times."""
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
            found.append(cv2.resize(region, size)[None].astype(np.uint8, copy=False))
        return np.concatenate(found)

    def jpeg(self, quality: int) -> list[bytes]:
        import cv2

        flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
        return [cv2.imencode(".jpg", p[..., ::-1], flags)[1].tobytes() for p in self.pixels]


def frame_index(num_frames: int, fps: float = 10.0, key_interval: int = 5) -> FrameIndex:
    """An index of evenly spaced frames."""
    position = np.arange(num_frames, dtype=np.int64)
    return FrameIndex(
        position, position / fps, position % key_interval == 0, np.full(num_frames, 1000, np.int64)
    )


def shard(num_frames: int = 0, width: int = 0, height: int = 0, seconds: float = 0.0) -> ShardInfo:
    """A shard that is the whole source."""
    return ShardInfo(frame_index(num_frames), 0, num_frames, 0, 1, width, height, seconds)


def audio_chunks(
    samples: Float32Array, sizes: Iterator[int], start_sample: int = 0, rate: int = 16_000
) -> list[Audio]:
    """The sound at `rate` hertz cut into consecutive pieces of these sizes (the last takes the rest)."""
    chunks, position = [], 0
    while position < len(samples):
        piece = samples[position : position + next(sizes)]
        chunks.append(Audio(start_sample + position, piece, rate))
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


@dataclass(frozen=True, slots=True)
class Case:
    """An operation to be checked, and what it needs for that; as `check_operation` takes them."""

    op: Op
    models: Mapping[str, Model] = field(default_factory=dict)
    upstream: Mapping[str, pa.Table] = field(default_factory=dict)
    _made: dict[str, Op] = field(default_factory=dict)

    def require(self, holds: bool, told: str) -> None:
        """Raises AssertionError, which tells what is wrong, unless it holds."""
        if not holds:
            raise AssertionError(f"{type(self.op).__name__} ({self.op.name}): {told}")

    def other(self, name: str) -> Op:
        """An operation that others come after."""
        if name not in self._made:
            kind = load_op(name)
            filled = kind.Options(**dict.fromkeys(kind.additions, True))  # such as the pictures in `frames`
            self._made[name] = make_operation(kind, filled, self.models)
        return self._made[name]

    def rows(self, op: Op, sizes: Sequence[int]) -> pa.Table:
        """What an operation makes of the stand-in media.

        Args:
            sizes: frames in each chunk, or thousands of samples, over and over; empty for no media at all.
        """
        if not isinstance(op, TableOp):
            return op.merge([self.feed([op.open(_source(sizes))], op, sizes)[0].finish()])
        before = {name: self._table(name, sizes) for name in op.after}
        return op.combine(before, _source(sizes))

    def feed(self, extractors: Sequence[Extractor], op: Op, sizes: Sequence[int]) -> Sequence[Extractor]:
        """Feeds extractors of an operation in turn, each until it wants no more."""
        for chunk in _chunks(op, sizes) if sizes else ():
            before = {name: self._rows_of(name, chunk) for name in op.after}
            for extractor in extractors:
                if not extractor.done:
                    extractor.feed(chunk, before)
        return extractors

    def _table(self, name: str, sizes: Sequence[int]) -> pa.Table:
        if name not in self.upstream:
            return self.rows(self.other(name), sizes)
        return self.upstream[name] if sizes else self.upstream[name].slice(0, 0)

    def _rows_of(self, name: str, chunk: Chunk) -> pa.Table:
        """What an operation made of one chunk."""
        if name in self.upstream and isinstance(chunk, Frames):
            table = self.upstream[name]
            return table.filter(pc.is_in(table["frame_index"], value_set=pa.array(chunk.frame_index)))
        other = self.other(name)
        before = {each: self._rows_of(each, chunk) for each in other.after}
        rows = other.open(_source((NUM_FRAMES,))).feed(chunk, before)
        if rows is None:
            raise UsageError(
                f"{self.op.name} comes after {name}, whose rows are made only at the end of a source: derive "
                "it from TableOp"
            )
        return rows


def make_operation(kind: type[Op], options: Any, models: Mapping[str, Model]) -> Op:
    """An operation with the models that it needs under these options; None stands for the defaults.

    Raises:
        UsageError: a model is not there.
    """
    options = kind.Options() if options is None else options
    try:
        op = kind(options, {role: models[role] for role in kind.roles(options)})
        op.model_names = {role: models[role].entry.name for role in kind.names_models}
        return op
    except KeyError as missing:
        raise UsageError(
            f"{kind.name} runs a model for the role {missing}: give check_operation one, "
            f"models={{{missing}: framemill.models.runner.Model(entry, runner)}}; or, where it is another "
            f"operation that {kind.name} is needed for, rows instead, upstream={{{kind.name!r}: table}}"
        ) from missing


def check_operation(
    kind: type[Op],
    options: Any = None,
    *,
    models: Mapping[str, Model] | None = None,
    upstream: Mapping[str, pa.Table] | None = None,
) -> None:
    """Checks one operation against what every operation owes (`CHECKS`).

    Args:
        kind: the class. options: an object of its `Options`; None for the defaults.
        models: role -> what it runs for it. A stand-in that answers as the model would is enough.
        upstream: name in `after` -> its rows of the stand-in media, without source_id: frames 0 to
            `NUM_FRAMES` - 1, ten a second, 160 x 90 pixels. Those not given are made by the operation itself.

    Raises:
        AssertionError: it tells what the operation does not keep.
        UsageError: a model is missing.
    """
    case = Case(make_operation(kind, options, models or {}), models or {}, upstream or {})
    for check in CHECKS:
        check(case)


def every_column_is_documented(case: Case) -> None:
    def check(column: pa.Field) -> None:
        told = (column.metadata or {}).get(b"doc", b"").strip()
        case.require(
            bool(told),
            f"column {column.name!r} has no text: declare it with framemill.ops.columns.column",
        )
        for position in range(column.type.num_fields if pa.types.is_struct(column.type) else 0):
            check(column.type.field(position))
        if pa.types.is_list(column.type) and pa.types.is_struct(column.type.value_type):
            check(pa.field("item", column.type.value_type, metadata={"doc": "item"}))

    for column in case.op.schema:
        check(column)


def rows_carry_their_key_and_no_source(case: Case) -> None:
    names = case.op.schema.names
    case.require(
        bool(set(KEYS) & set(names)),
        f"no column tells where in its source a row belongs: have one of {', '.join(KEYS)}",
    )
    case.require("source_id" not in names, "source_id is put first by whoever runs it: take it out of schema")
    case.require(
        "frame_index" not in names or "pts_seconds" in names, "have pts_seconds, too, beside frame_index"
    )


def options_are_frozen_keyword_only_and_refuse_the_unknown(case: Case) -> None:
    remedy = "write @dataclass(frozen=True, kw_only=True)"
    kind = case.op.Options
    case.require(dataclasses.is_dataclass(kind), f"Options is no dataclass: {remedy}")
    try:
        kind(no_such_option=1)
    except TypeError:
        pass
    else:
        case.require(False, f"Options take an option that does not exist: {remedy}")
    for option in dataclasses.fields(kind):
        case.require(bool(option.kw_only), f"option {option.name!r} can be given without its name: {remedy}")
        try:
            setattr(case.op.options, option.name, getattr(case.op.options, option.name))
        except dataclasses.FrozenInstanceError:
            continue
        case.require(False, f"option {option.name!r} can be changed: {remedy}")


def nothing_fed_gives_no_false_rows(case: Case) -> None:
    table = case.rows(case.op, ())
    case.require(
        table.schema.equals(case.op.schema, check_metadata=True),
        f"of an empty source it makes a table of another schema than `schema`:\n{table.schema}",
    )
    case.require(table.num_rows == 0, f"it makes {table.num_rows} rows of an empty source")


def rows_fit_the_schema(case: Case) -> None:
    table = case.rows(case.op, (NUM_FRAMES,))
    case.require(
        table.schema.equals(case.op.schema, check_metadata=True),
        f"its rows have another schema than `schema`: pa.table(..., schema=self.schema)\n{table.schema}",
    )
    table.validate(full=True)
    for column in case.op.schema:
        case.require(
            column.nullable or table[column.name].null_count == 0,
            f"column {column.name!r} holds null: say nullable=True and when it is null, or fill it",
        )
    case.require(
        table.num_rows > 0 or case.op.reads is Reads.INDEX,
        "it makes no row of the stand-in media, so that nothing can be compared: check it with options, "
        "models or upstream under which it makes some",
    )


def rows_do_not_depend_on_chunking(case: Case) -> None:
    whole = case.rows(case.op, (NUM_FRAMES,))
    for sizes in ((1,), (7,), (3, 11)):
        _compare(case, case.rows(case.op, sizes), whole, f"when it is fed in chunks of {sizes} frames")


def one_instance_serves_several_shards_at_once(case: Case) -> None:
    if isinstance(case.op, TableOp):
        return  # combined once per source, from everything at once
    expected = case.rows(case.op, (5,))
    extractors = [case.op.open(_source((5,))) for _ in range(2)]
    for extractor in case.feed(extractors, case.op, (5,)):
        rows = case.op.merge([extractor.finish()])
        _compare(case, rows, expected, "when two shards are at work: what belongs to one is the extractor's")


def what_a_shard_gives_survives_being_stored(case: Case) -> None:
    if isinstance(case.op, TableOp):
        return
    (extractor,) = case.feed([case.op.open(_source((NUM_FRAMES,)))], case.op, (NUM_FRAMES,))
    given = extractor.finish()
    stored = Partial(_stored(given.rows), None if given.state is None else _stored(given.state))
    _compare(case, case.op.merge([stored]), case.rows(case.op, (NUM_FRAMES,)), "after a partial was stored")


CHECKS: tuple[Callable[[Case], None], ...] = (
    every_column_is_documented,
    rows_carry_their_key_and_no_source,
    options_are_frozen_keyword_only_and_refuse_the_unknown,
    nothing_fed_gives_no_false_rows,
    rows_fit_the_schema,
    rows_do_not_depend_on_chunking,
    one_instance_serves_several_shards_at_once,
    what_a_shard_gives_survives_being_stored,
)


def _compare(case: Case, rows: pa.Table, expected: pa.Table, when: str) -> None:
    case.require(
        rows.num_rows == expected.num_rows, f"{rows.num_rows} rows instead of {expected.num_rows} {when}"
    )
    differ = [name for name in expected.schema.names if not rows[name].equals(expected[name])]
    case.require(rows.equals(expected), f"other rows {when} (columns that differ: {', '.join(differ)})")


def _stored(table: pa.Table) -> pa.Table:
    """The table as a file holds it: without what is said of the schema as a whole."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_file(sink.getvalue()).read_all().replace_schema_metadata(None)


def _source(sizes: Sequence[int]) -> ShardInfo:
    num_frames = NUM_FRAMES if sizes else 0
    return shard(num_frames, 160, 90, num_frames / 10)


def _edges(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    position = 0
    for size in cycle(sizes):
        if position >= NUM_FRAMES:
            return
        yield position, min(position + size, NUM_FRAMES)
        position += size


def _chunks(op: Op, sizes: Sequence[int]) -> list[Chunk]:
    """The stand-in media of the kind that an operation reads."""
    if op.reads is Reads.FRAMES:
        shades = np.random.default_rng(7).integers(0, 256, (NUM_FRAMES, 9, 16, 3), dtype=np.uint8)
        frames = ArrayFrames(shades.repeat(10, axis=1).repeat(10, axis=2))
        return [frames.slice(start, stop) for start, stop in _edges(sizes)]
    if op.reads is Reads.SIGNALS:
        return [signals(stop - start, start) for start, stop in _edges(sizes)]
    if op.reads is not Reads.AUDIO:
        return []
    generator = np.random.default_rng(8)
    loud = np.repeat(generator.integers(0, 2, 30), 8000) * 0.8
    samples = (loud * generator.choice([-1.0, 1.0], len(loud))).astype(np.float32)
    heard = audio_chunks(samples, cycle([size * 1000 for size in sizes]), rate=op.sound_rate)
    if Audio in op.takes():
        return list(heard)
    both = ((piece.start_sample, np.stack([piece.samples, -piece.samples])) for piece in heard)
    return [NativeAudio(start, samples, op.sound_rate, ("FL", "FR")) for start, samples in both]
