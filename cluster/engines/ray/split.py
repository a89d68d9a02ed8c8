"""The split topology: a pool of CPU actors decodes, and actors compute on what those send.

For nodes whose GPU cannot decode a codec and that have few cores beside it. An actor works on a shard as
ever, but its chunks come from a decoder, which it asks for one message after the other: so at most two
messages of a shard are in the object store, and its rows are regrouped by being made in one place. What a
decoder was working on when it died runs alone later, in an actor that decodes by itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

import ray
import ray.exceptions

from framemill.actors.indexing import AS_PLAYERS, SourceIndex, index_source
from framemill.actors.pyav_frames import PyavFrames
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.stream_choice import Tracks
from framemill.cluster.engines.ray.placing import alive_nodes
from framemill.cluster.engines.ray.pools import STREAMS, Pool, fits
from framemill.cluster.engines.ray.ray_logging import one_line
from framemill.cluster.machine import hide_gpus
from framemill.cluster.run.messages import Sandbox
from framemill.cluster.run.sandbox import enter_shared
from framemill.ops.chunks import Chunk, Frames

# What a message holds: so many frames, or so many bytes where frames are large.
MESSAGE_FRAMES = 32
MESSAGE_BYTES = 128 << 20
# Of the object store, at most so much is ours; per shard there is a message on its way and one being read.
STORE_SHARE = 0.5
MESSAGES = 2
# A decoder that does not put down within this time what a dead actor had open hangs in a file.
HANG_SECONDS = 60.0
# A decoder beyond the least that nobody asked for so long gives its CPUs back: tasks may wait for them.
IDLE_SECONDS = 5.0

Message = tuple[list[Chunk], ReadReport, bool]


class ReaderDiedError(Exception):
    """The process that read a shard for an actor ended, or its words did not arrive: no fault of the file."""


def message_bytes(nodes: Sequence[Mapping[str, float]], pool: Pool) -> int:
    """How large a message may be so that all that are in a node's object store at once leave room there.

    A message lies with the decoder that made it, and with the actor that reads it.

    Args:
        nodes: resources of each, as `ray.nodes()` tells; where it is missing, the store's size is unknown.
    """
    assert pool.decoders is not None
    most = MESSAGE_BYTES
    for node in nodes:
        num_actors = min(pool.most, fits([node], pool.cpus, pool.gpus))
        decoders = min(pool.decoders.most, fits([node], pool.decoders.cpus))
        streams = max(num_actors * pool.calls, decoders * pool.decoders.calls * STREAMS)
        store = node.get("object_store_memory", 0.0)
        if streams and store:
            most = min(most, int(STORE_SHARE * store / (streams * MESSAGES)))
    return max(1, most)


def _size(chunk: Chunk) -> int:
    """Bytes of its arrays."""
    if isinstance(chunk, PyavFrames):
        return chunk.num_bytes
    return sum(getattr(getattr(chunk, one.name), "nbytes", 0) for one in fields(cast(Any, chunk)))


class Decoder:
    """An actor that reads shards for actors, a message at each call.

    Args:
        most_bytes: where a message ends; one chunk of the reader may exceed it.
        sandbox: as in `WorkerConfig`.
    """

    def __init__(self, most_bytes: int, sandbox: Sandbox) -> None:
        hide_gpus()
        enter_shared(sandbox)
        self._most_bytes = most_bytes
        self._open: dict[str, tuple[Iterator[Chunk], ReadReport]] = {}
        self._locks: dict[str, threading.Lock] = {}

    def ready(self) -> None:
        """Answers once it is there."""

    def index(self, path: str, tracks: Tracks = AS_PLAYERS) -> SourceIndex:
        """See `framemill.actors.indexing.index_source`."""
        return index_source(path, tracks)

    def start(self, stream_id: str, path: str, index: SourceIndex, request: ReadRequest) -> Message:
        """Begins a shard and gives its first message."""
        report = ReadReport()
        self._locks[stream_id] = threading.Lock()
        self._open[stream_id] = (read_shard(path, index, request, report), report)
        return self.next(stream_id)

    def next(self, stream_id: str) -> Message:
        """The next chunks of a shard, what the reader saw so far, and whether they are the last.

        Raises:
            MediaError: as `read_shard`.
        """
        with self._locks[stream_id]:
            chunks, report = self._open[stream_id]
            taken: list[Chunk] = []
            num_frames = num_bytes = 0
            for chunk in chunks:
                taken.append(chunk)
                num_frames += len(chunk) if isinstance(chunk, Frames) else 0
                num_bytes += _size(chunk)
                if num_frames >= MESSAGE_FRAMES or num_bytes >= self._most_bytes:
                    return taken, report, False
            return taken, report, True

    def close(self, stream_id: str) -> None:
        """Ends a shard, finished or not."""
        with self._locks.pop(stream_id, threading.Lock()):
            opened = self._open.pop(stream_id, None)
            if opened is not None:
                opened[0].close()  # type: ignore[attr-defined]


@dataclass(slots=True)
class _PooledDecoder:
    """A decoder of the pool.

    Attributes:
        is_ready: pending until it found room; then it is pooled.
        streams: stream id -> actor that reads it.
        closing: calls that put down what dead actors had open, and since when.
        used: when it was pooled or given back the last time.
    """

    actor: Any
    is_ready: Any
    streams: dict[str, str] = field(default_factory=dict)
    closing: list[tuple[Any, float]] = field(default_factory=list)
    used: float = field(default_factory=time.monotonic)


class DecoderPool:
    """An actor beside the driver: lends decoders to actors, and replaces those that died.

    Args:
        least, most: how many there are; it grows while all are busy, and shrinks when some are idle.
        cpus: what each holds. most_bytes, sandbox: as `Decoder` takes them.
    """

    def __init__(self, least: int, most: int, cpus: float, most_bytes: int, sandbox: Sandbox) -> None:
        self._least = least
        self._most = most
        self._options = {
            "num_cpus": cpus,
            "num_gpus": 0,
            "max_restarts": 0,
            "max_concurrency": max(1, round(cpus)),
        }
        self._arguments = (most_bytes, sandbox)
        self._decoders: dict[str, _PooledDecoder] = {}
        self._count = 0
        for _ in range(least):
            self._add()

    def _add(self) -> None:
        actor: Any = ray.remote(Decoder).options(**self._options).remote(*self._arguments)
        self._decoders[f"decoder-{self._count}"] = _PooledDecoder(actor, actor.ready.remote())
        self._count += 1

    def acquire(self, stream_id: str, actor: str) -> tuple[str, Any]:
        """The decoder with the least to do, by name and handle, to read one shard."""
        self._look_for_ready()
        there = {name: pooled for name, pooled in self._decoders.items() if pooled.is_ready is None}
        is_growing = len(there) < len(self._decoders)
        is_busy = all(len(pooled.streams) >= STREAMS for pooled in there.values())
        if is_busy and not is_growing and len(self._decoders) < self._most:
            self._add()
        # Before the first is there, calls wait for it.
        name = min(there or self._decoders, key=lambda one: len(self._decoders[one].streams))
        self._decoders[name].streams[stream_id] = actor
        self._decoders[name].used = time.monotonic()
        return name, self._decoders[name].actor

    def release(self, name: str, stream_id: str) -> None:
        """The shard is read, or given up."""
        if name in self._decoders:
            self._decoders[name].streams.pop(stream_id, None)
            self._decoders[name].used = time.monotonic()

    def lost(self, name: str) -> None:
        """A decoder died: another takes its place."""
        if self._decoders.pop(name, None) is not None:
            self._add()

    def register(self, actor: str) -> None:
        """An actor begins, perhaps anew after its death: nobody reads any more what it had open."""
        for pooled in self._decoders.values():
            for stream_id in [one for one, reader in pooled.streams.items() if reader == actor]:
                del pooled.streams[stream_id]
                pooled.closing.append((pooled.actor.close.remote(stream_id), time.monotonic()))

    def maintain(self) -> None:
        """Ends decoders that hang, and those that are not needed; to be called now and then."""
        self._look_for_ready()
        now = time.monotonic()
        for name, pooled in list(self._decoders.items()):
            pooled.closing = [one for one in pooled.closing if not ray.wait([one[0]], timeout=0)[0]]
            if pooled.closing and now - pooled.closing[0][1] > HANG_SECONDS:
                ray.kill(pooled.actor)
                self.lost(name)
            elif pooled.is_ready is not None or pooled.streams or pooled.closing:
                continue  # one that found no room yet says that more nodes are wanted
            elif now - pooled.used > IDLE_SECONDS and len(self._decoders) > self._least:
                del self._decoders[name]
                ray.kill(pooled.actor)

    def _look_for_ready(self) -> None:
        for pooled in self._decoders.values():
            if pooled.is_ready is not None and ray.wait([pooled.is_ready], timeout=0)[0]:
                pooled.is_ready = None
                pooled.used = time.monotonic()


def open_decoders(pool: Pool, here: Any, sandbox: Sandbox) -> Any:
    """Starts the decoders of a pool, and gives their handle; whoever kills it ends them.

    Args:
        pool: of the actors that they decode for.
        here: the scheduling strategy that keeps it beside the driver.
        sandbox: as `Decoder` takes it.
    """
    decoders = pool.decoders
    assert decoders is not None
    most_bytes = message_bytes([node["Resources"] for node in alive_nodes()], pool)
    actor: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(DecoderPool)
    return actor.remote(decoders.least, decoders.most, decoders.cpus, most_bytes, sandbox)


class RemoteReader:
    """The actor's end: reads shards through the pool.

    Args:
        pool: handle of the run's `DecoderPool`. actor: name of the actor that reads.
    """

    def __init__(self, pool: Any, actor: str) -> None:
        self._pool = pool
        self._actor = actor
        self._count = 0
        self._lock = threading.Lock()
        ray.get(pool.register.remote(actor))

    def index(self, path: str, tracks: Tracks = AS_PLAYERS) -> SourceIndex:
        """As `framemill.actors.indexing.index_source`, made by a decoder.

        Raises:
            ReaderDiedError: it died over the file.
        """
        with self._borrow() as (_, decoder, name):
            index: SourceIndex = self._answer(decoder.index.remote(path, tracks), name)
            return index

    def read(
        self, path: str, index: SourceIndex, request: ReadRequest, report: ReadReport, container: Any = None
    ) -> Iterator[Chunk]:
        """As `framemill.actors.pyav_reader.read_shard`; the decoder works on the next message meanwhile.

        Raises:
            ReaderDiedError: the decoder died.
        """
        if container is not None:
            container.close()
        with self._borrow() as (stream_id, decoder, name):
            try:
                asked = decoder.start.remote(stream_id, path, index, request)
                is_last = False
                while not is_last:
                    chunks, seen, is_last = self._answer(asked, name)
                    asked = None if is_last else decoder.next.remote(stream_id)
                    for field_name in ReadReport.__slots__:
                        setattr(report, field_name, getattr(seen, field_name))
                    while chunks:
                        yield chunks.pop(0)
            finally:
                decoder.close.remote(stream_id)

    @contextlib.contextmanager
    def _borrow(self) -> Iterator[tuple[str, Any, str]]:
        with self._lock:
            self._count += 1
            stream_id = f"{self._actor}-{self._count}"
        name, decoder = ray.get(self._pool.acquire.remote(stream_id, self._actor))
        try:
            yield stream_id, decoder, name
        finally:
            self._pool.release.remote(name, stream_id)

    def _answer(self, asked: Any, name: str) -> Any:
        try:
            return ray.get(asked)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ray.exceptions.RayError):
                raise ReaderDiedError(f"{name} cannot send what it reads: {one_line(error)}") from error
            raise error.cause from None
        except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
            self._pool.lost.remote(name)
            raise ReaderDiedError(f"{name} ended while it read a shard") from error
        except ray.exceptions.RayError as error:  # as where neither memory nor disk holds a message
            raise ReaderDiedError(f"what {name} sent cannot be had: {one_line(error)}") from error
