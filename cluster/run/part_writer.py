"""Writing rows as hidden parts, which a commit then publishes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa

from framemill.cluster.results import layout
from framemill.cluster.results.commits import Part, Refused
from framemill.cluster.results.invariants import Extent, require_unbroken
from framemill.cluster.results.parts import rewrite_part, write_part
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.results.tables import ERRORS_SCHEMA, RUNS_SCHEMA
from framemill.cluster.run.messages import MediaRow, RunRow, Write, Written
from framemill.errors import FramemillError, InvariantError
from framemill.ops.media import MediaDescription, media_row

# What no source is to blame for: a full disk, say.
_NOBODYS = (FramemillError, OSError, MemoryError)

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

        Returns:
            The parts; or none, and whose rows are to blame, where some cannot be written: the others are
            still in `finished`, to be asked for again without those.

        Raises:
            DatasetError: the storage is full or refuses.
        """
        written: list[Part | None] = []
        refused: list[Refused] = []
        media: dict[str, pa.Table] = {}
        for row in request.media:
            try:
                values = with_source(media_row(_described(describe(row.uri), row)), row.source_id)
                require_unbroken("media", values, {row.source_id: Extent()})
                media[f"{row.uri} {row.source_id}"] = values
            except Exception as error:
                refused.append(_refuse("media", row.uri, error))
        self._add("media", media, written, refused)
        for op, owners in request.tables.items():
            tables = {f"{owner} {self._keys[op]}": finished[op, owner] for owner in owners}
            self._add(op, tables, written, refused)
        if refused:
            for part in written:
                self._remove(part)
            for each in refused:
                finished.pop((each.operation, each.owner), None)
            return Written(refused=tuple(refused))
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

    def _add(
        self, table: str, tables: dict[str, pa.Table], written: list[Part | None], refused: list[Refused]
    ) -> None:
        """Writes one part; where that fails for what is in it, finds out whose rows are to blame."""
        if not tables:
            return
        try:
            written.append(self._write(table, list(tables.values()), list(tables)))
        except _NOBODYS:
            raise
        except Exception as error:
            guilty = self._blame(table, list(tables.items()), error)
            if not guilty:
                raise  # each could be written by itself
            refused += guilty

    def _blame(self, table: str, tables: list[tuple[str, pa.Table]], error: Exception) -> list[Refused]:
        """Those that cannot be written, found by halving."""
        if len(tables) == 1:
            return [_refuse(table, tables[0][0].rpartition(" ")[0], error)]
        guilty: list[Refused] = []
        middle = len(tables) // 2
        for half in (tables[:middle], tables[middle:]):
            try:
                self._remove(self._write(table, [rows for _, rows in half], [seed for seed, _ in half]))
            except _NOBODYS:
                raise
            except Exception as exc:
                guilty += self._blame(table, half, exc)
        return guilty

    def _write(self, table: str, rows: list[pa.Table], seed: list[str]) -> Part | None:
        return write_part(self._root, table, rows, run_id=self._run_id, seed=seed)

    def _remove(self, part: Part | None) -> None:
        if part is not None:
            layout.hidden_path(self._root, part.table, part.name).unlink(missing_ok=True)


def without(request: Write, refused: Sequence[Refused]) -> Write:
    """The same but for the rows that were refused."""
    gone = {(each.operation, each.owner) for each in refused}
    return msgspec.structs.replace(
        request,
        media=tuple(row for row in request.media if ("media", row.uri) not in gone),
        tables={
            op: tuple(owner for owner in owners if (op, owner) not in gone)
            for op, owners in request.tables.items()
        },
    )


def _refuse(operation: str, owner: str, error: Exception) -> Refused:
    if isinstance(error, InvariantError):
        message = str(error)
    else:
        message = f"a value of {operation} does not fit its column, so none of its rows of this file is kept"
    trace = "".join(traceback.format_exception(error))
    return Refused(operation=operation, owner=owner, message=message, trace=trace)


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
