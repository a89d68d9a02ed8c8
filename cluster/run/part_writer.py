"""Writing rows as hidden parts, which a commit then publishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa

from framemill.cluster.results.commits import Part
from framemill.cluster.results.parts import rewrite_part, write_part
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.results.tables import ERRORS_SCHEMA, RUNS_SCHEMA
from framemill.cluster.run.messages import MediaRow, RunRow, Write, Written
from framemill.ops.media import MediaDescription, media_row

FinishedTables = dict[tuple[str, str], pa.Table]  # (operation, source_id) -> its rows, with source_id


class PartWriter:
    """Writes parts of one run.

    Args:
        root: result folder. run_id: name of the run. keys: operation -> digest of its key.
    """

    def __init__(self, root: ResultPath, run_id: str, keys: Mapping[str, str]) -> None:
        self._root = root
        self._run_id = run_id
        self._keys = keys

    def write(
        self, request: Write, finished: FinishedTables, describe: Callable[[str], MediaDescription]
    ) -> Written:
        """Writes rows as hidden parts, and rewrites parts without rows that are replaced.

        Args:
            finished: rows of the tables asked for, which are taken out of it.
            describe: what a file holds, by its uri.

        Raises:
            DatasetError: the storage is full or refuses.
        """
        media = [
            with_source(media_row(_described(describe(row.uri), row)), row.source_id) for row in request.media
        ]
        written = [self._write("media", media, sorted(f"{row.uri} {row.source_id}" for row in request.media))]
        for op, owners in request.tables.items():
            tables = [finished[op, owner] for owner in owners]
            written.append(self._write(op, tables, [f"{owner} {self._keys[op]}" for owner in owners]))
        written.append(self._write("runs", [_run_table(row) for row in request.runs], [self._run_id]))
        failed = pa.Table.from_pylist([msgspec.structs.asdict(row) for row in request.errors], ERRORS_SCHEMA)
        seed = [msgspec.json.encode(row, order="sorted").decode() for row in request.errors]
        written.append(self._write("errors", [failed], seed))
        for drop in request.drops:
            written.append(rewrite_part(self._root, drop.part, drop.owners, run_id=self._run_id))
        for op, owners in request.tables.items():
            for owner in owners:
                finished.pop((op, owner), None)
        return Written(parts=tuple(part for part in written if part is not None))

    def _write(self, table: str, rows: list[pa.Table], seed: list[str]) -> Part | None:
        return write_part(self._root, table, rows, run_id=self._run_id, seed=seed)


def _described(description: MediaDescription, row: MediaRow) -> MediaDescription:
    """A file as its container describes it, with what its decode told."""
    told, num_frames = row.delivered, description.num_frames
    has_sound = description.audio_codec is not None
    return replace(
        description,
        uri=row.uri,
        status=row.status,
        duration_seconds=description.duration_seconds
        if told.duration_seconds is None
        else told.duration_seconds,
        num_frames_delivered=num_frames and max(0, num_frames - told.num_lost),
        num_frames_damaged=None if num_frames is None else told.num_damaged,
        # Sound that begins late in a transport stream is not known before it is decoded.
        sample_rate=description.sample_rate or told.sample_rate or None if has_sound else None,
        num_channels=description.num_channels or told.num_channels or None if has_sound else None,
    )


def with_source(rows: pa.Table, source_id: str) -> pa.Table:
    """Rows of an operation with the column `source_id` in front."""
    owner = pa.field(
        "source_id",
        pa.string(),
        nullable=False,
        metadata={"doc": "content id of the source: BLAKE3, 64 hex digits"},
    )
    column = pa.array([source_id], pa.string()).take(pa.array(np.zeros(rows.num_rows, np.int64)))
    return rows.add_column(0, owner, column)


def _run_table(row: RunRow) -> pa.Table:
    """One row of `runs`; Arrow takes maps as pairs."""
    values = msgspec.structs.asdict(row)
    pairs = {name: list(value.items()) for name, value in values.items() if isinstance(value, dict)}
    return pa.Table.from_pylist([values | pairs], schema=RUNS_SCHEMA)
