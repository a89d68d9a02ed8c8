"""Runs YAMNet over a sound track in windows, once for all operations that ask.

YAMNet is a MobileNet v1 on log-mel pictures, trained on AudioSet (Hershey et al., "CNN architectures for
large-scale audio classification", ICASSP 2017).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from models.errors import ModelError, UsageError
from models.loading import Model, Runner
from ops.chunks import Audio, Float32Array, Float64Array
from ops.voice import SAMPLE_RATE, clean_samples

WINDOW = 15_600  # samples the network hears at once: fixed by its file
WINDOW_SECONDS = WINDOW / SAMPLE_RATE
# A chunk is 4 s; eight files at a time wait between one operation and the next with about 40 windows.
_KEPT_WINDOWS = 64

Answer = tuple[Float32Array, Float32Array]


class _Memo:
    """The last answers by the exact samples, so that operations on the same sound ask the network once.

    A window costs 4.3 ms on one core and keeping or finding it 0.1 ms (measured).
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: OrderedDict[bytes, Answer] = OrderedDict()


_memos: WeakKeyDictionary[Runner, _Memo] = WeakKeyDictionary()
_memos_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Heard:
    """What the network says of a track, window by window.

    Attributes:
        start_seconds, end_seconds: float64 [n], of each window, from the start of the presentation.
        scores: float32 [n, classes], 0..1 each, independent of each other.
        embeddings: float32 [n, d].
    """

    start_seconds: Float64Array
    end_seconds: Float64Array
    scores: Float32Array
    embeddings: Float32Array


class SoundWindows:
    """Hears one shard. Windows start every `hop_seconds`; the last one ends with the track, so that all of it
    is heard; a track shorter than a window is filled up with silence."""

    def __init__(self, model: Model, hop_seconds: float) -> None:
        self._model = model
        self._hop = max(1, round(hop_seconds * SAMPLE_RATE))
        with _memos_lock:
            self._memo = _memos.setdefault(model.runner, _Memo())
        self._origin = 0  # of the track, in samples
        self._first = 0  # position of waiting[0] in the track
        self._waiting = np.zeros(0, np.float32)
        self._next = 0  # where the next window starts
        self._starts: list[int] = []
        self._scores: list[Float32Array] = []
        self._embeddings: list[Float32Array] = []

    def feed(self, chunk: Audio) -> None:
        """Hears the windows that are complete now."""
        if not self._first and not len(self._waiting):
            self._origin = chunk.start_sample
        self._waiting = np.concatenate([self._waiting, clean_samples(chunk)])
        end = self._first + len(self._waiting)
        while self._next + WINDOW <= end:
            self._hear(self._next)
            self._next += self._hop
        # The last window may reach back over what was heard.
        unneeded = min(self._next, end - WINDOW) - self._first
        if unneeded > 0:
            self._first += unneeded
            self._waiting = self._waiting[unneeded:].copy()

    def finish(self) -> Heard:
        """Hears what is left, and hands over everything."""
        end = self._first + len(self._waiting)
        if end and (not self._starts or self._starts[-1] + WINDOW < end):
            self._hear(max(0, end - WINDOW))
        starts = np.array(self._starts, np.int64)
        return Heard(
            (self._origin + starts) / SAMPLE_RATE,
            (self._origin + np.minimum(starts + WINDOW, end)) / SAMPLE_RATE,
            np.stack(self._scores) if self._scores else np.zeros((0, 0), np.float32),
            np.stack(self._embeddings) if self._embeddings else np.zeros((0, 0), np.float32),
        )

    def _hear(self, start: int) -> None:
        samples = self._waiting[start - self._first :][:WINDOW]
        scores, embedding = self._ask(np.pad(samples, (0, WINDOW - len(samples))))
        self._starts.append(start)
        self._scores.append(scores)
        self._embeddings.append(embedding)

    def _ask(self, window: Float32Array) -> Answer:
        key = window.tobytes()
        with self._memo.lock:
            if key in self._memo.answers:
                return self._memo.answers[key]
        entry = self._model.entry
        outputs = self._model.runner.run_whole({"waveform_binary": window})
        try:
            scores, embedding = outputs["scores"], outputs["embedding"]
        except KeyError:
            raise ModelError(
                f"model {entry.name} gives {', '.join(outputs)}; a model of sounds must give `scores` and "
                "`embedding`: choose one of family yamnet"
            ) from None
        if scores.shape != (1, len(entry.labels)) or embedding.ndim != 2:
            raise ModelError(
                f"model {entry.name} gives scores {list(scores.shape)} and an embedding "
                f"{list(embedding.shape)}; expected [1, {len(entry.labels)}] (its labels) and [1, d]: "
                "choose one of family yamnet, or correct its labels"
            )
        answer = scores[0].astype(np.float32), embedding[0].astype(np.float32)
        with self._memo.lock:
            self._memo.answers[key] = answer
            if len(self._memo.answers) > _KEPT_WINDOWS:
                self._memo.answers.popitem(last=False)
        return answer


def check_hop(name: str, hop_seconds: float) -> None:
    """Raises UsageError where windows would leave sound unheard or come too densely."""
    if not 0.05 <= hop_seconds <= WINDOW_SECONDS:
        raise UsageError(
            f"{name}.hop_seconds is {hop_seconds}; it must be 0.05 to {WINDOW_SECONDS}, the model's window"
        )
