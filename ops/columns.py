"""How a table's columns are declared."""

from __future__ import annotations

import pyarrow as pa


def column(name: str, kind: pa.DataType, doc: str, *, nullable: bool = False) -> pa.Field:
    """A documented column; `doc` gives unit, range and meaning, and when a nullable one is null."""
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})
