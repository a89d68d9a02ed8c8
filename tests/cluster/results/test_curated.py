"""Tables that people fill: right after any number of small changes, and in few files."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa

from framemill.cluster.results.compaction import compact
from framemill.cluster.results.curated import OWNERS_A_PART, curated_rows, replace_curated
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows
from framemill.cluster.results.status import summarise

SCHEMA = pa.schema([pa.field("source_id", pa.string(), False), pa.field("value", pa.int64(), False)])


def put(dataset: Dataset, values: dict[str, list[int]]) -> None:
    pairs = [{"source_id": source, "value": value} for source, own in values.items() for value in own]
    replace_curated(dataset, "r", "notes", values.keys(), pa.Table.from_pylist(pairs, SCHEMA))


def held(dataset: Dataset) -> dict[str, list[int]]:
    rows = read_rows(dataset.root, "notes", dataset.state.parts_of("notes"))
    found: dict[str, list[int]] = {}
    for row in [] if rows is None else rows.to_pylist():
        found.setdefault(row["source_id"], []).append(row["value"])
    return found


def test_after_many_changes_the_rows_are_right_and_lie_in_few_small_parts(tmp_path: Path) -> None:
    dataset, luck = Dataset.open(tmp_path, create=True), random.Random(7)
    expected: dict[str, list[int]] = {}
    with dataset.hold("r"):
        for step in range(60):
            names = luck.sample(range(1500), luck.choice([1, 1, 2, 400]))
            new = {f"s{n:04}": sorted(luck.sample(range(99), luck.choice([0, 1, 3]))) for n in names}
            put(dataset, new)
            expected.update(new)
            if step == 30:
                compact(dataset, "r")
    expected = {source: own for source, own in expected.items() if own}
    assert held(dataset) == expected
    parts = dataset.state.parts_of("notes")
    owners = [owner for part in parts for owner in part.owners]
    assert sorted(owners) == sorted(expected) and max(len(part.owners) for part in parts) <= OWNERS_A_PART
    assert len(parts) <= 2 * len(expected) / OWNERS_A_PART + 2
    assert {owner: entry.rows for (_, owner), entry in dataset.state.entries.items()} == {
        source: len(own) for source, own in expected.items()
    }
    assert held(Dataset.open(tmp_path, create=False)) == expected


def test_a_small_change_of_a_long_table_writes_little(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        put(dataset, {f"s{n:05}": [n] for n in range(5000)})
        before = {part.name for part in dataset.state.parts_of("notes")}
        put(dataset, {"s00007": [1, 2]})
        after = dataset.state.parts_of("notes")
    written = [part for part in after if part.name not in before]
    assert sum(len(part.owners) for part in written) <= 2 * OWNERS_A_PART
    assert curated_rows(dataset, "notes", SCHEMA, ["s00007"])["value"].to_pylist() == [1, 2]


def test_what_a_source_has_shows_in_its_entry_and_none_is_outdated(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)

    def keys() -> dict[str, str]:
        return {owner: entry.key for (_, owner), entry in dataset.state.entries.items()}

    with dataset.hold("r"):
        put(dataset, {"a": [1], "b": [1]})
        first = keys()
        put(dataset, {"a": [2]})  # as many rows, but others
        second = keys()
        put(dataset, {"a": [1]})
    assert second["a"] != first["a"] and second["b"] == first["b"] and keys() == first
    assert dataset.state.outdated("notes") == frozenset()
    assert "outdated" not in summarise(dataset.state)["tables"]["notes"]


def test_a_table_may_become_empty_and_be_filled_again(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        put(dataset, {"a": [1], "b": [2]})
        put(dataset, {"a": [], "b": []})
        assert dataset.state.parts_of("notes") == [] and not dataset.state.entries
        assert curated_rows(dataset, "notes", SCHEMA, ["a"]).num_rows == 0
        put(dataset, {"b": [3]})
    assert held(dataset) == {"b": [3]}
