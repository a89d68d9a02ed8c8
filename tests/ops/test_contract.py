"""What every operation owes, whichever it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from framemill.models.registry import DEFAULTS
from framemill.models.runner import Model
from framemill.ops import OPS, load_op
from framemill.ops.chunks import Audio, Chunk, Frames, NativeAudio
from framemill.ops.operation import FrameOp, Op, Reads, TableOp
from tests.ops.audio.sound_stand_ins import SOUND_STAND_INS
from tests.ops.audio.speech_stand_ins import SPEECH_STAND_INS
from tests.ops.faces.face_stand_ins import FACE_STAND_INS
from tests.ops.frames.embedding_stand_ins import EMBEDDING_ENTRIES, EMBEDDING_STAND_INS
from tests.ops.objects.pose_stand_ins import POSE_STAND_INS
from tests.ops.stand_ins import ArrayFrames, audio_chunks, shard, signals
from tests.ops.text.text_stand_ins import TEXT_ENTRIES, TEXT_STAND_INS

NUM_FRAMES = 60
KEYS = {"frame_index", "time_seconds", "start_seconds", "uri", "table", "rank"}


class YoloxRunner:
    """Answers as a detector that sees one thing in the middle, by the mean a person or a bicycle."""

    max_batch = 8

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        (pictures,) = inputs.values()
        assert pictures.dtype == np.float32 and pictures.shape[1:] == (3, 416, 416)
        raw = np.zeros((len(pictures), 3549, 85), np.float32)
        raw[:, 1000, 2:4] = 2.0
        raw[:, 1000, 4] = 0.9
        classes = pictures.mean(axis=(1, 2, 3)).astype(int) % 2
        raw[np.arange(len(pictures)), 1000, 5 + classes] = 0.8
        return {"output": raw}

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class LoudnessRunner:
    """Answers as a voice detector that takes loud for speech."""

    max_batch = 1

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("a recurrent model must not be batched")

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        peaks = np.abs(inputs["input"]).max(axis=1)
        return {"speech_probs": np.clip(peaks, 0, 1), "hn": inputs["h"], "cn": inputs["c"]}


STAND_INS: dict[str, Callable[[], Any]] = {
    "objects": YoloxRunner,
    "vad": LoudnessRunner,
    **EMBEDDING_STAND_INS,
    **FACE_STAND_INS,
    **POSE_STAND_INS,
    **TEXT_STAND_INS,
    **SPEECH_STAND_INS,
    **SOUND_STAND_INS,
}


ENTRIES = {**DEFAULTS, **TEXT_ENTRIES, **EMBEDDING_ENTRIES}


def make(name: str) -> Op:
    cls = load_op(name)
    models = {role: Model(ENTRIES[role], STAND_INS[role]()) for role in cls.models}
    return cls(cls.Options(), models)


def picture_chunks(sizes: Sequence[int]) -> list[ArrayFrames]:
    generator = np.random.default_rng(7)
    shades = generator.integers(0, 256, (NUM_FRAMES, 9, 16, 3), dtype=np.uint8)
    frames = ArrayFrames(shades.repeat(10, axis=1).repeat(10, axis=2))
    return [frames.slice(start, stop) for start, stop in edges(NUM_FRAMES, sizes)]


def edges(length: int, sizes: Sequence[int]) -> list[tuple[int, int]]:
    found, position = [], 0
    for size in cycle(sizes):
        if position >= length:
            return found
        found.append((position, min(position + size, length)))
        position += size
    return found


def sound_chunks(sizes: Sequence[int]) -> list[Chunk]:
    generator = np.random.default_rng(8)
    loud = np.repeat(generator.integers(0, 2, 30), 8000) * 0.8
    samples = (loud * generator.choice([-1.0, 1.0], len(loud))).astype(np.float32)
    return list(audio_chunks(samples, cycle([size * 1000 for size in sizes])))


def chunks_for(op: Op, sizes: Sequence[int]) -> list[Chunk]:
    if op.reads is Reads.FRAMES:
        return list(picture_chunks(sizes))
    if op.reads is Reads.SIGNALS:
        return [signals(stop - start, start) for start, stop in edges(NUM_FRAMES, sizes)]
    if op.reads is Reads.TABLES:
        return chunks_for(made(op.after[0]), sizes)
    if op.reads is not Reads.AUDIO:
        return []
    found = [chunk for chunk in sound_chunks(sizes) if isinstance(chunk, Audio)]
    if Audio in op.takes():
        return list(found)
    return [
        NativeAudio(c.start_sample, np.stack([c.samples, -c.samples]), 16_000, ("FL", "FR")) for c in found
    ]


made = cache(make)


def rows_before(op: Op, chunk: Chunk) -> dict[str, pa.Table]:
    """What the operations that this one comes after make of a chunk."""
    found = {}
    for name in op.after:
        other = made(name)
        assert isinstance(other, FrameOp) and isinstance(chunk, Frames)
        found[name] = other.run(chunk, rows_before(other, chunk))
    return found


def fed(op: Op, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, dict[str, pa.Table]]]:
    return ((chunk, rows_before(op, chunk)) for chunk in chunks)


def chunks_like(other: Op, op: Op, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    """These chunks, or as much of what `other` reads, where that is not what the first in `after` reads."""
    if not chunks or other.reads is made(op.after[0]).reads:
        return chunks
    return chunks_for(other, [NUM_FRAMES])


def rows(op: Op, chunks: Sequence[Chunk], num_frames: int = NUM_FRAMES) -> pa.Table:
    info = shard(num_frames, 160, 90, num_frames / 10)
    if isinstance(op, TableOp):
        before = {name: made(name) for name in op.after}
        fitting = {name: chunks_like(other, op, chunks) for name, other in before.items()}
        return op.combine(
            {name: rows(other, fitting[name], num_frames) for name, other in before.items()}, info
        )
    extractor = op.open(info)
    for chunk, before in fed(op, chunks):
        if not extractor.done:
            extractor.feed(chunk, before)
    return op.merge([extractor.finish()])


@pytest.fixture(params=sorted(OPS))
def op(request: pytest.FixtureRequest) -> Op:
    return make(request.param)


def test_name_is_its_key(op: Op) -> None:
    assert OPS[op.name].endswith(f":{type(op).__name__}")
    assert op.version >= 1


def test_every_column_is_documented(op: Op) -> None:
    def check(field: pa.Field) -> None:
        assert (field.metadata or {}).get(b"doc", b"").strip(), field.name
        for position in range(field.type.num_fields if pa.types.is_struct(field.type) else 0):
            check(field.type.field(position))
        if pa.types.is_list(field.type) and pa.types.is_struct(field.type.value_type):
            check(pa.field("item", field.type.value_type, metadata={"doc": "item"}))

    for column in op.schema:
        check(column)


def test_rows_carry_their_key_and_no_source(op: Op) -> None:
    assert KEYS & set(op.schema.names)
    assert "source_id" not in op.schema.names
    assert "frame_index" not in op.schema.names or "pts_seconds" in op.schema.names


def test_options_are_frozen_keyword_only_and_refuse_the_unknown(op: Op) -> None:
    assert dataclasses.is_dataclass(op.Options)
    with pytest.raises(TypeError):
        op.Options(no_such_option=1)
    for field in dataclasses.fields(op.Options):
        assert field.kw_only
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(op.options, field.name, field.default)


def test_nothing_fed_gives_no_false_rows(op: Op) -> None:
    table = rows(op, [], num_frames=0)
    assert table.schema.equals(op.schema, check_metadata=True)
    assert table.num_rows == 0


def test_rows_fit_the_schema(op: Op) -> None:
    table = rows(op, chunks_for(op, [NUM_FRAMES]))
    assert table.schema.equals(op.schema, check_metadata=True)
    table.validate(full=True)
    for column in op.schema:
        assert column.nullable or table[column.name].null_count == 0, column.name
    assert table.num_rows > 0 or op.reads is Reads.INDEX


@pytest.mark.parametrize("sizes", [[1], [7], [3, 11]])
def test_rows_do_not_depend_on_chunking(op: Op, sizes: list[int]) -> None:
    assert rows(op, chunks_for(op, sizes)).equals(rows(op, chunks_for(op, [NUM_FRAMES])))


def test_one_instance_serves_several_shards_at_once(op: Op) -> None:
    if isinstance(op, TableOp):
        pytest.skip("combined once per source, from everything at once")
    chunks = chunks_for(op, [5])
    expected = rows(op, chunks)
    extractors = [op.open(shard(NUM_FRAMES, 160, 90, NUM_FRAMES / 10)) for _ in range(2)]
    for chunk, before in fed(op, chunks):
        for extractor in extractors:
            if not extractor.done:
                extractor.feed(chunk, before)
    for extractor in extractors:
        assert op.merge([extractor.finish()]).equals(expected)
