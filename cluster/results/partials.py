"""What the shards of a long source gave, on disk until all of them are there to be merged.

They survive the run: a source that was half done is finished, not begun again.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pyarrow as pa

from framemill.actors.shortfalls import Delivered, Shortfall
from framemill.cluster.results.layout import new_file, partials_folder, storage_errors
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import ResultPath, readable
from framemill.errors import DatasetError
from framemill.ops.operation import Partial

_HAS_STATE = b"framemill.has_state"
_SHORTFALL = b"framemill.shortfall"
_DELIVERED = b"framemill.delivered"


def _file(root: ResultPath, source_id: str, op: str, key: str, shard_index: int, kind: str) -> ResultPath:
    return partials_folder(root, source_id) / f"{op}-{key[:16]}-{shard_index:05d}.{kind}.arrow"


def find_outcome(
    root: ResultPath, source_id: str, keys: Mapping[str, str], shard_index: int
) -> tuple[Shortfall | None, Delivered] | None:
    """Why a shard that an earlier run did is incomplete, or None where it is not; and what its decode gave.

    Returns:
        None unless every operation (name -> key digest) has its partial of this shard.
    """
    paths = [_file(root, source_id, op, key, shard_index, "rows") for op, key in keys.items()]
    if not all(path.exists() for path in paths):
        return None
    if not paths:
        return None, Delivered()
    metadata = _read(paths[0]).schema.metadata or {}
    delivered = msgspec.json.decode(metadata.get(_DELIVERED, b"{}"), type=Delivered)
    return msgspec.json.decode(metadata.get(_SHORTFALL, b"null"), type=Shortfall | None), delivered


def save(
    root: ResultPath,
    source_id: str,
    op: str,
    key: str,
    shard_index: int,
    partial: Partial,
    shortfall: Shortfall | None,
    delivered: Delivered,
) -> None:
    """Writes one partial; the rows come last, so that a partial with rows is whole.

    Args:
        shortfall: why the shard is incomplete, or None. delivered: what its decode gave.

    Raises:
        DatasetError: the disk is full or refuses.
    """
    path = _file(root, source_id, op, key, shard_index, "rows")
    with storage_errors(path, "writing"):
        if partial.state is not None:
            _write(_file(root, source_id, op, key, shard_index, "state"), partial.state)
        metadata = {
            _HAS_STATE: b"1" if partial.state is not None else b"0",
            _SHORTFALL: msgspec.json.encode(shortfall),
            _DELIVERED: msgspec.json.encode(delivered),
        }
        _write(path, partial.rows.replace_schema_metadata(metadata))


def load(root: ResultPath, source_id: str, op: str, key: str, num_shards: int) -> list[Partial]:
    """The partials of a source for one operation, in time order; pieces that it does not read have none."""
    found = []
    for shard_index in range(num_shards):
        path = _file(root, source_id, op, key, shard_index, "rows")
        if not path.exists():
            continue
        rows = _read(path)
        has_state = (rows.schema.metadata or {}).get(_HAS_STATE) == b"1"
        state = _read(_file(root, source_id, op, key, shard_index, "state")) if has_state else None
        found.append(Partial(rows.replace_schema_metadata(None), state))
    return found


def _write(path: ResultPath, table: pa.Table) -> None:
    # A name without its bytes after a power cut would pass for a result.
    staged = path if isinstance(path, RemotePath) else path.with_name(path.name + ".tmp")
    with new_file(staged) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    if not isinstance(staged, RemotePath):
        staged.replace(path)  # type: ignore[arg-type]


def _read(path: ResultPath) -> pa.Table:
    with storage_errors(path, "reading"):
        try:
            if isinstance(path, RemotePath):
                return pa.ipc.open_file(readable(path)).read_all()
            with pa.OSFile(str(path), "rb") as source:
                return pa.ipc.open_file(source).read_all()
        except pa.ArrowException as exc:
            raise DatasetError(
                f"{path} is damaged ({exc}): delete the folder {path.parent} to compute this source anew"
            ) from exc
