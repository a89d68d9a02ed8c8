"""How a table's columns are declared and built."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from framemill.ops.chunks import Float32Array


def column(name: str, kind: pa.DataType, doc: str, *, nullable: bool = False) -> pa.Field:
    """A documented column; `doc` gives unit, range and meaning, and when a nullable one is null."""
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


def vector_column(vectors: Float32Array) -> pa.Array:
    """One list of float32 per row of float32 [n, d], d >= 1, for a column of embeddings."""
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel()))


# Columns that several tables share, for schemas to be composed of.

# Which frame a row belongs to.
FRAME_COLUMNS = (
    column("frame_index", pa.int64(), "0-based position among the presented frames of the source"),
    column("pts_seconds", pa.float64(), "seconds since the start of the presentation, >= 0"),
)
# Which row of `faces` a row belongs to.
FACE_COLUMNS = (
    *FRAME_COLUMNS,
    column("face_index", pa.int32(), "the face: its rank in the frame, as in `faces`"),
)
# A span of sound.
SPAN_COLUMNS = (
    column("start_seconds", pa.float64(), "start, in seconds since the presentation's start"),
    column("end_seconds", pa.float64(), "end, exclusive, in seconds since the presentation's start"),
)
# A range of consecutive frames.
STRETCH_COLUMNS = (
    column("start_seconds", pa.float64(), "time of its first frame, from the start of the presentation"),
    column("end_seconds", pa.float64(), "time of the next one's first frame, or the picture's end"),
    column("start_frame", pa.int64(), "its first frame, 0-based"),
    column("end_frame", pa.int64(), "one past its last frame"),
)
