"""The tables of some sources of a result folder, without opening the parts of all others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq

from framemill.cluster.results import layout
from framemill.cluster.results.commits import OWNED_BY_URI, WHOLE_SOURCE, DatasetState
from framemill.cluster.results.parts import unify_parts
from framemill.cluster.results.queries import known_schemas
from framemill.cluster.results.storage import REQUESTS_AT_ONCE, ResultPath, arrow_path, file_system
from framemill.errors import DatasetError


def narrow_state(state: DatasetState, names: Iterable[str], sources: Collection[str]) -> DatasetState:
    """What a state says of some tables of some sources alone.

    Args:
        names: of tables. sources: content ids.
    """
    ids = frozenset(sources)
    records = {uri: record for uri, record in state.sources.items() if record.source_id in ids}
    owners = ids.union(records)
    keys = [(name, owner) for name in (*names, WHOLE_SOURCE) for owner in owners]
    return DatasetState(
        state.sequence,
        records,
        {key: state.entries[key] for key in keys if key in state.entries},
        {(name, part.name): part for name in names for part, _ in state.plan_drop(name, owners)},
        state.keys,
    )


def source_tables(
    root: ResultPath, state: DatasetState, names: Iterable[str], sources: Collection[str] | None
) -> dict[str, pyarrow.dataset.Dataset]:
    """Tables as Arrow datasets of the rows of `sources` alone; those that the folder lacks are left out.

    Args:
        names: of tables; where sources are named, of such as have a `source_id` in each row.
        sources: content ids; None for all.

    Raises:
        DatasetError: a part is gone or damaged; or the state is out of date: reload and try again.
    """
    wanted = frozenset(sources or ())
    paths = {uri for uri, record in state.sources.items() if record.source_id in wanted}
    chosen = pc.field("source_id").isin(pa.array(sorted(wanted), pa.string()))
    files = file_system(root)
    known = known_schemas(state)
    found: dict[str, pyarrow.dataset.Dataset] = {}
    for name in names:
        schema = known.get(name)
        if sources is None:
            parts = state.parts_of(name)
        else:
            parts = [part for part, _ in state.plan_drop(name, paths if name in OWNED_BY_URI else wanted)]
        if schema is None and not state.parts_of(name):
            continue
        where = [arrow_path(layout.live_path(root, name, part.name)) for part in parts]
        try:
            with ThreadPoolExecutor(REQUESTS_AT_ONCE if files else 1) as pool:
                schemas = list(pool.map(lambda path: pq.read_schema(path, filesystem=files), where))
            merged = unify_parts(schemas) if schemas else schema
            if merged is None:
                continue
            # Columns that older parts lack are null, as where all parts are opened.
            for field in schema or ():
                if field.name not in merged.names:
                    merged = merged.append(field)
            if where:
                table = pyarrow.dataset.dataset(where, schema=merged, format="parquet", filesystem=files)
                found[name] = table if sources is None else table.filter(chosen)
            else:
                found[name] = pyarrow.dataset.dataset(merged.empty_table())
        except (pa.ArrowException, OSError) as exc:
            raise DatasetError(f"table {name}: {exc}") from exc
    return found
