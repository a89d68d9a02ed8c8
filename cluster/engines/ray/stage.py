"""Extraction as a stage of somebody's own Ray Data pipeline: its pool of actors, a file's tables as a row."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pyarrow as pa
import ray
import ray.data

from framemill.cluster.engines.local.serving import SourceTables, nothing_of, table_schema
from framemill.cluster.engines.ray.autoscaling import has_autoscaler
from framemill.cluster.engines.ray.pools import plan_each, read_range
from framemill.cluster.machine import take_gpus, usable_cores, worker_memory_bytes
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.commits import WHOLE_SOURCE
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import dataset_tables, table_names
from framemill.cluster.results.tables import ERRORS_SCHEMA
from framemill.cluster.run.messages import ErrorRow
from framemill.cluster.run.planning import OpsPlan
from framemill.cluster.run.sources import place_of
from framemill.errors import LimitError, UsageError

# Pieces of files at work at once where a device computes: it waits for none of them.
IN_FLIGHT_ON_GPU = 8
# The rows of one source have to fit a row, whose arrays end at 2 GiB of pictures, and are copied on the way.
MOST_ROW_BYTES = 1 << 30
# What a worker needs at the least, whatever its share of a machine.
LEAST_MEMORY_BYTES = 4 << 30
# Columns that are added beside one for each operation.
ADDED = ("source_id", "status", "error", "errors")


@dataclass(frozen=True, slots=True)
class Share:
    """What Ray granted to the actor that this is.

    Attributes:
        threads: CPUs, 1 or more. memory_bytes: its part of the machine's. gpus: GPUs, or a part of one.
    """

    threads: int
    memory_bytes: int
    gpus: float


def own_share() -> Share | None:
    """The share of this actor; None outside of one."""
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return None
    context: Any = ray.get_runtime_context()
    granted = context.get_assigned_resources()
    cpus = granted.get("CPU", 0.0)
    part = min(1.0, cpus / usable_cores())
    return Share(
        threads=max(1, round(cpus)),
        memory_bytes=max(LEAST_MEMORY_BYTES, int(part * worker_memory_bytes())),
        gpus=granted.get("GPU", 0.0),
    )


def take_share(request: ExtractRequest) -> tuple[ExtractRequest, int]:
    """The request within what Ray granted to this actor, and how many pieces are to be at work at once.

    An actor without a GPU is kept off those that others hold, and one with a part of a GPU within that part.
    """
    share = own_share()
    if share is None:
        return request, 0
    take_gpus(share.gpus)
    threads = request.threads or share.threads
    memory_bytes = request.memory_bytes or share.memory_bytes
    return replace(request, threads=threads, memory_bytes=memory_bytes), in_flight(threads, share.gpus > 0)


def in_flight(threads: int, has_gpu: bool) -> int:
    """Pieces of files that an actor works on at once."""
    return max(threads, IN_FLIGHT_ON_GPU) if has_gpu else threads


def run_stage(
    dataset: ray.data.Dataset,
    actor: type,
    arguments: Mapping[str, Any],
    request: ExtractRequest,
    plan: OpsPlan,
    batch_size: int,
) -> ray.data.Dataset:
    """Sends the rows of a dataset through a pool of actors; nothing runs before the result is consumed.

    Raises:
        UsageError, SetupError: as `plan_each`.
    """
    known: Any = ray
    nodes = [node["Resources"] for node in known.nodes() if node["Alive"]]
    runs_models = any(op.key["models"] for op in plan.ops.values())
    cpus, gpus = plan_each(request, nodes, runs_models, is_growing=has_autoscaler())
    calls = in_flight(request.threads or max(1, round(cpus)), gpus > 0) + 1  # one waits its turn
    least, most = read_range("actors", request.actors, 1)
    result: ray.data.Dataset = dataset.repartition(target_num_rows_per_block=batch_size).map_batches(
        actor,
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            min_size=least,
            max_size=most if request.actors else None,
            max_concurrent_calls_per_actor=calls,
            # Without it the concurrent calls would run one after the other.
            enable_true_multi_threading=True,
            max_tasks_in_flight_per_actor=2 * calls,
        ),
        num_cpus=cpus,
        num_gpus=gpus or None,
        fn_constructor_kwargs=dict(arguments),
    )
    return result


def places_of(dataset: ray.data.Dataset, column: str) -> list[str]:
    """The paths and addresses that a column holds, each once and without nulls.

    Raises:
        UsageError: there is no such column, or it holds something else, or nothing.
    """
    found: dict[str, None] = {}
    batches: Any = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    for batch in batches:
        require_column(batch.column_names, column)
        found.update((place_of(require_text(column, uri)), None) for uri in batch[column].to_pylist() if uri)
    if not found:
        raise UsageError(f"`column={column!r}` names no file")
    return list(found)


def read_tables(output: str) -> dict[str, ray.data.Dataset]:
    """Every table of a result folder, as it is now."""
    folder = Dataset.open(output, create=False)
    tables: dict[str, ray.data.Dataset] = {}
    for name, rows in dataset_tables(folder, table_names(folder.state)).items():
        parts = [part.name for part in folder.state.parts_of(name)]
        if parts:
            paths = [str(folder.root / name / part) for part in parts]
            tables[name] = ray.data.read_parquet(paths, schema=rows.schema)
        else:
            tables[name] = ray.data.from_arrow(rows.schema.empty_table())
    return tables


@contextlib.contextmanager
def as_the_user_set_it() -> Iterator[None]:
    """What the body sets in Ray Data's context holds for the body alone."""
    context = ray.data.DataContext
    with context.current(copy.deepcopy(context.get_current())):
        yield


def require_column(names: Sequence[str], column: str) -> None:
    """Whether rows with these columns have one of a name.

    Raises:
        UsageError: they have not.
    """
    if column not in names:
        raise UsageError(f"`column={column!r}`: the rows have no such column; they have {', '.join(names)}")


def require_text(column: str, uri: Any) -> str:
    """A value of a column that names files.

    Raises:
        UsageError: it is no text.
    """
    if not isinstance(uri, str):
        raise UsageError(f"`column={column!r}` holds {uri!r}, which is no path or address as text")
    return uri


def check_columns(names: Sequence[str], column: str, plan: OpsPlan) -> None:
    """Whether rows with these columns can be worked on.

    Raises:
        UsageError: there is no such column, or one has the name of what is added.
    """
    require_column(names, column)
    taken = sorted({*names} & {*plan.ops, *ADDED})
    if taken:
        raise UsageError(
            f"the rows have columns of the names {', '.join(taken)} already, which extraction adds: rename "
            "or drop them"
        )


def result_row(uri: str, found: SourceTables, plan: OpsPlan) -> dict[str, pa.Array]:
    """The columns that are added to the row of a source: arrays of length 1.

    `source_id`, `status`, `error`, a list of structs for each operation (null where it gave nothing), and the
    same for `errors`.
    """
    num_bytes = sum(table.nbytes for table in found.tables.values())
    if num_bytes > MOST_ROW_BYTES:
        largest = max(found.tables, key=lambda op: found.tables[op].nbytes)
        message = (
            f"its rows take {num_bytes} bytes, {found.tables[largest].nbytes} of them in {largest}, and a "
            f"row here holds at most {MOST_ROW_BYTES}: sample fewer frames, leave pictures out, or extract "
            "into a result folder by `output`"
        )
        found = replace(nothing_of(uri, LimitError.__name__, message), source_id=found.source_id)
    errors = pa.Table.from_pylist([msgspec.structs.asdict(row) for row in found.errors], ERRORS_SCHEMA)
    return {
        "source_id": pa.array([found.source_id or None], pa.string()),
        "status": pa.array([_status(found.errors)], pa.string()),
        "error": pa.array([describe_errors(found.errors) or None], pa.string()),
        **{op: _as_list(found.tables.get(op), table_schema(op)) for op in plan.ops},
        "errors": _as_list(errors, ERRORS_SCHEMA),
    }


def describe_errors(errors: Iterable[ErrorRow]) -> str:
    """What went wrong, on one line; empty where nothing did."""
    return "; ".join(
        row.message if row.operation == WHOLE_SOURCE else f"{row.operation}: {row.message}" for row in errors
    )


def _status(errors: Sequence[ErrorRow]) -> str:
    """The first that is worse than partial; else partial, or ok."""
    statuses = [row.status for row in errors]
    return next((status for status in statuses if status != "partial"), statuses[0] if statuses else "ok")


def _as_list(rows: pa.Table | None, schema: pa.Schema) -> pa.Array:
    """All rows of a table as one list of structs."""
    kind = pa.struct(list(schema))
    if rows is None:
        return pa.nulls(1, pa.list_(kind))
    columns = [_joined(rows[field.name], field.type) for field in schema]
    structs = pa.StructArray.from_arrays(columns, fields=list(schema))
    return pa.ListArray.from_arrays(pa.array([0, rows.num_rows], pa.int32()), structs)


def _joined(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], kind)
