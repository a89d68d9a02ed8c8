"""Shots that are most like one: by the vectors of their frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.source_tables import source_tables
from framemill.errors import DatasetError, UsageError

TABLE = "image_embeddings"
_BATCH_ROWS = 16_384
_KEPT = 2_000  # of the nearest frames, of which several may be of one shot

# Content id, frame, and cosine similarity to what is asked for.
Near = tuple[str, int, float]


def nearest_frames(dataset: Dataset, source_id: str, frame_index: int) -> list[Near]:
    """The frames whose vectors are most like that of a frame, or of the one closest to it.

    Vectors are read batch by batch, so memory does not grow with the folder.

    Raises:
        UsageError: there are no vectors, or none of this file.
        DatasetError: a part cannot be read.
    """
    state = dataset.state
    remedy = f"run `framemill extract SOURCES -o {dataset.root} --ops {TABLE}`"
    if TABLE not in state.keys:
        raise UsageError(f"{dataset.root} has no vectors of pictures: {remedy}")
    own = source_tables(dataset.root, state, [TABLE], [source_id])[TABLE]
    try:
        rows = own.to_table(columns=["frame_index", "vector"])
        if not rows.num_rows:
            raise UsageError(f"this file has no vectors of pictures: {remedy}")
        at = int(np.argmin(np.abs(rows["frame_index"].to_numpy() - frame_index)))
        wanted = np.asarray(rows["vector"][at].as_py(), np.float32)
        # Vectors of another model compare with nothing: rows that a replacing run has not got to yet.
        others = state.outdated(TABLE)
        same = ~pc.field("source_id").isin(pa.array(sorted(others), pa.string()))
        if source_id in others:
            raise UsageError(
                f"the vectors of this file are of another model than those of most: {remedy} again"
            )
        everything = source_tables(dataset.root, state, [TABLE], None)[TABLE]
        return _nearest(everything, same if others else None, wanted)
    except (pa.ArrowException, OSError) as exc:
        raise DatasetError(f"table {TABLE} cannot be read: {exc}; run the command again") from exc


def _nearest(table: Any, condition: pc.Expression | None, wanted: npt.NDArray[np.float32]) -> list[Near]:
    best: list[Near] = []
    least = -np.inf
    columns = ["source_id", "frame_index", "vector"]
    # One batch after the other: what is read ahead, or by several threads, is memory.
    ahead = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
    batches = table.to_batches(columns=columns, filter=condition, batch_size=_BATCH_ROWS, **ahead)
    for batch in batches:
        if not batch.num_rows:
            continue
        vectors = batch.column("vector").flatten().to_numpy().reshape(batch.num_rows, -1)
        scores = np.clip(vectors @ wanted, -1, 1)
        chosen = np.flatnonzero(scores > least)
        if len(chosen) > _KEPT:
            chosen = chosen[np.argpartition(-scores[chosen], _KEPT)[:_KEPT]]
        rows = batch.select(columns[:2]).take(pa.array(chosen)).to_pylist()
        best += [
            (row["source_id"], row["frame_index"], float(score))
            for row, score in zip(rows, scores[chosen], strict=True)
        ]
        best = sorted(best, key=lambda near: (-near[2], near[0], near[1]))[:_KEPT]
        least = best[-1][2] if len(best) == _KEPT else -np.inf
    return best
