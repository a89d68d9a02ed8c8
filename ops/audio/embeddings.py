"""A vector for each window of sound: windows that sound alike have similar ones."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from framemill.ops.audio.windows import WINDOW_COLUMNS, WindowOp, WindowOutputs, check_hop
from framemill.ops.columns import column, vector_column


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioEmbeddingsOptions:
    """Options of `audio_embeddings`.

    Attributes:
        hop_seconds: from one window's start to the next, at most the length of the model's window (0.975 s
            for YAMNet); 0 for that length. With that of `sounds`, both operations together cost what one
            costs.
    """

    hop_seconds: float = 0.0

    def __post_init__(self) -> None:
        check_hop("audio_embeddings", self.hop_seconds)


class AudioEmbeddings(WindowOp):
    """One row a window."""

    name = "audio_embeddings"
    Options = AudioEmbeddingsOptions
    schema = pa.schema(
        [
            *WINDOW_COLUMNS,
            column(
                "vector",
                pa.list_(pa.float32()),
                "what the network says of the window, as it gives it (for YAMNet 1024 values >= 0)",
            ),
        ]
    )

    def rows(self, windows: WindowOutputs) -> pa.Table:
        vectors = vector_column(windows.embeddings)
        columns = [pa.array(windows.start_seconds), pa.array(windows.end_seconds), vectors]
        return pa.table(columns, schema=self.schema)
