"""The tables of some sources of a result folder, without opening the parts of all others."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.dataset import DEFAULT_CONSTANTS, Dataset
from framemill.cluster.results.queries import dataset_tables, known_schemas
from framemill.cluster.results.storage import ResultPath


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
    dataset.state = state if sources is None else state.narrowed(names, sources)
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
