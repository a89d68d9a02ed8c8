"""Joining parts, and forgetting sources by age of use."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from framemill.cluster import extraction_run
from framemill.cluster.results import parts
from framemill.cluster.results.commits import Commit, DatasetState, Part, error_owner
from framemill.cluster.results.compaction import compact, plan_compaction, plan_prune, prune
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import join_parts, owners_of, read_rows, write_part
from framemill.cluster.results.queries import query
from framemill.cluster.results.tables import ERRORS_SCHEMA, RUNS_SCHEMA
from framemill.errors import DatasetError
from tests.cluster.extraction import extract, render_clip
from tests.cluster.results.dataset_models import assert_holds, one_part, put, rows_of


def state_with(*made: Part) -> DatasetState:
    state = DatasetState()
    state.apply(Commit(run_id="r", sequence=1, parts=made))
    return state


def sized(name: str, num_bytes: int, table: str = "t") -> Part:
    return Part(table, name, 1, num_bytes, (name,))


def test_plan_joins_small_neighbours_up_to_the_target() -> None:
    small = [sized(f"p{i}", 40) for i in range(5)]
    plan = plan_compaction(state_with(*small, sized("p9", 60), sized("x", 10, "u")), target_bytes=100)
    assert plan == {"t": [small[:3], small[3:]]}
    assert plan_compaction(state_with(sized("a", 60), sized("b", 10)), target_bytes=100) == {}


def test_only_tables_with_many_small_parts_are_joined_where_so_many_are_asked_for() -> None:
    small = [sized(f"p{i}", 40) for i in range(5)]
    state = state_with(*small, sized("x", 40, "u"), sized("y", 40, "u"))
    assert plan_compaction(state, target_bytes=1000, least_parts=3) == {"t": [small]}
    assert plan_compaction(state, target_bytes=1000, least_parts=6) == {}


def test_a_run_joins_what_it_leaves_in_many_small_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction_run, "MANY_PARTS", 3)
    counts = []
    for number in range(4):
        clip = render_clip(tmp_path / f"{number}.mp4", seed=number, seconds=1.0)
        assert extract(clip, out=tmp_path / "out", ops=("media",)).exit_code == 0
        counts.append(len(Dataset.open(tmp_path / "out", create=False).state.parts_of("media")))
    assert counts == [1, 2, 1, 2]
    found = query(tmp_path / "out", "SELECT count(*), count(DISTINCT source_id) FROM media")
    assert found.rows == [(4, 4)]


def test_compact_joins_once_and_keeps_every_row(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        model = {f"o{i}": i % 4 for i in range(12)}
        for owner, revision in model.items():
            put(dataset, "r", "scenes", {owner: revision})
        put(dataset, "r", "speech", {"a": 1})
        (done,) = compact(dataset, "c")
        assert (done.table, done.parts_before, done.parts_after) == ("scenes", 12, 1)
        assert done.num_bytes_after < done.num_bytes_before
        assert_holds(dataset, {"scenes": model, "speech": {"a": 1}})
        assert compact(dataset, "c2") == []
        put(dataset, "r", "scenes", {"o3": 9})
        assert_holds(dataset, {"scenes": {**model, "o3": 9}, "speech": {"a": 1}})
    joined = dataset.state.parts_of("scenes")[0]
    assert pq.ParquetFile(tmp_path / "scenes" / joined.name).num_row_groups == 1


def test_parts_from_before_a_field_was_added_join(tmp_path: Path) -> None:
    old = pa.table({"source_id": ["a"], "value": [1]})
    new = pa.table({"source_id": ["b"], "value": [2], "more": ["x"]})
    made = [write_part(tmp_path, "t", [rows], run_id="r", seed=[str(i)]) for i, rows in enumerate((old, new))]
    joined = join_parts(tmp_path, [part for part in made if part], run_id="c")
    rows = read_rows(tmp_path, "t", [joined])
    assert rows is not None
    assert rows.to_pydict() == {"source_id": ["a", "b"], "value": [1, 2], "more": [None, "x"]}
    assert joined.owners == ("a", "b")


def test_rows_that_vanished_from_a_part_stop_the_compaction(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 3})
        put(dataset, "r", "scenes", {"b": 3})
        part = dataset.state.plan_drop("scenes", ["a"])[0][0]
        pq.write_table(rows_of("a", 1), tmp_path / "scenes" / part.name)
        with pytest.raises(DatasetError, match="hold 6 rows instead of 8"):
            compact(dataset, "c")
        (tmp_path / "scenes" / part.name).write_text("garbage, long enough to be no Parquet file")
        with pytest.raises(DatasetError, match="is damaged"):
            compact(dataset, "c")


def test_encodings_suit_the_columns(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "source_id": ["a"] * 1000,
            "score": pa.array([i / 7 for i in range(1000)], pa.float32()),
            "words": pa.array([[{"text": "hello", "start": 0.5}]] * 1000),
            "names": pa.array([[("k", "v")]] * 1000, pa.map_(pa.string(), pa.string())),
            "image": pa.array([b"x" * 200_000] * 1000, pa.binary()),
        }
    )
    part = write_part(tmp_path, "t", [rows], run_id="r", seed=["a"])
    assert part is not None
    metadata = pq.ParquetFile(tmp_path / "t" / f".{part.name}.new").metadata
    largest = max(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)) * 200_000
    assert 32 << 20 < largest <= 64 << 20
    columns = [metadata.row_group(0).column(i) for i in range(metadata.num_columns)]
    dictionaries = {c.path_in_schema for c in columns if c.has_dictionary_page}
    assert dictionaries == {
        "source_id",
        "words.list.element.text",
        "names.key_value.key",
        "names.key_value.value",
    }
    assert {c.compression for c in columns} == {"ZSTD"}
    assert part.num_bytes == (tmp_path / "t" / f".{part.name}.new").stat().st_size


def test_the_same_seed_in_the_same_run_overwrites_itself(tmp_path: Path) -> None:
    first = write_part(tmp_path, "t", [rows_of("a", 1)], run_id="r", seed=["a k", "b k"])
    again = write_part(tmp_path, "t", [rows_of("a", 5)], run_id="r", seed=["b k", "a k"])
    assert first is not None and again is not None
    assert (first.name, first.rows, again.rows) == (again.name, 2, 6)
    assert len(list((tmp_path / "t").iterdir())) == 1


def test_owners_of_each_kind_of_table() -> None:
    rows = pa.table({"source_id": [None], "uri": ["/a b"], "operation": ["*"], "run_id": ["r"]})
    assert owners_of("media", rows).to_pylist() == ["/a b"]
    assert owners_of("errors", rows).to_pylist() == [error_owner("*", "/a b")]
    assert owners_of("runs", rows).to_pylist() == ["r"]
    for schema in (ERRORS_SCHEMA, RUNS_SCHEMA):
        assert all(field.metadata[b"doc"] for field in schema)


def test_read_rows_takes_only_what_is_asked(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1, "b": 2})
        put(dataset, "r", "scenes", {"c": 3})
    other = dataset.state.plan_drop("scenes", ["c"])[0][0]
    (tmp_path / "scenes" / other.name).write_text("never opened")
    found = read_rows(tmp_path, "scenes", dataset.state.parts_of("scenes"), ["a"])
    assert found is not None and found["source_id"].to_pylist() == ["a", "a"]
    assert read_rows(tmp_path, "scenes", dataset.state.parts_of("scenes"), ["z"]) is None


def test_plan_prune_takes_the_least_recently_used_first() -> None:
    state = DatasetState()
    for sequence, (source_id, at) in enumerate((("a", 30.0), ("b", 10.0), ("c", 20.0)), start=1):
        state.apply(
            Commit(
                run_id="r",
                sequence=sequence,
                created_at=at,
                sources=(SourceRecord(f"/{source_id}", source_id, 1, 1, 1.0),),
                parts=(
                    Part("t", source_id, 1, 100, (source_id,)),
                    Part("media", source_id, 1, 5, (f"/{source_id}",)),
                ),
            )
        )
    assert plan_prune(state, 1000) == ()
    assert plan_prune(state, 300) == ("b",)
    assert plan_prune(state, 210) == ("b",)
    assert plan_prune(state, 209) == ("b", "c")
    assert plan_prune(state, 0) == ("b", "c", "a")


def test_prune_forgets_whole_sources_until_the_rest_fits(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        for at, owner in enumerate("abcd"):
            put(dataset, "r", "scenes", {owner: 50})
            dataset.commit(Commit(run_id="r", used={owner: float(at)}))
        put(dataset, "r", "speech", {"a": 3, "d": 3})
        dataset.commit(Commit(run_id="r", used={"a": 9.0, "d": 3.0}))
        failed = {"source_id": "b", "uri": "/b.mp4", "operation": "speech", "status": "failed"}
        error = pa.Table.from_pylist([{**failed, "error": "E", "message": "m", "attempts": 1}], ERRORS_SCHEMA)
        part = write_part(tmp_path, "errors", [error], run_id="r", seed=["e"])
        assert part is not None
        entry = Entry("speech", "b", "k", "failed")
        dataset.commit(Commit(run_id="r", parts=(part,), entries=(entry,), used={"b": 1.0, "a": 9.0}))
        dataset.commit(Commit(run_id="r", used={"a": 0.0}))
        assert plan_prune(dataset.state, 0) == ("a", "b", "c", "d")
        dataset.commit(Commit(run_id="r", used={"a": 9.0}))
        keep = sum(p.num_bytes for p in dataset.state.parts.values()) - 10
        assert prune(dataset, "p", keep) == ("b",)
        assert_holds(dataset, {"scenes": {"a": 50, "c": 50, "d": 50}, "speech": {"a": 3, "d": 3}})
        assert "/b.mp4" not in dataset.state.sources and dataset.state.parts_of("errors") == []
        assert prune(dataset, "p2", 0) == ("c", "d", "a")
        assert dataset.state.parts == {} and dataset.state.sources == {}


def test_dropping_one_error_keeps_those_of_other_operations(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        rows = [
            {"uri": "/a", "operation": o, "status": "failed", "error": "E", "message": "m", "attempts": 1}
            for o in ("speech", "scenes")
        ]
        part = write_part(
            tmp_path, "errors", [pa.Table.from_pylist(rows, ERRORS_SCHEMA)], run_id="r", seed=["e"]
        )
        assert part is not None
        dataset.commit(Commit(run_id="r", parts=(part,)))
        ((found, owners),) = dataset.plan_drop("errors", [error_owner("speech", "/a")])
        left = parts.rewrite_part(tmp_path, found, owners, run_id="r")
        assert left is not None
        dataset.commit(Commit(run_id="r", parts=(left,), removed_parts=(("errors", found.name),)))
    kept = read_rows(tmp_path, "errors", [one_part(dataset, "errors")])
    assert kept is not None and kept["operation"].to_pylist() == ["scenes"]
