"""What people say of shots, for the viewer's table: tags, and names of people."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from framemill.cluster.corpus.names import read_names
from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.dataset import DEFAULT_CONSTANTS, Dataset
from framemill.cluster.results.shot_rows import placed_tags
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.view.shot_table import CURATED, connected
from framemill.cluster.view.source_tables import source_tables

_TAGS = pa.schema([("source_id", pa.string()), ("scene_index", pa.int32()), ("tag", pa.string())])


def curation_digest(state: DatasetState) -> str:
    """Changes whenever tags or names may have."""
    told = sorted(
        (entry.table, entry.owner, entry.key, entry.rows)
        for (table, _), entry in state.entries.items()
        if table in (*CURATED.values(), "people")
    )
    return hashlib.blake2b(repr(told).encode(), digest_size=12).hexdigest()


def read_tags(root: ResultPath, state: DatasetState) -> pa.Table:
    """Tags with the shots that they are of now: source_id, scene_index, tag.

    Raises:
        DatasetError: a part cannot be read.
    """
    sources = [owner for (table, owner), entry in state.entries.items() if table == "tags" and entry.rows]
    narrow = state.narrowed(("tags", "scenes"), sources)
    tables = source_tables(root, narrow, ("tags", "scenes"), sources)
    if not sources or "scenes" not in tables:
        return _TAGS.empty_table()
    with connected(tables) as connection:
        # DuckDB takes tables whose rows it cannot count for a row each, and would compare all with all.
        connection.execute("SET asof_loop_join_threshold = 0")
        found = connection.execute(
            f"SELECT source_id, scene_index, tag FROM ({placed_tags()}) ORDER BY ALL"
        ).fetchall()
    return pa.Table.from_pylist([dict(zip(_TAGS.names, row, strict=True)) for row in found], _TAGS)


def read_person_names(root: ResultPath, state: DatasetState) -> pa.Table:
    """The name of each person that has one: person, name.

    Raises:
        DatasetError: a part cannot be read.
    """
    dataset = Dataset(root, DEFAULT_CONSTANTS)
    dataset.state = state
    names = read_names(dataset)
    return pa.table({"person": pa.array(names, pa.string()), "name": pa.array(names.values(), pa.string())})
