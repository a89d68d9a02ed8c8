"""Embeddings of text on screen and of transcripts, to search by meaning.

They are two operations with equal columns, since every operation in `after` runs as well: embeddings of a
transcript must not cause text on screen to be read, nor the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from framemill.models.runner import Model
from framemill.ops.chunks import ShardInfo
from framemill.ops.columns import column, vector_column
from framemill.ops.frames.text_encoder import TEXT_FAMILIES, TextEncoder, embed_unique
from framemill.ops.operation import TableOp


class TextEmbeddings(TableOp):
    """One row for each row of `text_spans`: a text that stands still is one row, not one a frame."""

    name = "text_embeddings"
    after = ("text_spans",)
    models = ("text_embeddings",)
    schema = pa.schema(
        [
            column("start_seconds", pa.float64(), "start of the row it speaks of, in seconds, >= 0"),
            column("end_seconds", pa.float64(), "end of the row it speaks of, exclusive, in seconds"),
            column("text", pa.string(), "what the row says"),
            column(
                "vector",
                pa.list_(pa.float32()),
                "embedding of length 1 (384 numbers with the default model) of the text's first tokens (512 "
                "there); compare by dot product, -1..1: with the default model most lie from 0.7 to 1, so "
                "the order tells more than the value",
            ),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        self._encoder = TextEncoder(self.name, models["text_embeddings"], TEXT_FAMILIES)

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        rows = upstream[self.after[0]].select(["start_seconds", "end_seconds", "text"])
        if not rows.num_rows:
            return self.schema.empty_table()
        keys = [("start_seconds", "ascending"), ("end_seconds", "ascending"), ("text", "ascending")]
        rows = rows.sort_by(keys)
        texts = rows["text"].cast(pa.string()).to_pylist()
        columns = [
            rows["start_seconds"],
            rows["end_seconds"],
            pa.array(texts),
            vector_column(embed_unique(self._encoder, texts)),
        ]
        return pa.table(columns, schema=self.schema)


class TranscriptEmbeddings(TextEmbeddings):
    """One row for each row of `transcript`."""

    name = "transcript_embeddings"
    after = ("transcript",)
