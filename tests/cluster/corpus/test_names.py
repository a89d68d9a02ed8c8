"""Names of people: they hang on faces, so that they stay when people are found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from framemill.cluster.corpus.names import MAX_FACES, NAMES_SCHEMA, TABLE, name_person, read_names
from framemill.cluster.results import compaction
from framemill.cluster.results.broken import Broken
from framemill.cluster.results.checking import check_folder
from framemill.cluster.results.commits import Commit, plan_removal
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry
from framemill.cluster.results.parts import read_rows, write_part
from framemill.cluster.results.queries import query
from framemill.errors import UsageError
from tests.cluster.results.hand_made import make_folder, schema_of

Cast = Mapping[str, str]  # source -> a letter for the person in each of its frames


def people_of(cast: Cast) -> dict[str, list[dict[str, Any]]]:
    """A face in each frame; those nearer to the start are more typical."""
    return {
        source: [
            {"frame_index": at, "face_index": 0, "person_id": letter, "distance": at / 100}
            for at, letter in enumerate(letters)
        ]
        for source, letters in cast.items()
    }


def make_cast(root: Path, cast: Cast) -> Dataset:
    shots = [
        {"scene_index": k, "start_seconds": k, "end_seconds": k + 1.0, "start_frame": 4 * k,
         "end_frame": 4 * k + 4, "transition": "cut"}
        for k in range(3)
    ]  # fmt: skip
    faces = {
        source: [{"frame_index": at, "face_index": 0, "pts_seconds": at / 4} for at in range(len(letters))]
        for source, letters in cast.items()
    }
    tables: dict[str, dict[str, Any]] = {
        "scenes": dict.fromkeys(cast, shots),
        "faces": faces,
        "people": people_of(cast),
    }
    # As of another state, since references of rows that are outdated are not looked at.
    return make_folder(root, tables, keys={"people": {"inputs": "", "after": []}})


def find_again(dataset: Dataset, cast: Cast) -> None:
    """Commits other people in place of those there, as `framemill people` does."""
    rows = [{"source_id": s, **row} for s, own in people_of(cast).items() for row in own]
    with dataset.hold("again"):
        part = write_part(
            dataset.root, "people", [pa.Table.from_pylist(rows, schema_of("people"))],
            run_id="again", seed=[str(dataset.state.sequence)],
        )  # fmt: skip
        assert part is not None
        dataset.commit(
            Commit(
                run_id="again",
                entries=tuple(Entry("people", source, "key", rows=len(own)) for source, own in cast.items()),
                parts=(part,),
                removed_parts=tuple(("people", old.name) for old in dataset.state.parts_of("people")),
            )
        )


def give(dataset: Dataset, **names: str) -> list[bool]:
    with dataset.hold("n"):
        return [name_person(dataset, "n", person, name) for person, name in names.items()]


def anchors(dataset: Dataset) -> list[tuple[str, int, str]]:
    rows = read_rows(dataset.root, TABLE, dataset.state.parts_of(TABLE))
    found: Sequence[Mapping[str, Any]] = [] if rows is None else rows.to_pylist()
    return sorted((row["source_id"], row["frame_index"], row["name"]) for row in found)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_cast(tmp_path / "out", {"s": "aaabbbbbaaaa", "t": "bbcb"})


def test_a_person_is_named_renamed_and_unnamed(dataset: Dataset) -> None:
    assert read_names(dataset) == {}
    assert give(dataset, a=" Anna ", b="Ben") == [True, True]
    assert read_names(dataset) == {"a": "Anna", "b": "Ben"}
    sequence = dataset.state.sequence
    assert give(dataset, a="Anna", c="") == [False, False] and dataset.state.sequence == sequence
    assert give(dataset, a="Ada", b="") == [True, True]
    assert read_names(dataset) == {"a": "Ada"} and {name for _, _, name in anchors(dataset)} == {"Ada"}
    rows = read_rows(dataset.root, TABLE, dataset.state.parts_of(TABLE))
    assert rows is not None and rows.schema.equals(NAMES_SCHEMA)
    broken: list[Broken] = []
    check_folder(dataset, broken.append)
    assert [each for each in broken if each.table == TABLE] == []


def test_shots_tell_the_names_of_those_in_them(dataset: Dataset) -> None:
    sql = "SELECT names, people FROM shots WHERE source_id = 's' ORDER BY scene_index"
    assert [row[0] for row in query(dataset.root, sql).rows] == [None] * 3
    give(dataset, a="Anna")
    assert query(dataset.root, sql).rows == [(["Anna"], ["a", "b"]), ([], ["b"]), (["Anna"], ["a"])]
    give(dataset, b="Ben")
    # As often as each is seen: three frames with Anna and one with Ben.
    assert [row[0] for row in query(dataset.root, sql).rows] == [["Anna", "Ben"], ["Ben"], ["Anna"]]
    named = "SELECT source_id, scene_index FROM shots WHERE list_contains(names, 'Ben') ORDER BY ALL"
    assert query(dataset.root, named).rows == [("s", 0), ("s", 1), ("t", 0)]


def test_a_name_stays_with_the_faces_when_people_have_other_ids(dataset: Dataset) -> None:
    give(dataset, a="Anna", b="Ben")
    find_again(dataset, {"s": "xxxyyyyyxxxx", "t": "yyzy"})
    assert read_names(dataset) == {"x": "Anna", "y": "Ben"}


def test_most_faces_decide_where_two_become_one_and_naming_it_settles_the_matter(dataset: Dataset) -> None:
    give(dataset, a="Anna", b="Ben", c="Cleo")
    find_again(dataset, {"s": "xxxxxxxxxxxx", "t": "xxxx"})
    assert read_names(dataset) == {"x": "Ben"}  # 8 faces; Anna has 7 and Cleo 1
    assert give(dataset, x="Ben") == [True]
    assert {name for _, _, name in anchors(dataset)} == {"Ben"}
    assert give(dataset, x="Ben") == [False]


def test_where_one_becomes_two_both_keep_the_name_until_told_otherwise(dataset: Dataset) -> None:
    give(dataset, a="Anna")
    find_again(dataset, {"s": "pppbbbbbqqqq", "t": "bbcb"})
    assert read_names(dataset) == {"p": "Anna", "q": "Anna"}
    give(dataset, q="Bea")
    assert read_names(dataset) == {"p": "Anna", "q": "Bea"}


def test_of_two_names_with_as_many_faces_the_newer_wins(tmp_path: Path) -> None:
    rows = [
        {"frame_index": at, "face_index": 0, "name": name, "created_at": when}
        for at, name, when in ((0, "Zoe", 2000), (1, "Anna", 1000))
    ]
    people = people_of({"s": "aa"})
    dataset = make_folder(tmp_path, {"people": people, TABLE: {"s": rows}})
    assert read_names(dataset) == {"a": "Zoe"}


def test_a_name_hangs_on_a_bounded_number_of_faces_of_as_many_files_as_there_are(tmp_path: Path) -> None:
    dataset = make_cast(tmp_path, {f"s{n:02}": "a" * 12 for n in range(10)} | {"t": "bb"})
    give(dataset, a="Anna")
    found = anchors(dataset)
    assert len(found) == MAX_FACES
    counts = [sum(source == f"s{n:02}" for source, _, _ in found) for n in range(10)]
    assert sorted(counts) == [3] * 8 + [4] * 2
    assert {at for _, at, _ in found} == {0, 1, 2, 3}  # the most typical ones
    with dataset.hold("f"):
        gone = [f"/videos/s{n:02}.mp4" for n in range(9)]
        compaction.forget(dataset, "f", plan_removal(dataset.state, gone))
    assert read_names(dataset) == {"a": "Anna"} and {source for source, _, _ in anchors(dataset)} == {"s09"}
    with dataset.hold("f"):
        compaction.forget(dataset, "f", plan_removal(dataset.state, ["/videos/s09.mp4"]))
    assert read_names(dataset) == {} and anchors(dataset) == []


def test_who_is_not_there_and_what_is_no_name_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no person nobody: `framemill people"):
        give(dataset, nobody="Anna")
    with pytest.raises(UsageError, match=r"the name .* is 65 long: a name has 1 to 64 characters"):
        give(dataset, a="x" * 65)
    with pytest.raises(UsageError, match=r"U\+0007"):
        give(dataset, a="a\x07b")
    with pytest.raises(UsageError, match="no person a"):
        give(make_folder(tmp_path / "none", {"scenes": {"s": []}}), a="Anna")
    assert anchors(dataset) == []
