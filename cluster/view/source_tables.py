"""The tables of some sources of a result folder, without opening the parts of all others."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from framemill.cluster.results.commits import WHOLE_SOURCE, DatasetState
from framemill.cluster.results.dataset import DEFAULT_CONSTANTS, Dataset
from framemill.cluster.results.queries import dataset_tables, known_schemas
from framemill.cluster.results.storage import ResultPath


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
    root: ResultPath, state: DatasetState, names: Collection[str], sources: Collection[str] | None
) -> dict[str, pyarrow.dataset.Dataset]:
    """Tables as Arrow datasets of the rows of `sources` alone; those that the folder lacks are left out.

    Args:
        names: of tables; where sources are named, of such as have a `source_id` in each row.
        sources: content ids; None for all.

    Raises:
        DatasetError: a part is gone or damaged; or the state is out of date: reload and try again.
    """
    dataset = Dataset(root, DEFAULT_CONSTANTS)
    dataset.state = state if sources is None else narrow_state(state, names, sources)
    known = known_schemas(state, names)
    found = dataset_tables(dataset, names)
    for name, table in found.items():
        # Columns that the older ones of all parts lack are null, also where no newer part is opened.
        missing = [field for field in known.get(name, ()) if field.name not in table.schema.names]
        if missing:
            table = table.replace_schema(pa.schema([*table.schema, *missing]))
        if sources is not None:
            table = table.filter(pc.field("source_id").isin(pa.array(sorted(sources), pa.string())))
        found[name] = table
    return found
