"""Parquet parts: written hidden and synced by the process that has the rows, committed by another."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from framemill.cluster.results import layout
from framemill.cluster.results.commits import Part
from framemill.cluster.results.storage import ResultPath, readable
from framemill.errors import DatasetError
from framemill.ops.at_first_use import pc

# Columns that name a row's owner, joined by a blank; see `commits.error_owner` for `errors`.
OWNER_COLUMNS = {"media": ("uri",), "errors": ("operation", "uri"), "runs": ("run_id",)}
_DEFAULT_OWNER = ("source_id",)

ROW_GROUP_ROWS = 122_880  # DuckDB reads one row group per thread and makes its own at this size
ROW_GROUP_BYTES = 64 << 20  # rows with pictures: what a reader has to hold at once


def owner_columns(table: str) -> tuple[str, ...]:
    """The columns that tell to whom a row of `table` belongs."""
    return OWNER_COLUMNS.get(table, _DEFAULT_OWNER)


def owners_of(table: str, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
    """The owner of each row, as strings."""
    columns = [rows[name].cast(pa.string()) for name in owner_columns(table)]
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, " ")


def part_name(run_id: str, seed: Iterable[str]) -> str:
    """File name of a part. The same seed in the same run gives the same, so a retry overwrites itself."""
    digest = hashlib.blake2b("\n".join(sorted(seed)).encode(), digest_size=8).hexdigest()
    return f"part-{run_id}-{digest}.parquet"


def write_part(
    root: ResultPath, table: str, tables: Sequence[pa.Table], *, run_id: str, seed: Iterable[str]
) -> Part | None:
    """Writes rows as one hidden part, synced to disk.

    Args:
        root: result folder.
        table: table name.
        tables: rows in the table's schema with its owner columns; all rows of each owner.
        run_id: of the run that will commit.
        seed: what the part stands for, such as one "owner key" per entry; the name derives from it.

    Returns:
        The part to be committed; None when there is no row.

    Raises:
        DatasetError: the disk is full or refuses.
    """
    rows = pa.concat_tables(tables) if tables else None
    if rows is None or rows.num_rows == 0:
        return None
    rows = with_fixed_vectors(rows)
    return _write(root, table, part_name(run_id, seed), rows.schema, [rows])


def rewrite_part(root: ResultPath, part: Part, drop_owners: Collection[str], *, run_id: str) -> Part | None:
    """Writes a committed part again, hidden, without the rows of some owners; the original stays.

    Returns:
        The part to be committed in its place; None when no row is left.

    Raises:
        DatasetError: the part cannot be read or the new one not be written.
    """
    dropped = pa.array(sorted(drop_owners), pa.string())

    def kept() -> Iterator[pa.Table]:
        for rows in read_groups(root, part):
            yield rows.filter(pc.invert(pc.is_in(owners_of(part.table, rows), value_set=dropped)))

    if set(part.owners) <= set(drop_owners):
        return None
    schema = _read_schema(root, part)
    return _write(root, part.table, part_name(run_id, [part.name, *drop_owners]), schema, kept())


def join_parts(root: ResultPath, parts: Sequence[Part], *, run_id: str) -> Part:
    """Writes several committed parts of one table as one hidden part.

    Rows keep their order; fields that some parts lack are null there.

    Raises:
        DatasetError: a part cannot be read, or the new one not be written.
    """
    with _reading(root / parts[0].table):
        schema = unify_parts([_read_schema(root, part) for part in parts])
    batches = (rows for part in parts for rows in read_groups(root, part))
    joined = _write(root, parts[0].table, part_name(run_id, [part.name for part in parts]), schema, batches)
    if joined is None or joined.rows != sum(part.rows for part in parts):
        raise DatasetError(
            f"parts of {root / parts[0].table} hold {joined.rows if joined else 0} rows instead of "
            f"{sum(part.rows for part in parts)}: their files were changed from outside; restore them"
        )
    return joined


def read_rows(
    root: ResultPath,
    table: str,
    parts: Sequence[Part],
    owners: Collection[str] | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table | None:
    """Committed rows, for operations that build on earlier ones.

    Args:
        parts: the live parts of `table` (`DatasetState.parts_of`); only those with a wanted owner are read.
        owners: whose rows; None for all.
        columns: those to read, the owner's among them; None for all.

    Returns:
        The rows, or None when there is none; vectors as lists of any size, as operations declare them.
    """
    wanted = None if owners is None else frozenset(owners)
    value_set = pa.array(sorted(wanted or ()), pa.string())
    found = []
    for part in parts:
        if wanted is None or not wanted.isdisjoint(part.owners):
            for rows in read_groups(root, part, columns):
                if wanted is not None:
                    rows = rows.filter(pc.is_in(owners_of(table, rows), value_set=value_set))
                if rows.num_rows:
                    found.append(rows.cast(pa.schema(map(_of_any_size, rows.schema))))
    return pa.concat_tables(found, promote_options="default") if found else None


def with_fixed_vectors(rows: pa.Table) -> pa.Table:
    """The same with `vector` as lists of fixed size, where all rows have equally many numbers.

    The size is that of the model, which a table's schema cannot say. Readers need no offsets then, and DuckDB
    has a type for it (FLOAT[n]).
    """
    if "vector" not in rows.column_names or not pa.types.is_list(rows.schema.field("vector").type):
        return rows
    place, vectors = rows.column_names.index("vector"), rows["vector"]
    sizes = pc.min_max(pc.list_value_length(vectors)).as_py()
    if vectors.null_count or not sizes["min"] or sizes["min"] != sizes["max"]:
        return rows
    field = rows.schema.field(place)
    kind = pa.list_(field.type.value_type, sizes["min"])
    return rows.set_column(place, field.with_type(kind), vectors.cast(kind))


def unify_parts(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The schema of all parts of a table: fields that some lack, and lists of any size where sizes differ.

    Raises:
        pa.ArrowException: types of a field differ otherwise.
    """
    kinds: dict[str, set[pa.DataType]] = {}
    for field in (field for schema in schemas for field in schema):
        kinds.setdefault(field.name, set()).add(field.type)
    return pa.unify_schemas(
        [
            pa.schema([_of_any_size(field) if len(kinds[field.name]) > 1 else field for field in schema])
            for schema in schemas
        ]
    )


def _of_any_size(field: pa.Field) -> pa.Field:
    is_fixed = pa.types.is_fixed_size_list(field.type)
    return field.with_type(pa.list_(field.type.value_type)) if is_fixed else field


def read_groups(root: ResultPath, part: Part, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a part in lots of about 64 MB, in their order.

    Args:
        columns: those to read, as far as the part has them; None for all.

    Raises:
        DatasetError: the part is gone or damaged.
    """
    path = layout.live_path(root, part.table, part.name)
    with _reading(path), pq.ParquetFile(readable(path)) as file:
        present = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
        for index in range(file.num_row_groups):
            yield file.read_row_group(index, columns=present)


@contextmanager
def _reading(path: ResultPath) -> Iterator[None]:
    with layout.storage_errors(path, "reading"):
        try:
            yield
        except pa.ArrowException as exc:
            raise DatasetError(
                f"{path} is damaged ({exc}): restore it, or delete it to compute it anew"
            ) from exc


def _read_schema(root: ResultPath, part: Part) -> pa.Schema:
    path = layout.live_path(root, part.table, part.name)
    with _reading(path):
        return pq.read_schema(readable(path))


def _write(
    root: ResultPath, table: str, name: str, schema: pa.Schema, batches: Iterable[pa.Table]
) -> Part | None:
    path = layout.hidden_path(root, table, name)
    owners: dict[str, None] = {}
    num_rows = 0
    with layout.storage_errors(path, "writing"):
        with layout.new_file(path) as file:
            with pq.ParquetWriter(
                file, schema, compression="zstd", use_dictionary=_string_columns(schema)
            ) as writer:
                for rows in _regroup(_conform(rows, schema) for rows in batches if rows.num_rows):
                    writer.write_table(rows, row_group_size=_row_group_rows(rows))
                    owners.update(dict.fromkeys(pc.unique(owners_of(table, rows)).to_pylist()))
                    num_rows += rows.num_rows
            num_bytes = file.tell()
        if num_rows == 0:
            path.unlink()
            return None
    digest = hashlib.blake2b(schema.serialize().to_pybytes(), digest_size=8).hexdigest()
    return Part(table, name, num_rows, num_bytes, tuple(owners), digest)


def _conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    if rows.schema.equals(schema):
        return rows
    present = set(rows.column_names)
    columns = [
        rows[f.name].cast(f.type) if f.name in present else pa.nulls(rows.num_rows, f.type) for f in schema
    ]
    return pa.table(columns, schema=schema)


def _regroup(batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Gathers small batches until they make a row group: many small ones would read slowly."""
    waiting: list[pa.Table] = []
    num_rows = num_bytes = 0
    for batch in batches:
        waiting.append(batch)
        num_rows, num_bytes = num_rows + batch.num_rows, num_bytes + batch.nbytes
        if num_rows >= ROW_GROUP_ROWS or num_bytes >= ROW_GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, num_rows, num_bytes = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)


def _row_group_rows(rows: pa.Table) -> int:
    row_bytes = max(1, int(rows.nbytes) // int(rows.num_rows))
    return max(1, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES // row_bytes))


def _string_columns(schema: pa.Schema) -> list[str]:
    """Parquet paths of all strings, nested ones included: only they repeat enough for a dictionary."""
    paths: list[str] = []

    def visit(path: str, kind: pa.DataType) -> None:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            paths.append(path)
        elif pa.types.is_struct(kind):
            for child in kind:
                visit(f"{path}.{child.name}", child.type)
        elif pa.types.is_map(kind):
            visit(f"{path}.key_value.key", kind.key_type)
            visit(f"{path}.key_value.value", kind.item_type)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            visit(f"{path}.list.element", kind.value_type)

    for field in schema:
        visit(field.name, field.type)
    return paths
