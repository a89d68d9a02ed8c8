"""Running shards: from a request to rows, which stay here until they are written."""

from __future__ import annotations

import contextlib
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from framemill.actors.indexing import SourceIndex
from framemill.actors.plan import parse_sampling
from framemill.actors.shard_processor import ShardProcessor
from framemill.actors.shard_tasks import ShardTask
from framemill.actors.tracing import Trace
from framemill.cluster.results import partials
from framemill.cluster.results.invariants import Extent, require_unbroken
from framemill.cluster.results.parts import read_rows
from framemill.cluster.results.references import referred_tables
from framemill.cluster.results.storage import name_root
from framemill.cluster.run.content_ids import require_version
from framemill.cluster.run.devices import Devices
from framemill.cluster.run.frame_selection import picked_frames
from framemill.cluster.run.messages import Figures, Merge, Merged, RunShard, ShardDone, WorkerConfig
from framemill.cluster.run.open_sources import OpenSources
from framemill.cluster.run.part_writer import FinishedTables, with_source
from framemill.cluster.run.row_ends import ending_with
from framemill.errors import SetupError
from framemill.models.provider_sessions import may_build_engines
from framemill.ops import OPS, load_op
from framemill.ops.operation import BROKEN, Reads, describe_broken, describe_error, runnable
from framemill.plugins import load_plugins

_NOTHING: Mapping[str, pa.Table] = {}


@dataclass(slots=True)
class _Made:
    """What a shard or a merge gave.

    Attributes:
        rows: operation -> number of rows. failures: operation -> (error class, message).
        traces: where they failed.
        extent: how far the source reaches.
    """

    extent: Extent
    rows: dict[str, int] = field(default_factory=dict)
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    traces: list[str] = field(default_factory=list)


class _FrameCount:
    """Frames decoded so far, those of shards at work included."""

    def __init__(self) -> None:
        self._done = 0
        self._at_work: dict[object, int] = {}
        self._lock = threading.Lock()

    def total(self) -> int:
        return self._done + sum(list(self._at_work.values()))

    @contextlib.contextmanager
    def counting(self) -> Iterator[Callable[[int], None]]:
        """Gives a function that takes the number of frames of one shard so far."""
        shard = object()

        def count(frames: int) -> None:
            self._at_work[shard] = frames

        try:
            yield count
        finally:
            with self._lock:
                self._done += self._at_work.pop(shard, 0)


class ShardRunner:
    """Computes what is asked for, several shards at a time.

    Attributes:
        processor: reads and runs operations. sources: the files that are open.
        finished: rows of whole sources that wait to be written.
        trace: where stages are measured.
    """

    def __init__(self, config: WorkerConfig) -> None:
        load_plugins(config.plugins)
        # Whoever started this process knows that the storage answers; a hiccup now must not end the run.
        self._root = name_root(config.root)
        self._config = config
        self._sampling = parse_sampling(config.sampling)
        self._devices = Devices(config.threads)
        self._frames = _FrameCount()
        self.finished: FinishedTables = {}
        self.trace = Trace(keep_spans=bool(config.profile))
        self.sources = OpenSources(config, self.trace)
        self.processor = ShardProcessor(
            options={name: load_op(name).Options(**values) for name, values in config.options.items()},
            after=config.after,
            models=config.models,
            sampling=self._sampling,
            threads=config.threads,
            require_provider=config.require_provider,
            precision=config.precision,
            trace=self.trace,
        )

    def builds_engines(self) -> bool:
        """Whether `prepare` may take minutes."""
        config = self._config
        return bool(config.wanted) and may_build_engines(config.require_provider, config.precision)

    def prepare(self, tell: Callable[[str], None]) -> None:
        """Builds engines of models that are not there yet, before shards with deadlines come.

        Args:
            tell: is told of each.
        """
        self.processor.open_models(self._config.wanted, tell)

    def run(self, request: RunShard) -> ShardDone:
        """Computes operations on one shard; the rows of an undivided source are finished at once.

        Raises:
            MediaError: the shard gives nothing that can be used.
            SetupError: a model cannot be had or run.
        """
        is_divided = request.num_shards > 1
        combined = [op for op in request.ops if load_op(op).reads is Reads.TABLES]
        ops = tuple(op for op in request.ops if op not in combined)
        if is_divided:
            # Sound is a piece of its own in a divided source; tables are combined once it is merged.
            ops = tuple(op for op in ops if (load_op(op).reads is Reads.AUDIO) == request.shard.with_sound)
            combined = []
            keys = {op: self._config.keys[op] for op in ops}
            known = partials.find_outcome(self._root, request.source_id, keys, request.shard_index)
            if known is not None:
                return ShardDone(shard_index=request.shard_index, shortfall=known[0], delivered=known[1])
        task = self._task(request, ops)
        self._devices.open_reader(self.processor)
        with self._frames.counting() as count:
            result = self.processor.process(task, count)
            count(result.report.num_decoded)
        require_version(task.path, request.version)
        seconds = result.delivered.duration_seconds or request.duration_seconds or task.index.duration_seconds
        extent = replace(extent_of(task.index), duration_seconds=seconds)
        made = _Made(extent, failures=result.failures, traces=result.traces)
        for op, found in result.partials.items():
            if is_divided:
                at = (self._root, request.source_id, op, self._config.keys[op], request.shard_index)
                partials.save(*at, found, result.shortfall, result.delivered)
            else:
                self._make(op, request, made, partial(self.processor.merge, op, [found]), task.upstream)
        self._combine(combined, request, made)
        return ShardDone(
            shard_index=request.shard_index,
            rows=made.rows,
            failures=made.failures,
            traces=tuple(made.traces),
            shortfall=result.shortfall,
            delivered=result.delivered,
            frames=result.report.num_decoded,
            decoder=result.report.decoder,
        )

    def merge(self, request: Merge) -> Merged:
        """Makes the rows of a divided source from the partials of its shards."""
        extent = extent_of(self.sources.index(request.uri, os.fsdecode(request.path)))
        if request.duration_seconds is not None:
            extent = replace(extent, duration_seconds=request.duration_seconds)
        made = _Made(extent)
        combined = []
        for op in request.ops:
            if load_op(op).reads is Reads.TABLES:
                combined.append(op)
                continue
            key = self._config.keys[op]
            found = partials.load(self._root, request.source_id, op, key, request.num_shards)
            # A source without sound has no piece that carries any: there is nothing to hear in it.
            nothing = load_op(op).schema.empty_table
            merge = partial(self.processor.merge, op, found) if found else nothing
            self._make(op, request, made, merge)
        self._combine(combined, request, made)
        return Merged(rows=made.rows, failures=made.failures, traces=tuple(made.traces))

    def figures(self) -> Figures:
        """What was done so far."""
        return Figures(
            frames=self._frames.total(),
            seconds=self.trace.seconds.copy(),
            providers=self.processor.providers.copy(),
            notes=tuple(self.processor.notes),
            sessions=self.processor.sessions(),
            device_memory_bytes=self._devices.peak_bytes(),
        )

    def write_trace(self) -> None:
        """Writes the trace where one is kept."""
        if self._config.profile:
            self.trace.write(Path(self._config.profile))

    def _task(self, request: RunShard, ops: tuple[str, ...]) -> ShardTask:
        # Another worker may have opened a divided source.
        index = self.sources.index(request.uri, os.fsdecode(request.path))
        after = {op: self.processor.after(op) for op in ops}
        is_alone = request.num_shards == request.threads == 1
        return ShardTask(
            path=os.fsdecode(request.path),
            index=index,
            shard=request.shard,
            shard_index=request.shard_index,
            num_shards=request.num_shards,
            ops=ops,
            picked=picked_frames(
                {op: (load_op(op), after[op]) for op in ops},
                self._sampling,
                index.frames,
                partial(self._rows, request),
            ),
            threads=request.threads,
            container=self.sources.take_container(request.uri) if is_alone else None,
            upstream={
                need: self._rows(request, need) for need in {n for op in ops for n in after[op]} - set(ops)
            },
        )

    def _combine(self, ops: list[str], request: RunShard | Merge, made: _Made) -> None:
        """Makes the rows of operations that read the tables of others."""
        for op in ops:
            after = self.processor.after(op)
            _, broken = runnable({op: load_op(op).required(after)}, made.failures)
            if broken:
                made.failures[op] = (BROKEN, describe_broken(broken[op]))
                continue
            upstream = {need: self._rows(request, need) for need in after}
            index = self.sources.indexes[request.uri]
            if made.extent.duration_seconds is not None:
                index = replace(index, duration_seconds=made.extent.duration_seconds)
            combine = partial(self.processor.combine, op, upstream, index, request.source_id)
            self._make(op, request, made, combine, upstream)

    def _make(
        self,
        op: str,
        request: RunShard | Merge,
        made: _Made,
        work: Callable[[], pa.Table],
        upstream: Mapping[str, pa.Table] = _NOTHING,
    ) -> None:
        """Makes the rows of a whole source; one operation's failure is not the others'.

        Args:
            upstream: rows of other tables, as far as they are at hand.
        """
        source_id = request.source_id
        try:
            rows = with_source(ending_with(work(), made.extent.duration_seconds), source_id)
            referred = referred_tables(op).keys() & {*self.processor.after(op)}
            found = {t: upstream[t] if t in upstream else self._rows(request, t) for t in referred}
            others = {table: with_source(theirs, source_id) for table, theirs in found.items()}
            require_unbroken(op, rows, {source_id: made.extent}, others)
            self.finished[op, source_id] = rows
            made.rows[op] = rows.num_rows
        except (MemoryError, SetupError):
            raise
        except Exception as error:
            made.failures[op] = describe_error(op, error, op in OPS)
            made.traces.append("".join(traceback.format_exception(error)))

    def _rows(self, request: RunShard | Merge, op: str) -> pa.Table:
        """Rows of another operation for the same source: just made, or from the dataset."""
        rows = self.finished.get((op, request.source_id))
        if rows is None:
            rows = read_rows(self._root, op, request.earlier.get(op, ()), [request.source_id])
        return load_op(op).schema.empty_table() if rows is None else rows.drop_columns(["source_id"])


def extent_of(index: SourceIndex) -> Extent:
    """How far the rows of a source may reach."""
    return Extent(
        duration_seconds=index.duration_seconds,
        num_frames=len(index.frames),
        width=index.display_width,
        height=index.display_height,
    )
