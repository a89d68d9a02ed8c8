"""Vectors lie in parts as lists of fixed size where their rows agree; tables of several sizes are read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from framemill.cluster.results.broken import Broken
from framemill.cluster.results.checking import check_folder
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.compaction import compact
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows, write_part
from framemill.cluster.results.queries import query
from tests.cluster.results.hand_made import make_folder, schema_of

TABLE = "image_embeddings"
FIXED, LOOSE = pa.list_(pa.float32(), 4), pa.list_(pa.float32())


def rows(*vectors: list[float]) -> list[dict[str, object]]:
    return [
        {"frame_index": at, "pts_seconds": float(at), "vector": vector} for at, vector in enumerate(vectors)
    ]


def add(dataset: Dataset, source: str, *vectors: list[float], is_fixed: bool = True) -> None:
    """One more part; as an earlier version wrote it where `is_fixed` is false."""
    table = pa.Table.from_pylist([{"source_id": source, **row} for row in rows(*vectors)], schema_of(TABLE))
    with pytest.MonkeyPatch.context() as patch, dataset.hold("later"):
        if not is_fixed:
            patch.setattr("framemill.cluster.results.parts.with_fixed_vectors", lambda table: table)
        part = write_part(dataset.root, TABLE, [table], run_id="later", seed=[source])
        assert part is not None
        dataset.commit(Commit(run_id="later", parts=(part,)))


def kinds(root: Path) -> list[pa.DataType]:
    return [pq.read_schema(path).field("vector").type for path in sorted((root / TABLE).glob("*.parquet"))]


def test_a_part_has_the_size_of_its_model(tmp_path: Path) -> None:
    dataset = make_folder(tmp_path, {TABLE: {"a": rows([1, 0, 0, 0], [0, 1, 0, 0])}})
    assert kinds(tmp_path) == [FIXED]
    assert query(tmp_path, f"SELECT typeof(vector) FROM {TABLE}").rows[0] == ("FLOAT[4]",)
    sql = f"SELECT array_cosine_similarity(vector, [1, 0, 0, 0]::FLOAT[4]), vector[2] FROM {TABLE}"
    assert query(tmp_path, f"{sql} ORDER BY frame_index").rows == [(1.0, 0.0), (0.0, 1.0)]
    read = read_rows(dataset.root, TABLE, dataset.state.parts_of(TABLE))
    assert read is not None and read["vector"].type == LOOSE
    assert read["vector"].to_pylist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


def test_vectors_of_several_sizes_are_lists(tmp_path: Path) -> None:
    make_folder(tmp_path, {TABLE: {"a": rows([1, 0], [0, 1, 0])}})
    assert kinds(tmp_path) == [LOOSE]


@pytest.mark.parametrize(
    ("vector", "is_fixed", "joined"),
    [([0, 0, 1, 0], True, FIXED), ([0, 0, 1, 0], False, LOOSE), ([0.5, 0.5], True, LOOSE)],
)
def test_parts_of_other_sizes_and_versions_are_read_and_joined(
    tmp_path: Path, vector: list[float], is_fixed: bool, joined: pa.DataType
) -> None:
    dataset = make_folder(tmp_path, {TABLE: {"a": rows([1, 0, 0, 0]), "b": []}})
    add(dataset, "b", vector, is_fixed=is_fixed)
    expected = [([1, 0, 0, 0], "a"), (vector, "b")]
    sql = f"SELECT vector, source_id FROM {TABLE} ORDER BY source_id"
    assert [(list(found), source) for found, source in query(tmp_path, sql).rows] == expected
    read = read_rows(dataset.root, TABLE, dataset.state.parts_of(TABLE))
    assert read is not None and read.sort_by("source_id")["vector"].to_pylist() == [[1, 0, 0, 0], vector]
    broken: list[Broken] = []
    check_folder(dataset, broken.append)
    assert broken == []
    with dataset.hold("tidy"):
        compact(dataset, "tidy")
    live = {part.name for part in dataset.state.parts_of(TABLE)}
    assert [pq.read_schema(tmp_path / TABLE / name).field("vector").type for name in live] == [joined]
    assert [(list(found), source) for found, source in query(tmp_path, sql).rows] == expected
