"""The shard processor: opened once per worker, it turns shards into partial tables, several at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.actors.batcher import Batcher, BatchStats
from framemill.actors.catching import Catch
from framemill.actors.indexing import SourceIndex
from framemill.actors.plan import Sampling, sample_frames
from framemill.actors.pyav_reader import ReadRequest, read_shard
from framemill.actors.read_ahead import read_ahead
from framemill.actors.session_stats import describe_session, session_stats
from framemill.actors.shard_tasks import ShardResult, ShardTask
from framemill.actors.shards import Shard
from framemill.actors.shortfalls import find_shortfall, measure
from framemill.actors.tracing import Trace
from framemill.models.engines import Tell, tell_nobody
from framemill.models.entry import ModelEntry
from framemill.models.provider_sessions import may_build_engines
from framemill.models.providers import SessionReport
from framemill.models.registry import resolve
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.models.store import find
from framemill.models.thread_budget import shared_thread_budget
from framemill.ops import load_op
from framemill.ops.at_first_use import pc
from framemill.ops.chunks import Audio, Chunk, Frames, Int64Array, NativeAudio, ShardInfo, Subtitles
from framemill.ops.operation import (
    BROKEN,
    Extractor,
    Op,
    Partial,
    Reads,
    TableOp,
    describe_broken,
    runnable,
)

# A batch on a GPU waits this long for more frames of other shards.
BATCH_WAIT_SECONDS = 0.003
# Chunks that may wait between the thread that decodes and the thread that computes.
AHEAD = 2


class ShardProcessor:
    """Holds operations and models; `process` is blocking and may be called from several threads.

    Attributes:
        providers: model role -> execution provider that runs it.
        notes: per model that was opened, what was tried and what came of it.
        read: what reads a shard instead of `read_shard` in this process, or None; takes the same arguments.

    Args:
        options: operation name -> its Options object, for every operation that will be asked for.
        models: role -> registry name or path, where not the default.
        sampling: the sampling policy.
        threads: threads for models on the CPU.
        require_provider: provider that every model must run on, or empty.
        precision: fp32, or fp16 where TensorRT may compute in halves.
        after: operation name -> what it comes after in this run, where that is not its class's `after`.
        trace: where stages are measured.
    """

    def __init__(
        self,
        *,
        options: Mapping[str, Any],
        models: Mapping[str, str],
        sampling: Sampling,
        threads: int,
        require_provider: str = "",
        precision: str = "fp32",
        after: Mapping[str, tuple[str, ...]] | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.trace = trace or Trace()
        self.providers: dict[str, str] = {}
        self.notes: list[str] = []
        self.read: Callable[..., Iterator[Chunk]] | None = None
        self._options = options
        self._after = after or {}
        self._choices = models
        self._sampling = sampling
        self._threads = threads
        self._require = require_provider
        self._precision = precision
        # How many models share the memory of a device.
        self._sharing = max(
            1, len({role for name, its in options.items() for role in load_op(name).roles(its)})
        )
        self._ops: dict[str, Op] = {}
        self._models: dict[str, Model] = {}
        self._sessions: dict[str, tuple[SessionReport, Any]] = {}
        self._lock = threading.Lock()
        self._tell: Tell = tell_nobody

    def op(self, name: str) -> Op:
        """The operation, opened at its first use.

        Raises:
            SetupError: one of its models cannot be had or run.
        """
        with self._lock:
            if name not in self._ops:
                kind = load_op(name)
                options = self._options[name]
                loaded = {role: self._model(role) for role in kind.roles(options)}
                op = kind(options, loaded)
                op.model_names = {role: self._entry(role).name for role in kind.names_models}
                self._ops[name] = op
            return self._ops[name]

    def open_models(self, names: Iterable[str], tell: Tell) -> None:
        """Opens the models of operations now, where engines may have to be built: that is no shard's time.

        Args:
            tell: is told of each engine that is built.
        """
        if not may_build_engines(self._require, self._precision):
            return
        self._tell = tell
        try:
            for name in names:
                if load_op(name).roles(self._options[name]):
                    with contextlib.suppress(Exception):  # the first shard that wants it says why
                        self.op(name)
        finally:
            self._tell = tell_nobody

    def after(self, name: str) -> tuple[str, ...]:
        """The operations whose rows one needs, in this run."""
        return self._after.get(name, load_op(name).after)

    def _entry(self, role: str) -> ModelEntry:
        return resolve(role, self._choices.get(role, ""))

    def _model(self, role: str) -> Model:
        if role not in self._models:
            with self.trace.span("open model", role=role):
                entry = self._entry(role)
                model, report = open_model(
                    entry,
                    find(entry),
                    self._threads,
                    self._require,
                    self._sharing,
                    self._precision,
                    self._tell,
                )
            self._sessions[role] = (report, model.runner)
            if model.runner.max_batch > 1:
                model = replace(
                    model, runner=Batcher(model.runner, model.runner.max_batch, BATCH_WAIT_SECONDS)
                )
            self._models[role] = model
            self.providers[role] = report.provider
            self.notes.append(describe_session(role, report))
        return self._models[role]

    def batches(self) -> dict[str, BatchStats]:
        """Per model that runs in batches, what its batcher did so far."""
        runners = {role: model.runner for role, model in self._models.copy().items()}
        return {role: runner.stats() for role, runner in runners.items() if isinstance(runner, Batcher)}

    def sessions(self) -> dict[str, dict[str, Any]]:
        """Per model role, the state of its session (see `session_stats`)."""
        batches = self.batches()
        opened = self._sessions.copy().items()
        return {role: session_stats(report, runner, batches.get(role)) for role, (report, runner) in opened}

    def process(self, task: ShardTask, on_frames: Callable[[int], None] | None = None) -> ShardResult:
        """Reads a shard once and feeds every operation.

        Args:
            task: what to do.
            on_frames: called with the number of frames decoded so far, after each chunk.

        Raises:
            MediaError: the shard gives nothing that can be used.
            SetupError: a model cannot be had or run.
        """
        ops = {name: self.op(name) for name in task.ops}
        info = _shard_info(task.index, task.shard, task.shard_index, task.num_shards)
        result = ShardResult()
        request = self._request(task, ops)
        extractors = {name: op.open(info) for name, op in ops.items()}
        container = task.container
        if container is not None and (request.with_sound or request.subtitles):
            # After a seek FFmpeg no longer leaves out the priming samples of AAC: sound wants a fresh start.
            container.close()
            container = None
        chunks = (self.read or read_shard)(task.path, task.index, request, result.report, container)
        if task.threads > 1:
            # Beside others a shard keeps its core busy by itself; alone it decodes while it computes.
            chunks = read_ahead(chunks, AHEAD)
        with shared_thread_budget(self._threads).shard():
            self._feed(self._timed(chunks), ops, extractors, result, task.upstream, on_frames)
        for name, extractor in extractors.items():
            if name not in result.failures:
                with self.trace.span(name), Catch(result, name):
                    result.partials[name] = extractor.finish()
        stopped_early = bool(extractors) and all(e.done for n, e in extractors.items() if ops[n].takes())
        wanted = np.union1d(request.frames, request.signals)
        if not stopped_early:
            result.delivered = measure(task.index, result.report)
            is_whole = task.num_shards == 1
            result.shortfall = find_shortfall(
                task.index, len(wanted), request.with_sound, is_whole, result.report
            )
        return result

    def combine(
        self, name: str, upstream: Mapping[str, pa.Table], index: SourceIndex, source_id: str = ""
    ) -> pa.Table:
        """Rows of an operation that reads tables, for a whole source."""
        op = self.op(name)
        assert isinstance(op, TableOp)
        whole = Shard(0, len(index.frames), index.audio_stream >= 0, index.duration_seconds)
        with self.trace.span(name):
            return op.combine(upstream, replace(_shard_info(index, whole, 0, 1), source_id=source_id))

    def merge(self, name: str, partials: Sequence[Partial]) -> pa.Table:
        """Rows of a whole source from the partials of its shards in time order."""
        with self.trace.span("merge " + name):
            if load_op(name).merge is Op.merge:
                # Without opening its models: where rows are merged there may be no device that runs them.
                return pa.concat_tables([partial.rows for partial in partials])
            return self.op(name).merge(partials)

    def _request(self, task: ShardTask, ops: Mapping[str, Op]) -> ReadRequest:
        frames = task.index.frames
        inside = (task.shard.start_frame, task.shard.end_frame)
        none = np.zeros(0, np.int64)
        sampled, signals = none, none
        if any(op.reads is Reads.FRAMES for op in ops.values()):
            picked = sample_frames(frames, self._sampling) if task.picked is None else task.picked
            sampled = _clip(picked, inside)
        for op in ops.values():
            if op.reads is Reads.SIGNALS:
                selected = op.select(frames)
                everything = np.arange(len(frames), dtype=np.int64)
                signals = np.union1d(signals, _clip(everything if selected is None else selected, inside))
        kinds = {kind for op in ops.values() for kind in op.takes()}
        rates = {op.sound_rate for op in ops.values() if Audio in op.takes()}
        return ReadRequest(
            frames=sampled,
            signals=signals,
            with_sound=task.shard.with_sound and bool(rates or NativeAudio in kinds),
            threads=task.threads,
            sound_rates=tuple(sorted(rates)),
            native_sound=NativeAudio in kinds,
            subtitles=task.shard.with_sound and Subtitles in kinds,
        )

    def _feed(
        self,
        chunks: Iterator[Chunk],
        ops: Mapping[str, Op],
        extractors: Mapping[str, Extractor],
        result: ShardResult,
        earlier: Mapping[str, pa.Table],
        on_frames: Callable[[int], None] | None,
    ) -> None:
        for chunk in chunks:
            on_host: Chunk | None = None  # copied once, for all operations that work there
            upstream = _rows_of(chunk, earlier)
            for name, op in ops.items():
                if name in result.failures or not _is_for(chunk, op):
                    continue
                if extractors[name].done:
                    continue
                after = self.after(name)
                _, broken = runnable({name: op.required(after)}, result.failures)
                if broken:
                    result.failures[name] = (BROKEN, describe_broken(broken[name]))
                    continue
                with self.trace.span(name), Catch(result, name):
                    seen = chunk
                    if isinstance(chunk, Frames) and not op.on_device:
                        seen = on_host = chunk.on_host() if on_host is None else on_host
                    given = {other: upstream[other] for other in after if other in upstream}
                    rows = extractors[name].feed(seen, given)
                    if rows is not None:
                        upstream[name] = rows
            if on_frames is not None:
                on_frames(result.report.num_decoded)
            if all(
                name in result.failures or extractors[name].done for name, op in ops.items() if op.takes()
            ):
                break
        close = getattr(chunks, "close", None)
        if close is not None:
            close()

    def _timed(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The same chunks, with the time spent waiting for each measured as `read`."""
        try:
            while True:
                with self.trace.span("read"):
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                yield chunk
        finally:
            chunks.close()  # type: ignore[attr-defined]


def _rows_of(chunk: Chunk, earlier: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The rows, among those computed earlier, that speak of the frames of a chunk."""
    if not isinstance(chunk, Frames):
        return {}
    wanted = pa.array(chunk.frame_index)
    return {
        name: rows.filter(pc.is_in(rows["frame_index"], value_set=wanted)) for name, rows in earlier.items()
    }


def _is_for(chunk: Chunk, op: Op) -> bool:
    """Whether the operation is fed this chunk."""
    if isinstance(chunk, Audio) and chunk.sample_rate != op.sound_rate:
        return False
    return isinstance(chunk, op.takes())


def _clip(frames: Int64Array, inside: tuple[int, int]) -> Int64Array:
    return frames[(frames >= inside[0]) & (frames < inside[1])]


def _shard_info(index: SourceIndex, shard: Shard, shard_index: int, num_shards: int) -> ShardInfo:
    return ShardInfo(
        index=index.frames,
        start_frame=shard.start_frame,
        end_frame=shard.end_frame,
        shard_index=shard_index,
        num_shards=num_shards,
        width=index.display_width,
        height=index.display_height,
        duration_seconds=index.duration_seconds,
        audio_stream=index.audio_stream,
        rotation_quarters=index.rotation_quarters,
        is_mirrored=index.is_mirrored,
    )
