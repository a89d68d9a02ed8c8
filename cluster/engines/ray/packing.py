"""What travels from the driver to the workers for a million files: messages, many in a row and compressed.

As plain JSON they would take a quarter of a gigabyte in the driver and as much in the object store; so they
take a tenth.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import pyarrow as pa

from framemill.cluster.run.messages import Message, encode

_COLUMN = "packed"


def pack(messages: Iterable[Message]) -> pa.Table:
    """A table of one row that holds all of these."""
    data = zlib.compress(b"\n".join(map(encode, messages)), 1)
    return pa.table({_COLUMN: pa.array([data], pa.binary())})


def unpack(batch: pa.Table) -> list[str]:
    """The messages of rows that `pack` made, each as JSON, in order."""
    found: list[str] = []
    for data in batch[_COLUMN].to_pylist():
        found += zlib.decompress(data).decode().split("\n")
    return found


def divide(batch: pa.Table) -> pa.Table:
    """Tasks that `pack` put into one row: a row for each, of which Ray Data makes a block."""
    return pa.table({"task": unpack(batch)})
