"""A small world for the dataset's tests: owners with rows that follow from a revision number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from framemill.cluster.results.commits import Commit, Part
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import rewrite_part, write_part
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import ResultPath, list_names, readable

Rows = dict[str, dict[str, int]]  # table -> owner -> revision; what a dataset should hold


def rows_of(owner: str, revision: int) -> pa.Table:
    """`revision` + 1 rows, so that a lost or doubled one shows."""
    values = [revision * 100 + i for i in range(revision + 1)]
    return pa.table({"source_id": [owner] * len(values), "value": pa.array(values, pa.int64())})


def put(dataset: Dataset, run_id: str, table: str, revisions: Mapping[str, int]) -> None:
    """Computes some owners (again), as a run does: new rows in, old rows out, one commit."""
    seed = [f"{owner} {revision}" for owner, revision in revisions.items()]
    made = [rows_of(owner, revision) for owner, revision in revisions.items()]
    parts = [write_part(dataset.root, table, made, run_id=run_id, seed=[*seed, str(dataset.state.sequence)])]
    dropped = dataset.plan_drop(table, set(revisions))
    parts += [rewrite_part(dataset.root, part, owners, run_id=run_id) for part, owners in dropped]
    dataset.commit(
        Commit(
            run_id=run_id,
            entries=tuple(Entry(table, o, "key", rows=revision + 1) for o, revision in revisions.items()),
            sources=tuple(SourceRecord(f"/{owner}.mp4", owner, 1, 2, 3.0) for owner in revisions),
            parts=tuple(part for part in parts if part is not None),
            removed_parts=tuple((part.table, part.name) for part, _ in dropped),
        )
    )


def table_of(paths: Iterable[ResultPath]) -> list[tuple[str, int]]:
    """(owner, value) of all rows, sorted."""
    rows = [pq.read_table(readable(path)) for path in paths]
    return sorted((o, v) for t in rows for o, v in zip(*t.to_pydict().values(), strict=True))


def expected_rows(revisions: Mapping[str, int]) -> list[tuple[str, int]]:
    """What `table_of` should answer."""
    return sorted(
        (owner, v) for owner, r in revisions.items() for v in rows_of(owner, r)["value"].to_pylist()
    )


def assert_holds(dataset: Dataset, expected: Rows) -> None:
    """The state, the rows that a glob finds and the files on disk all say the same as the model."""
    entries = {
        (table, owner): revision + 1 for table, rows in expected.items() for owner, revision in rows.items()
    }
    assert {key: entry.rows for key, entry in dataset.state.entries.items()} == entries
    for table, rows in expected.items():
        folder = dataset.root / table
        assert table_of(folder.glob("*.parquet")) == expected_rows(rows)
        assert sorted(path.name for path in folder.glob("*")) == sorted(
            p.name for p in dataset.state.parts_of(table)
        )
    for part in dataset.state.parts.values():
        path = dataset.root / part.table / part.name
        owned: set[str] = {owner for owner, _ in table_of([path])}
        size = path.num_bytes() if isinstance(path, RemotePath) else path.stat().st_size
        assert (owned, part.num_bytes) == (set(part.owners), size)
        assert sum(1 for _ in table_of([path])) == part.rows
    assert not [n for n in list_names(dataset.root / "_framemill" / "commits") if n.startswith(".")]


def one_part(dataset: Dataset, table: str) -> Part:
    """The only part of a table."""
    (part,) = dataset.state.parts_of(table)
    return part
