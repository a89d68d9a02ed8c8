"""What is heard when: classes of sound, window by window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.errors import UsageError
from models.loading import Model
from ops.chunks import Audio, Chunk, ShardInfo
from ops.columns import column
from ops.operation import Extractor, Op, Partial, Reads
from ops.yamnet import WINDOW_SECONDS, SoundWindows, check_hop


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundsOptions:
    """Options of `sounds`.

    Attributes:
        threshold: least score of a row, 0..1.
        top: most rows a window, 1 to 521.
        hop_seconds: from one window's start to the next, at most the window's length of 0.975 s; half of
            it costs twice the time.
    """

    threshold: float = 0.2
    top: int = 5
    hop_seconds: float = WINDOW_SECONDS

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"sounds.threshold is {self.threshold}; it must be 0 to 1")
        if not 1 <= self.top <= 521:
            raise UsageError(f"sounds.top is {self.top}; it must be 1 to 521")
        check_hop("sounds", self.hop_seconds)


class Sounds(Op):
    """The highest scores of every window, best first; a sound that lasts gives a row in each window."""

    name = "sounds"
    reads = Reads.AUDIO
    models = ("sounds",)
    default = False
    Options = SoundsOptions
    schema = pa.schema(
        [
            column(
                "start_seconds",
                pa.float64(),
                "start of the window, in seconds since the presentation's start",
            ),
            column("end_seconds", pa.float64(), "its end, exclusive, at most 0.975 s later"),
            column("label", pa.string(), "what is heard: a class of AudioSet, such as Speech"),
            column("score", pa.float32(), "how sure the model is, 0..1; classes do not exclude each other"),
        ]
    )

    def open(self, shard: ShardInfo) -> Extractor:
        return _Classes(self.options, self.loaded["sounds"])


class _Classes:
    def __init__(self, options: SoundsOptions, model: Model) -> None:
        self.done = False
        self._options = options
        self._labels = np.array(model.entry.labels, object)
        self._windows = SoundWindows(model, options.hop_seconds)

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Audio)
        self._windows.feed(chunk)

    def finish(self) -> Partial:
        heard = self._windows.finish()
        # Of equal scores the class that comes first in the model's order.
        best = np.argsort(-heard.scores, axis=1, kind="stable")[:, : self._options.top]
        window, rank = np.nonzero(np.take_along_axis(heard.scores, best, 1) >= self._options.threshold)
        labels = best[window, rank]
        rows = pa.table(
            {
                "start_seconds": heard.start_seconds[window],
                "end_seconds": heard.end_seconds[window],
                "label": pa.array(self._labels[labels], pa.string()),
                "score": heard.scores[window, labels],
            },
            schema=Sounds.schema,
        )
        return Partial(rows)
