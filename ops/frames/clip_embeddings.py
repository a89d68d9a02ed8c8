"""Embeddings of shots: the mean of those of their frames, so that shots with similar content are near."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from framemill.ops.chunks import ShardInfo
from framemill.ops.columns import column, vector_column
from framemill.ops.frames.embeddings import VECTORS, sorted_vectors, unit_vectors
from framemill.ops.operation import TableOp


class ClipEmbeddings(TableOp):
    """One row for each shot of which a frame was looked at, from the rows of `image_embeddings` in it."""

    name = "clip_embeddings"
    after = ("scenes", VECTORS)
    names_models = (VECTORS,)
    schema = pa.schema(
        [
            column("scene_index", pa.int32(), "0-based position of the shot in the source, as in `scenes`"),
            column("start_seconds", pa.float64(), "time of its first frame since the presentation's start"),
            column("end_seconds", pa.float64(), "its end, exclusive"),
            column(
                "vector",
                pa.list_(pa.float32()),
                "mean of the vectors of its frames, of length 1 again; compare by dot product, -1..1: the "
                "higher, the more alike two shots are; words compare with it where they do with its frames",
            ),
            column("model", pa.string(), "the image model that made the vectors of the frames"),
            column("num_frames", pa.int32(), "frames that it is the mean of, >= 1"),
        ]
    )

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        shots = upstream["scenes"].sort_by("scene_index")
        if not upstream[VECTORS].num_rows:
            return self.schema.empty_table()
        rows, vectors = sorted_vectors(upstream[VECTORS])
        bounds = [shots[name].to_numpy() for name in ("start_frame", "end_frame")]
        first, stop = (np.searchsorted(rows["frame_index"].to_numpy(), bound) for bound in bounds)
        has = np.flatnonzero(stop > first)
        spans = zip(first[has].tolist(), stop[has].tolist(), strict=True)
        means = np.array([vectors[a:b].mean(axis=0) for a, b in spans]).reshape(len(has), vectors.shape[1])
        kept = shots.take(has)
        columns = [
            *(kept[name] for name in ("scene_index", "start_seconds", "end_seconds")),
            vector_column(unit_vectors(means)),
            pa.array([self.model_names[VECTORS]] * len(has), pa.string()),
            pa.array((stop - first)[has].astype(np.int32)),
        ]
        return pa.table(columns, schema=self.schema)
