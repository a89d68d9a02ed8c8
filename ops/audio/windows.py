"""Runs a network over a sound track in windows, once for all operations that ask."""

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
# Rows are made of so many windows together: what the network says of all of a film is not kept.
_WINDOWS_A_TABLE = 64

WINDOW_COLUMNS = (
    column("start_seconds", pa.float64(), "start of the window, in seconds since the presentation's start"),
    column(
        "end_seconds",
        pa.float64(),
        "its end, exclusive: a window of the model later (0.975 s for YAMNet), or the track's end",
    ),
)

Answer = tuple[Float32Array, Float32Array]  # scores [classes] and embedding [d] of one window


@dataclass(frozen=True, slots=True)
class Heard:
    """What the network says of some windows.

    Attributes:
        start_seconds, end_seconds: float64 [n], of each window, from the start of the presentation.
        scores: float32 [n, classes], 0..1 each, independent of each other; no classes where it tells none.
        embeddings: float32 [n, d].
    """

    start_seconds: Float64Array
    end_seconds: Float64Array
    scores: Float32Array
    embeddings: Float32Array


class WindowOp(Op):
    """An operation on what a network says of each window; its options have `hop_seconds`."""

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
    def rows(self, heard: Heard) -> pa.Table:
        """Rows of some windows, in the operation's schema."""

    def open(self, shard: ShardInfo) -> Extractor:
        return _Windows(self)


def check_hop(name: str, hop_seconds: float) -> None:
    """Raises UsageError where windows would come too densely."""
    if not (hop_seconds == 0 or 0.05 <= hop_seconds <= 60):
        raise UsageError(
            f"{name}.hop_seconds is {hop_seconds}; it must be 0 for the model's own window, or 0.05 to that"
        )


class _Memo:
    """The last answers by the samples' digest, so that operations on the same sound ask the network once.

    A window of YAMNet costs 4.3 ms on one core and keeping or finding it 0.1 ms (measured).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()

    def find(self, key: bytes) -> Answer | None:
        with self._lock:
            return self._answers.get(key)

    def keep(self, key: bytes, answer: Answer) -> None:
        with self._lock:
            self._answers[key] = answer
            if len(self._answers) > _KEPT_WINDOWS:
                self._answers.popitem(last=False)


_memos: WeakKeyDictionary[Runner, _Memo] = WeakKeyDictionary()
_memos_lock = threading.Lock()


class _Windows:
    """Hears one shard. Windows start every hop; the last one ends with the track, so that all of it is heard;
    a track shorter than a window is filled up."""

    def __init__(self, op: WindowOp) -> None:
        self.done = False
        self._op = op
        self._family = family_of(op.model)
        self._hop = round(op.options.hop_seconds * self._family.sample_rate) or self._family.window
        with _memos_lock:
            self._memo = _memos.setdefault(op.model.runner, _Memo())
        self._origin = 0  # of the track, in samples
        self._first = 0  # position of waiting[0] in the track
        self._waiting = np.zeros(0, np.float32)
        self._next = 0  # where the next window starts
        self._heard_to = 0
        self._starts: list[int] = []
        self._answers: list[Answer] = []
        self._tables: list[pa.Table] = []

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        """Hears the windows that are complete now."""
        assert isinstance(chunk, Audio)
        if not self._first and not len(self._waiting):
            self._origin = chunk.start_sample
        self._waiting = np.concatenate([self._waiting, clean_samples(chunk, self._family.sample_rate)])
        window, end = self._family.window, self._first + len(self._waiting)
        starts = list(range(self._next, end - window + 1, self._hop))
        self._hear(starts)
        self._next += len(starts) * self._hop
        # The last window may reach back over what was heard.
        unneeded = min(self._next, end - window) - self._first
        if unneeded > 0:
            self._first += unneeded
            self._waiting = self._waiting[unneeded:].copy()

    def finish(self) -> Partial:
        """Hears what is left, and hands over everything."""
        end = self._first + len(self._waiting)
        if end > self._heard_to:
            self._hear([max(0, end - self._family.window)])
        self._make_rows()
        return Partial(pa.concat_tables([*self._tables, self._op.schema.empty_table()]))

    def _hear(self, starts: list[int]) -> None:
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
        self._answers += self._ask(windows)
        self._heard_to = starts[-1] + family.window
        if len(self._starts) >= _WINDOWS_A_TABLE:
            self._make_rows()

    def _make_rows(self) -> None:
        if not self._starts:
            return
        rate, end = self._family.sample_rate, self._first + len(self._waiting)
        starts = np.array(self._starts, np.int64)
        heard = Heard(
            (self._origin + starts) / rate,
            (self._origin + np.minimum(starts + self._family.window, end)) / rate,
            np.stack([scores for scores, _ in self._answers]),
            np.stack([embedding for _, embedding in self._answers]),
        )
        self._tables.append(self._op.rows(heard))
        self._starts, self._answers = [], []

    def _ask(self, windows: Float32Array) -> list[Answer]:
        keys = [hashlib.blake2b(window, digest_size=16).digest() for window in windows]
        found = [self._memo.find(key) for key in keys]
        unknown = [row for row, answer in enumerate(found) if answer is None]
        if unknown:
            family, runner = self._family, self._op.model.runner
            if family.is_batched:
                inputs = {family.input_name: family.prepare(windows[unknown])}
                answers = self._read(runner.run(inputs), len(unknown))
            else:
                answers = []
                for row in unknown:
                    inputs = {family.input_name: family.prepare(windows[row : row + 1])}
                    answers += self._read(runner.run_whole(inputs), 1)
            for row, answer in zip(unknown, answers, strict=True):
                found[row] = answer
                self._memo.keep(keys[row], answer)
        return [answer for answer in found if answer is not None]

    def _read(self, outputs: Mapping[str, npt.NDArray[Any]], num_windows: int) -> list[Answer]:
        entry, family = self._op.model.entry, self._family
        wanted = [name for name in (family.scores, family.embedding) if name]
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
