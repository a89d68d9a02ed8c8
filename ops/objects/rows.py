"""Rows of objects, by frame and rank: made of detections, and as arrays for operations that come after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.ops.at_first_use import pc
from framemill.ops.chunks import Float32Array, Frames, Int64Array
from framemill.ops.objects.decoders import Detections
from framemill.ops.pixels.boxes import BOX


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """Objects of some frames, by frame and rank.

    Attributes:
        frame_index, object_index: int64 [m].
        labels: str [m]. scores: float32 [m], 0..1.
        boxes: float32 [m, 4], x0, y0, x1, y1 in display pixels.
    """

    frame_index: Int64Array
    object_index: Int64Array
    labels: npt.NDArray[Any]
    scores: Float32Array
    boxes: Float32Array

    def __len__(self) -> int:
        return len(self.frame_index)

    def take(self, which: npt.NDArray[Any]) -> ObjectRows:
        """The rows at these positions, or where this mask is true."""
        return ObjectRows(*(getattr(self, name)[which] for name in self.__slots__))

    def starts(self, frames: Frames) -> Int64Array:
        """int64 [n + 1]: frame i of the batch has the rows from starts[i] up to starts[i + 1]."""
        edges = np.append(frames.frame_index, np.iinfo(np.int64).max)
        return np.searchsorted(self.frame_index, edges).astype(np.int64)


def detection_rows(
    frames: Frames, found: Sequence[Detections], labels: pa.Array, schema: pa.Schema
) -> pa.Table:
    """A row for each detection: frame, rank, label, its index, score and box, as `schema` names them.

    Args:
        found: of each frame, by descending score, boxes in display pixels. labels: names by class index.
    """
    counts = np.array([len(f.scores) for f in found], np.int64)
    if not counts.sum():
        return schema.empty_table()
    classes = np.concatenate([f.labels for f in found]).astype(np.int32)
    boxes = np.concatenate([f.boxes for f in found])
    columns = [
        pa.array(np.repeat(frames.frame_index, counts)),
        pa.array(np.repeat(frames.pts_seconds, counts)),
        pa.array(np.concatenate([np.arange(n, dtype=np.int32) for n in counts])),
        pa.DictionaryArray.from_arrays(pa.array(classes), labels),
        pa.array(classes),
        pa.array(np.concatenate([f.scores for f in found])),
        pa.StructArray.from_arrays([pa.array(edge) for edge in boxes.T.copy()], fields=list(BOX)),
    ]
    return pa.table(columns, schema=schema)


def read_boxes(table: pa.Table) -> Float32Array:
    """The column `box` of a table as float32 [m, 4]."""
    boxes = table["box"].combine_chunks()
    return np.stack(
        [pc.struct_field(boxes, edge).to_numpy(zero_copy_only=False) for edge in range(4)], axis=1
    )


def read_objects(table: pa.Table) -> ObjectRows:
    """The rows of `objects`, given in any order, as arrays."""
    table = table.combine_chunks()
    frame_index, object_index = (
        table[name].to_numpy().astype(np.int64) for name in ("frame_index", "object_index")
    )
    labels = np.array(table["label"].to_pylist(), np.str_)
    rows = ObjectRows(frame_index, object_index, labels, table["score"].to_numpy(), read_boxes(table))
    return rows.take(np.lexsort((object_index, frame_index)))
