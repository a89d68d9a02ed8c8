"""A vector for each window of sound: windows that sound alike have similar ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.loading import Model
from ops.chunks import Audio, Chunk, ShardInfo
from ops.columns import column
from ops.operation import Extractor, Op, Partial, Reads
from ops.yamnet import WINDOW_SECONDS, SoundWindows, check_hop


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioEmbeddingsOptions:
    """Options of `audio_embeddings`.

    Attributes:
        hop_seconds: from one window's start to the next, at most the window's length of 0.975 s. With that
            of `sounds`, both operations together cost what one costs.
    """

    hop_seconds: float = WINDOW_SECONDS

    def __post_init__(self) -> None:
        check_hop("audio_embeddings", self.hop_seconds)


class AudioEmbeddings(Op):
    """One row a window."""

    name = "audio_embeddings"
    reads = Reads.AUDIO
    models = ("sounds",)
    default = False
    Options = AudioEmbeddingsOptions
    schema = pa.schema(
        [
            column(
                "start_seconds",
                pa.float64(),
                "start of the window, in seconds since the presentation's start",
            ),
            column("end_seconds", pa.float64(), "its end, exclusive, at most 0.975 s later"),
            column(
                "vector",
                pa.list_(pa.float32()),
                "what the network has before its classes, as it gives it (1024 values >= 0 for YAMNet)",
            ),
        ]
    )

    def open(self, shard: ShardInfo) -> Extractor:
        return _Vectors(self.options, self.loaded["sounds"])


class _Vectors:
    def __init__(self, options: AudioEmbeddingsOptions, model: Model) -> None:
        self.done = False
        self._windows = SoundWindows(model, options.hop_seconds)

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Audio)
        self._windows.feed(chunk)

    def finish(self) -> Partial:
        heard = self._windows.finish()
        num_windows, size = heard.embeddings.shape
        offsets = size * np.arange(num_windows + 1, dtype=np.int32)
        vectors = pa.ListArray.from_arrays(offsets, heard.embeddings.reshape(-1))
        columns = [pa.array(heard.start_seconds), pa.array(heard.end_seconds), vectors]
        return Partial(pa.table(columns, schema=AudioEmbeddings.schema))
