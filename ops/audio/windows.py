"""Runs an audio network over a track in windows, once for all operations that use it."""

from __future__ import annotations

import hashlib
import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model, Runner
from framemill.ops.audio.families import family_of
from framemill.ops.audio.vad import clean_samples
from framemill.ops.chunks import Audio, Chunk, Float32Array, Float64Array, ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, Op, Partial, Reads

# A chunk is 4 s; eight files at a time wait between one operation and the next with about 40 windows.
_KEPT_WINDOWS = 64
# Windows turned into rows at once, so that the outputs for a whole film are never held.
_WINDOWS_A_TABLE = 64

WINDOW_COLUMNS = (
    column("start_seconds", pa.float64(), "start of the window, in seconds since the presentation's start"),
    column(
        "end_seconds",
        pa.float64(),
        "its end, exclusive: a window of the model later (0.975 s for YAMNet), or the track's end",
    ),
)

Output = tuple[Float32Array, Float32Array]  # scores [classes] and embedding [d] of one window


@dataclass(frozen=True, slots=True)
class WindowOutputs:
    """Outputs of the network for some windows.

    Attributes:
        start_seconds, end_seconds: float64 [n], of each window, from the start of the presentation.
        scores: float32 [n, classes], 0..1 each, independent of each other; 0 classes for a network without.
        embeddings: float32 [n, d].
    """

    start_seconds: Float64Array
    end_seconds: Float64Array
    scores: Float32Array
    embeddings: Float32Array


class WindowOp(Op):
    """An operation on the outputs of a network for each window; its options have `hop_seconds`."""

    reads = Reads.AUDIO
    models = ("sounds",)

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        self.model = models["sounds"]
        family = family_of(self.model)
        if options.hop_seconds > family.window_seconds:
            raise UsageError(
                f"{self.name}.hop_seconds is {options.hop_seconds}; it must be at most "
                f"{family.window_seconds}, the window of model {self.model.entry.name}"
            )
        self.sound_rate = family.sample_rate

    @abstractmethod
    def rows(self, windows: WindowOutputs) -> pa.Table:
        """Rows of some windows, in the operation's schema."""

    def open(self, shard: ShardInfo) -> Extractor:
        return _Windows(self)


def check_hop(name: str, hop_seconds: float) -> None:
    """Raises UsageError where windows would come too densely."""
    if not (hop_seconds == 0 or 0.05 <= hop_seconds <= 60):
        raise UsageError(
            f"{name}.hop_seconds is {hop_seconds}; it must be 0 for the model's own window, or 0.05 to that"
        )


class _OutputCache:
    """The latest outputs by digest of their samples, so that operations on the same sound share them.

    A window of YAMNet costs 4.3 ms on one core and a look-up or an entry 0.1 ms (measured).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outputs: OrderedDict[bytes, Output] = OrderedDict()

    def get(self, key: bytes) -> Output | None:
        with self._lock:
            return self._outputs.get(key)

    def put(self, key: bytes, output: Output) -> None:
        with self._lock:
            self._outputs[key] = output
            if len(self._outputs) > _KEPT_WINDOWS:
                self._outputs.popitem(last=False)


_caches: WeakKeyDictionary[Runner, _OutputCache] = WeakKeyDictionary()
_caches_lock = threading.Lock()


class _Windows:
    """Processes one shard.

    Windows start every hop. The last one ends with the track, so that all of it is covered; a track shorter
    than a window is padded.
    """

    def __init__(self, op: WindowOp) -> None:
        self.done = False
        self._op = op
        self._family = family_of(op.model)
        self._hop = round(op.options.hop_seconds * self._family.sample_rate) or self._family.window
        with _caches_lock:
            self._cache = _caches.setdefault(op.model.runner, _OutputCache())
        self._origin = 0  # of the track, in samples
        self._first = 0  # position of waiting[0] in the track
        self._waiting = np.zeros(0, np.float32)
        self._next = 0  # where the next window starts
        self._covered_to = 0
        self._starts: list[int] = []
        self._outputs: list[Output] = []
        self._tables: list[pa.Table] = []

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        """Runs the windows that are complete now."""
        assert isinstance(chunk, Audio)
        if not self._first and not len(self._waiting):
            self._origin = chunk.start_sample
        self._waiting = np.concatenate([self._waiting, clean_samples(chunk, self._family.sample_rate)])
        window, end = self._family.window, self._first + len(self._waiting)
        starts = list(range(self._next, end - window + 1, self._hop))
        self._run_windows(starts)
        self._next += len(starts) * self._hop
        # The last window may overlap the one before.
        unneeded = min(self._next, end - window) - self._first
        if unneeded > 0:
            self._first += unneeded
            self._waiting = self._waiting[unneeded:].copy()

    def finish(self) -> Partial:
        """Runs the last window and returns all rows."""
        end = self._first + len(self._waiting)
        if end > self._covered_to:
            self._run_windows([max(0, end - self._family.window)])
        self._make_rows()
        return Partial(pa.concat_tables([*self._tables, self._op.schema.empty_table()]))

    def _run_windows(self, starts: list[int]) -> None:
        if not starts:
            return
        family = self._family
        windows = np.zeros((len(starts), family.window), np.float32)
        for row, start in enumerate(starts):
            samples = self._waiting[start - self._first :][: family.window]
            if family.repeats and len(samples) < family.window:
                samples = np.tile(samples, family.window // len(samples))
            windows[row, : len(samples)] = samples
        self._starts += starts
        self._outputs += self._outputs_of(windows)
        self._covered_to = starts[-1] + family.window
        if len(self._starts) >= _WINDOWS_A_TABLE:
            self._make_rows()

    def _make_rows(self) -> None:
        if not self._starts:
            return
        rate, end = self._family.sample_rate, self._first + len(self._waiting)
        starts = np.array(self._starts, np.int64)
        windows = WindowOutputs(
            (self._origin + starts) / rate,
            (self._origin + np.minimum(starts + self._family.window, end)) / rate,
            np.stack([scores for scores, _ in self._outputs]),
            np.stack([embedding for _, embedding in self._outputs]),
        )
        self._tables.append(self._op.rows(windows))
        self._starts, self._outputs = [], []

    def _outputs_of(self, windows: Float32Array) -> list[Output]:
        keys = [hashlib.blake2b(window, digest_size=16).digest() for window in windows]
        found = [self._cache.get(key) for key in keys]
        unknown = [row for row, output in enumerate(found) if output is None]
        if unknown:
            family, runner = self._family, self._op.model.runner
            if family.is_batched:
                inputs = {family.input_name: family.prepare(windows[unknown])}
                outputs = self._read(runner.run(inputs), len(unknown))
            else:
                outputs = []
                for row in unknown:
                    inputs = {family.input_name: family.prepare(windows[row : row + 1])}
                    outputs += self._read(runner.run_whole(inputs), 1)
            for row, output in zip(unknown, outputs, strict=True):
                found[row] = output
                self._cache.put(keys[row], output)
        return [output for output in found if output is not None]

    def _read(self, outputs: Mapping[str, npt.NDArray[Any]], num_windows: int) -> list[Output]:
        entry, family = self._op.model.entry, self._family
        wanted = [name for name in (family.scores, family.embedding) if name]
        if family.embedding_width and not set(wanted) <= set(outputs):
            widths = {len(entry.labels): family.scores or "", family.embedding_width: family.embedding}
            found = {
                widths[a.shape[-1]]: a for a in outputs.values() if a.ndim == 2 and a.shape[-1] in widths
            }
            outputs = {**outputs, **found}
        if "" in (family.scores, family.embedding) and len(outputs) == 1:
            outputs = {"": next(iter(outputs.values()))}
        elif missing := [name for name in wanted if name not in outputs]:
            raise ModelError(
                f"model {entry.name} gives {', '.join(outputs)}; a model of family {entry.family} must give "
                f"`{'` and `'.join(missing)}`"
            )
        embeddings = outputs.get(family.embedding, np.zeros(0))
        scores = np.zeros((num_windows, 0)) if family.scores is None else outputs[family.scores]
        num_classes = 0 if family.scores is None else len(entry.labels)
        if scores.shape != (num_windows, num_classes) or (embeddings.ndim, len(embeddings)) != (
            2,
            num_windows,
        ):
            raise ModelError(
                f"model {entry.name} gives scores {list(scores.shape)} and an embedding "
                f"{list(embeddings.shape)}; expected [{num_windows}, {num_classes}] (its labels) and "
                f"[{num_windows}, d]: choose one of family {entry.family}, or correct its labels"
            )
        return list(zip(scores.astype(np.float32), embeddings.astype(np.float32), strict=True))
