"""How a table's columns are declared."""

from __future__ import annotations

import pyarrow as pa


def column(name: str, kind: pa.DataType, doc: str, *, nullable: bool = False) -> pa.Field:
    """A documented column; `doc` gives unit, range and meaning, and when a nullable one is null."""
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


# Where a stretch of the picture lies.
STRETCH_COLUMNS = (
    column("start_seconds", pa.float64(), "time of its first frame, from the start of the presentation"),
    column("end_seconds", pa.float64(), "time of the next one's first frame, or the picture's end"),
    column("start_frame", pa.int64(), "its first frame, 0-based"),
    column("end_frame", pa.int64(), "one past its last frame"),
)
