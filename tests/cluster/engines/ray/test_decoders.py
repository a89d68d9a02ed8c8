"""Decoders and their pool without a cluster: what a message holds, and who is lent to whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray")

from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.cluster.engines.ray import split as ray_split
from framemill.cluster.engines.ray.pools import STREAMS
from framemill.cluster.engines.ray.split import MESSAGE_FRAMES, Decoder, DecoderPool
from framemill.cluster.run.messages import Sandbox
from framemill.errors import MediaError
from framemill.ops.chunks import Audio, Chunk, Frames, Signals
from tests.cluster.extraction import FPS, render_clip


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # a decoder hides the GPUs; this puts things back


def _content(chunks: list[Chunk]) -> list[Any]:
    found: list[Any] = []
    for chunk in chunks:
        if isinstance(chunk, Audio):
            found.append((chunk.start_sample, chunk.samples.tobytes()))
        elif isinstance(chunk, Frames):
            found.append((chunk.frame_index.tolist(), chunk.luma().tobytes()))
        elif isinstance(chunk, Signals):
            found.append((chunk.frame_index.tolist(), chunk.luma.tobytes()))
    return found


@pytest.mark.parametrize("most_bytes", [1 << 30, 1])
def test_messages_hold_what_a_reader_gives(tmp_path: Path, most_bytes: int) -> None:
    path = str(render_clip(tmp_path / "clip.mp4", seed=1, seconds=8.0))
    index = index_source(path)
    every = np.arange(len(index.frames))
    request = ReadRequest(every, every[::2], with_sound=True, threads=1)
    expected, report = [], ReadReport()
    for chunk in read_shard(path, index, request, report):
        expected.append(chunk)
    decoder = Decoder(most_bytes, Sandbox())
    assert len(decoder.index(path).frames) == 8 * FPS
    messages = [decoder.start("stream", path, index, request)]
    while not messages[-1][2]:
        messages.append(decoder.next("stream"))
    decoder.close("stream")
    assert _content([chunk for chunks, _, _ in messages for chunk in chunks]) == _content(expected)
    assert messages[-1][1] == report and report.num_decoded == len(every)
    sizes = [sum(len(c) for c in chunks if isinstance(c, Frames)) for chunks, _, _ in messages]
    if most_bytes == 1:
        assert {len(chunks) for chunks, _, _ in messages[:-1]} == {1}
    else:
        assert len(sizes) > 2 and min(sizes[:-1]) >= MESSAGE_FRAMES


def test_a_shard_may_be_given_up_half_way(tmp_path: Path) -> None:
    path = str(render_clip(tmp_path / "clip.mp4", seed=1))
    index = index_source(path)
    decoder = Decoder(1, Sandbox())
    request = ReadRequest(np.arange(len(index.frames)), np.zeros(0, np.int64), with_sound=False, threads=1)
    assert not decoder.start("stream", path, index, request)[2]
    decoder.close("stream")
    decoder.close("stream")
    with pytest.raises(KeyError):
        decoder.next("stream")
    with pytest.raises(MediaError):
        decoder.start("gone", path + ".gone", index, request)


class _Ray:
    """Stands in for Ray: actors that are ready, and calls that return, when the test says so."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.done: set[Any] = set()
        self.killed: list[Any] = []

    def remote(self, kind: type) -> Any:
        ray = self

        class Actor:
            def __init__(self) -> None:
                self.calls: list[tuple[str, Any]] = []
                ray.made.append(self)

            def __getattr__(self, name: str) -> Any:
                def call(*given: Any) -> Any:
                    self.calls.append((name, given))
                    return (id(self), name, given)

                return type("Method", (), {"remote": staticmethod(call)})

        class Options:
            def remote(self, *given: Any) -> Actor:
                return Actor()

        return type("Kind", (), {"options": lambda self, **asked: Options()})()

    def wait(self, refs: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return [ref for ref in refs if ref in self.done], []

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)

    def let_in(self, actor: Any) -> None:
        self.done.add((id(actor), "ready", ()))


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> _Ray:
    stand_in = _Ray()
    monkeypatch.setattr(ray_split, "ray", stand_in)
    return stand_in


def _lend(pool: DecoderPool, numbers: range, actor: str = "actor") -> list[str]:
    return [pool.acquire(f"stream {number}", actor)[0] for number in numbers]


def test_the_least_busy_decoder_is_lent_and_the_pool_grows(ray: _Ray) -> None:
    pool = DecoderPool(2, 3, 1.0, 1, Sandbox())
    assert len(ray.made) == 2
    ray.let_in(ray.made[1])
    assert _lend(pool, range(1)) == ["decoder-1"], "the other found no room yet"
    ray.let_in(ray.made[0])
    assert _lend(pool, range(1, 2 * STREAMS)).count("decoder-0") == STREAMS
    assert len(ray.made) == 2
    _lend(pool, range(10, 12))
    assert len(ray.made) == 3, "all were busy"
    _lend(pool, range(12, 14))
    assert len(ray.made) == 3, "one is on its way, and there may be no more"
    ray.let_in(ray.made[2])
    assert _lend(pool, range(14, 15)) == ["decoder-2"]
    pool.release("decoder-0", "stream 1")
    pool.release("gone", "stream 1")


def test_a_dead_decoder_is_replaced_once(ray: _Ray) -> None:
    pool = DecoderPool(1, 1, 1.0, 1, Sandbox())
    ray.let_in(ray.made[0])
    _lend(pool, range(2))
    pool.lost("decoder-0")
    pool.lost("decoder-0")
    assert len(ray.made) == 2
    assert _lend(pool, range(3, 4)) == ["decoder-1"]


def test_decoders_that_nobody_needs_give_their_cpus_back(ray: _Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    monkeypatch.setattr(ray_split.time, "monotonic", clock)
    pool = DecoderPool(1, 4, 1.0, 1, Sandbox())
    names = {}
    for number in range(9):
        for actor in ray.made:
            ray.let_in(actor)
        (names[number],) = _lend(pool, range(number, number + 1))
    assert len(ray.made) == 4 and set(names.values()) == {"decoder-0", "decoder-1", "decoder-2"}
    for number, name in names.items():
        if name != "decoder-0":
            pool.release(name, f"stream {number}")
    pool.maintain()
    assert not ray.killed
    now[0] += ray_split.IDLE_SECONDS + 1
    pool.maintain()
    assert ray.killed == ray.made[1:3], "neither the busy one nor the one that waits for room"


@pytest.mark.parametrize("hangs", [False, True])
def test_what_a_dead_actor_had_open_is_closed(
    ray: _Ray, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    now = [100.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    monkeypatch.setattr(ray_split.time, "monotonic", clock)
    pool = DecoderPool(1, 1, 1.0, 1, Sandbox())
    (first,) = ray.made
    ray.let_in(first)
    _lend(pool, range(1), "dies")
    _lend(pool, range(1, 2), "lives")
    pool.register("dies")
    assert ("close", ("stream 0",)) in first.calls and ("close", ("stream 1",)) not in first.calls
    if not hangs:
        ray.done.add((id(first), "close", ("stream 0",)))
    now[0] += ray_split.HANG_SECONDS + 1
    pool.maintain()
    assert ray.killed == ([first] if hangs else [])
    assert len(ray.made) == 1 + hangs
