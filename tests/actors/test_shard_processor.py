"""The shard processor: one pass feeds every operation, and one operation's failure is its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from framemill.actors import shard_processor as shard_processor
from framemill.actors.indexing import SourceIndex, index_source
from framemill.actors.plan import parse_sampling
from framemill.actors.shard_processor import ShardProcessor
from framemill.actors.shard_tasks import ShardResult, ShardTask
from framemill.actors.shards import Shard
from framemill.actors.tracing import Trace
from framemill.errors import MediaError, SetupError
from framemill.ops import OPS, load_op
from framemill.ops.chunks import Audio, Chunk, Frames, ShardInfo, Signals
from framemill.ops.operation import Extractor, FrameOp, Op, Partial, Reads
from tests.actors.clips import moving, write_clip

RATE, FRAMES = 25, 60


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SourceIndex]:
    """Sixty frames with a key frame every ten, and a tone."""
    path = tmp_path_factory.mktemp("shard processor") / "clip.mp4"
    tone = (9000 * np.sin(np.arange(48_000 * FRAMES // RATE) / 20)).astype(np.int16)
    options = {"g": "10", "preset": "ultrafast"}
    write_clip(path, moving(FRAMES), rate=RATE, options=options, tone=tone / 32768)
    return path, index_source(str(path))


class Count(FrameOp):
    """A row a frame."""

    name = "count"
    schema = pa.schema([pa.field("frame_index", pa.int64())])

    def run(self, frames: Any, upstream: Mapping[str, pa.Table]) -> pa.Table:
        return pa.table({"frame_index": frames.frame_index}, self.schema)


class Broken(Count):
    """Fails at its first frame."""

    name = "broken"

    def run(self, frames: Any, upstream: Mapping[str, pa.Table]) -> pa.Table:
        raise ValueError("no luck today")


class AfterCount(Count):
    """Sees the rows of `count` of the same frames."""

    name = "after_count"
    after = ("count",)

    def run(self, frames: Any, upstream: Mapping[str, pa.Table]) -> pa.Table:
        assert upstream["count"]["frame_index"].to_numpy().tolist() == frames.frame_index.tolist()
        return upstream["count"]


class AfterBroken(Count):
    """Comes after what fails."""

    name = "after_broken"
    after = ("broken",)


class NoMemory(Count):
    """Runs out of memory."""

    name = "no_memory"

    def run(self, frames: Any, upstream: Mapping[str, pa.Table]) -> pa.Table:
        raise MemoryError


class NeedsModel(Count):
    """Needs a model that nobody has."""

    name = "needs_model"

    def __init__(self, options: Any, models: Mapping[str, Any]) -> None:
        raise SetupError("no such model: pull it")


class _Heard:
    def __init__(self, limit: int) -> None:
        self.done = False
        self.limit = limit
        self.seen: list[int] = []

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        if isinstance(chunk, Signals):
            self.seen += chunk.frame_index.tolist()
        if isinstance(chunk, Audio):
            self.seen.append(len(chunk.samples))
        self.done = len(self.seen) >= self.limit

    def finish(self) -> Partial:
        return Partial(pa.table({"seen": pa.array(self.seen, pa.int64())}))


class SeesAll(Op):
    """Sees every frame as signals."""

    name = "sees_all"
    reads = Reads.SIGNALS
    schema = pa.schema([pa.field("seen", pa.int64())])
    limit = 10**9

    def open(self, shard: ShardInfo) -> Extractor:
        return _Heard(self.limit)


class SeesFew(SeesAll):
    """Has enough after a few frames."""

    name = "sees_few"
    limit = 1


class Hears(SeesAll):
    """Hears the sound."""

    name = "hears"
    reads = Reads.AUDIO


KINDS = {
    kind.name: kind
    for kind in (Count, Broken, AfterCount, AfterBroken, NoMemory, NeedsModel, SeesAll, SeesFew, Hears)
}


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> ShardProcessor:
    """A shard processor that knows the stand-ins above besides the real operations."""

    def load(name: str) -> type[Op]:
        return KINDS[name] if name in KINDS else load_op(name)

    monkeypatch.setattr(shard_processor, "load_op", load)
    options = {name: load(name).Options() for name in [*KINDS, *OPS]}
    return ShardProcessor(
        options=options, models={}, sampling=parse_sampling("keyframes"), threads=1, trace=Trace()
    )


def _task(clip: tuple[Path, SourceIndex], *names: str, shard: Shard | None = None, **more: Any) -> ShardTask:
    path, index = clip
    given = {"shard_index": 0, "num_shards": 1, "picked": None, "threads": 1, **more}
    whole = Shard(0, FRAMES, True, index.duration_seconds)
    return ShardTask(path=str(path), index=index, shard=shard or whole, ops=names, **given)


def _column(result: ShardResult, name: str) -> list[int]:
    values: list[int] = result.partials[name].rows.column(0).to_pylist()
    return values


def test_each_operation_is_fed_its_kind_from_one_pass(
    processor: ShardProcessor, clip: tuple[Path, SourceIndex]
) -> None:
    told: list[int] = []
    result = processor.process(_task(clip, "count", "after_count", "sees_all", "hears"), told.append)
    assert _column(result, "count") == _column(result, "after_count") == list(range(0, FRAMES, 10))
    assert _column(result, "sees_all") == list(range(FRAMES))
    assert sum(_column(result, "hears")) == pytest.approx(16_000 * FRAMES / RATE, rel=0.05)
    assert (result.failures, result.shortfall) == ({}, None)
    assert result.report.num_decoded == FRAMES == told[-1]
    assert told == sorted(told)
    assert {"read", "count", "sees_all", "hears"} <= set(processor.trace.seconds)


def test_a_piece_gives_its_frames_alone(processor: ShardProcessor, clip: tuple[Path, SourceIndex]) -> None:
    piece = Shard(20, 50, False, 1.2)
    result = processor.process(
        _task(clip, "count", "sees_all", "hears", shard=piece, shard_index=1, num_shards=3)
    )
    assert _column(result, "count") == [20, 30, 40]
    assert _column(result, "sees_all") == list(range(20, 50))
    assert _column(result, "hears") == []


def test_a_failing_operation_fails_alone_with_what_comes_after_it(
    processor: ShardProcessor, clip: tuple[Path, SourceIndex]
) -> None:
    result = processor.process(_task(clip, "broken", "after_broken", "count"))
    assert result.failures["broken"] == ("ValueError", "no luck today")
    assert "broken" in result.failures["after_broken"][1]
    assert set(result.partials) == {"count"}


@pytest.mark.parametrize(("name", "error"), [("no_memory", MemoryError), ("needs_model", SetupError)])
def test_what_concerns_more_than_the_operation_is_not_swallowed(
    processor: ShardProcessor, clip: tuple[Path, SourceIndex], name: str, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        processor.process(_task(clip, "count", name))


def test_views_for_the_host_are_made_once_for_all_operations(
    processor: ShardProcessor, clip: tuple[Path, SourceIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Frames] = []

    def on_host(frames: Frames) -> Frames:
        asked.append(frames)
        return frames

    monkeypatch.setattr(Frames, "on_host", on_host)
    processor.process(_task(clip, "count", "after_count"))
    assert asked and len({id(frames) for frames in asked}) == len(asked)


def test_reading_stops_when_everybody_has_enough(
    processor: ShardProcessor, clip: tuple[Path, SourceIndex]
) -> None:
    path, index = clip
    long = path.with_name("long.mp4")
    if not long.exists():
        write_clip(long, moving(300), rate=RATE, options={"g": "50", "preset": "ultrafast"})
    index = index_source(str(long))
    before = threading.active_count()
    result = processor.process(_task((long, index), "sees_few", shard=Shard(0, 300, False, 12.0)))
    assert result.shortfall is None
    assert 0 < result.report.num_decoded < 300
    assert threading.active_count() <= before + 8, "threads that read go on"


def test_a_file_that_is_gone_is_an_error_of_the_file(
    processor: ShardProcessor, clip: tuple[Path, SourceIndex]
) -> None:
    path, index = clip
    with pytest.raises(MediaError):
        processor.process(_task((path.with_name("absent.mp4"), index), "count"))


def test_a_file_damaged_in_its_middle_falls_short(
    processor: ShardProcessor, clip: tuple[Path, SourceIndex], tmp_path: Path
) -> None:
    path, index = clip
    cut = tmp_path / "cut.mp4"
    data = path.read_bytes()
    start, end = data.index(b"mdat") + 2000, data.index(b"moov") - 4
    cut.write_bytes(data[:start] + bytes(end - start) + data[end:])
    result = processor.process(_task((cut, index), "count", "sees_all"))
    assert result.shortfall is not None and "could not be decoded" in result.shortfall.message
    assert result.shortfall.kind == "damaged_pictures"
    assert 0 < len(_column(result, "sees_all")) < FRAMES


def test_many_shards_at_once_give_what_one_gives(
    processor: ShardProcessor, clip: tuple[Path, SourceIndex]
) -> None:
    names = ("count", "sees_all", "hears", "frames", "scenes", "audio_levels")
    alone = processor.process(_task(clip, *names))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: processor.process(_task(clip, *names, threads=2)), range(8)))
    for result in together:
        for name in names:
            assert result.partials[name].rows.equals(alone.partials[name].rows), name
            assert processor.merge(name, [result.partials[name]]).equals(
                processor.merge(name, [alone.partials[name]])
            )
