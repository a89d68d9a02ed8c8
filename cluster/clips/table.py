"""The table `clips`: a row for each clip of a plan, kept or dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from framemill.cluster.results.corpus_tables import corpus_key, replace_table
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import CORPUS_TABLES
from framemill.ops.columns import column

TABLE = "clips"
VERSION = 1
CLIPS_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("clip_index", pa.int32(), "0-based position among the clips of the source that were planned"),
        column(
            "start_seconds",
            pa.float64(),
            "time of its first frame, since the start of the presentation of the source; as planned where it "
            "was not cut",
        ),
        column("end_seconds", pa.float64(), "where its last frame ends; as planned where it was not cut"),
        column("start_frame", pa.int64(), "its first frame, 0-based; null where not known", nullable=True),
        column("end_frame", pa.int64(), "one past its last frame; null where not known", nullable=True),
        column(
            "scene_index",
            pa.int32(),
            "the shot that it lies in, or begins in; null where shots are not known",
            nullable=True,
        ),
        column("kept", pa.bool_(), "whether it was written"),
        column(
            "reason", pa.string(), "why not: the rule that dropped it, or what is wrong; empty where kept"
        ),
        column("path", pa.string(), "the file that holds it; null where it was dropped", nullable=True),
        column("member", pa.string(), "its name in that file where it is a tar; else null", nullable=True),
        column("num_bytes", pa.int64(), "size of the clip; null where it was dropped", nullable=True),
        column("sha256", pa.string(), "digest of its bytes; null where it was dropped", nullable=True),
        column("num_frames", pa.int64(), "pictures that it shows; null where dropped", nullable=True),
        column("width", pa.int32(), "of its pictures as shown; null where it was dropped", nullable=True),
        column("height", pa.int32(), "of its pictures as shown; null where it was dropped", nullable=True),
        column(
            "is_copied",
            pa.bool_(),
            "whether it holds the packets of the source, and was not encoded anew; null where dropped",
            nullable=True,
        ),
    ]
)


def store_clips(dataset: Dataset, run_id: str, rows: pa.Table, options: Mapping[str, Any]) -> None:
    """Commits the clips of a plan in place of those of the plan before. Call it inside `dataset.hold`.

    Args:
        rows: in `CLIPS_SCHEMA`. options: what was asked for.

    Raises:
        DatasetError: the storage refuses, or the lease is lost.
    """
    # `media` has rows of paths, and tables of the whole folder are made from others.
    tables = sorted(name for name in dataset.state.keys if name not in CORPUS_TABLES and name != "media")
    key = corpus_key(dataset, TABLE, tables, VERSION, options)
    order = [("source_id", "ascending"), ("clip_index", "ascending")]
    replace_table(dataset, run_id, TABLE, tables, key, rows.sort_by(order))
