"""Tags of shots: what may be one, who has it, and what becomes of it when everything around it changes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from framemill.cluster.corpus.shots import find_shots
from framemill.cluster.corpus.tags import MAX_CHARACTERS, TAGS_SCHEMA, clean_label, count_tags, tag_shots
from framemill.cluster.results import compaction
from framemill.cluster.results.broken import Broken
from framemill.cluster.results.checking import check_folder
from framemill.cluster.results.commits import Commit, Removal, plan_removal
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry
from framemill.cluster.results.parts import read_rows, write_part
from framemill.cluster.results.queries import query
from framemill.errors import LeaseError, UsageError
from tests.cluster.results.hand_made import make_folder, schema_of


def shots_of(*ends: float) -> list[dict[str, Any]]:
    """Shots that follow each other and end at these times, at 25 frames a second."""
    starts = [0.0, *ends[:-1]]
    return [
        {"scene_index": index, "start_seconds": start, "end_seconds": end, "start_frame": int(start * 25),
         "end_frame": int(end * 25), "transition": "cut" if index else "start", "score": 0.0}
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]  # fmt: skip


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_folder(
        tmp_path / "out", {"scenes": {"a": shots_of(4, 8, 10), "b": shots_of(10), "c": shots_of(2, 9)}}
    )


def give(dataset: Dataset, tag: str, *shots: tuple[str, int], on: bool = True) -> int:
    with dataset.hold("t"):
        return tag_shots(dataset, "t", tag, shots, on=on)


def extract_anew(dataset: Dataset, source: str, rows: Sequence[dict[str, Any]]) -> None:
    """Commits other scenes of a source in place of those there, as a run with other options does."""
    new = pa.Table.from_pylist([{"source_id": source, **row} for row in rows], schema_of("scenes"))
    with dataset.hold("anew"):
        compaction.forget(
            dataset, "anew", Removal({"scenes": frozenset({source})}, (("scenes", source),), ())
        )
        seed = [source, str(dataset.state.sequence)]
        part = write_part(dataset.root, "scenes", [new], run_id="anew", seed=seed)
        assert part is not None
        entry = Entry("scenes", source, "other", rows=len(rows))
        dataset.commit(
            Commit(run_id="anew", entries=(entry,), parts=(part,), keys={"scenes": {"digest": "other"}})
        )


def tags_of(dataset: Dataset, source: str) -> list[list[str]]:
    sql = f"SELECT tags FROM shots WHERE source_id = '{source}' ORDER BY scene_index"
    return [row[0] for row in query(dataset.root, sql).rows]


def broken(dataset: Dataset) -> list[Broken]:
    found: list[Broken] = []
    check_folder(dataset, found.append)
    return [each for each in found if each.table == "tags"]


def test_shots_get_tags_and_lose_them(dataset: Dataset) -> None:
    assert tags_of(dataset, "a") == [None] * 3  # nobody has tagged anything
    assert give(dataset, "keep", ("a", 0), ("a", 2), ("b", 0)) == 3
    assert give(dataset, "best", ("a", 0)) == 1
    assert tags_of(dataset, "a") == [["best", "keep"], [], ["keep"]] and tags_of(dataset, "c") == [[], []]
    assert count_tags(dataset.root) == [("keep", 3), ("best", 1)]
    assert give(dataset, "keep", ("a", 0), ("a", 1), on=False) == 1
    assert tags_of(dataset, "a") == [["best"], [], ["keep"]]
    found = find_shots(dataset.root, "list_contains(tags, 'keep')", columns=("source_id", "scene_index"))
    assert found.rows == [("a", 2), ("b", 0)]
    rows = read_rows(dataset.root, "tags", dataset.state.parts_of("tags"))
    assert rows is not None and rows.schema.equals(TAGS_SCHEMA) and broken(dataset) == []


def test_a_call_is_one_commit_and_none_where_nothing_changes(dataset: Dataset) -> None:
    before = dataset.state.sequence
    assert give(dataset, "keep", ("a", 0), ("b", 0), ("c", 1)) == 3
    assert dataset.state.sequence == before + 1
    assert give(dataset, " keep ", ("a", 0), ("c", 1)) == 0
    assert give(dataset, "other", ("a", 0), on=False) == 0
    assert give(dataset, "keep") == 0
    assert dataset.state.sequence == before + 1


def test_many_calls_leave_one_part(dataset: Dataset) -> None:
    for number in range(12):
        give(dataset, f"tag {number}", ("a", number % 3), ("b", 0))
    assert len(dataset.state.parts_of("tags")) == 1
    assert len(tags_of(dataset, "b")[0]) == 12


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((4, 8, 10), [[], ["keep"], []]),  # as before: the tagged shot is from 4 to 8 s
        ((3.5, 7.5, 10), [[], ["keep"], []]),  # most of it in the second
        ((8, 10), [["keep"], []]),  # joined with the one before it
        ((4, 6, 8, 10), [[], ["keep"], [], []]),  # in halves: the first
        ((4, 5.5, 8, 10), [[], [], ["keep"], []]),
        ((4, 5.3, 6.6, 8, 10), [[], [], [], [], []]),  # in thirds: nobody can tell
        ((5.9, 10), [[], ["keep"]]),
    ],
)
def test_a_tag_follows_the_shot_that_shares_at_least_half_of_its_time(
    dataset: Dataset, ends: tuple[float, ...], expected: list[list[str]]
) -> None:
    give(dataset, "keep", ("a", 1))
    extract_anew(dataset, "a", shots_of(*ends))
    assert tags_of(dataset, "a") == expected and broken(dataset) == []
    extract_anew(dataset, "a", shots_of(4, 8, 10))
    assert tags_of(dataset, "a") == [[], ["keep"], []]


def test_after_new_scenes_a_tag_is_given_and_taken_by_the_shot_that_has_it_now(dataset: Dataset) -> None:
    give(dataset, "keep", ("a", 0), ("a", 1))
    extract_anew(dataset, "a", shots_of(8, 10))
    assert tags_of(dataset, "a") == [["keep"], []]
    assert give(dataset, "keep", ("a", 0)) == 0
    assert give(dataset, "keep", ("a", 0), on=False) == 2  # that of both shots that were joined
    assert tags_of(dataset, "a") == [[], []]
    extract_anew(dataset, "a", shots_of(4, 8, 10))
    assert tags_of(dataset, "a") == [[], [], []]


def test_a_tag_that_no_shot_has_goes_with_the_shots_that_it_reaches_into(dataset: Dataset) -> None:
    give(dataset, "keep", ("a", 1), ("b", 0))
    extract_anew(dataset, "a", shots_of(4, 5.3, 6.6, 8, 10))
    assert give(dataset, "keep", ("a", 0), ("a", 4), on=False) == 0
    assert give(dataset, "keep", ("a", 2), on=False) == 1
    extract_anew(dataset, "a", shots_of(4, 8, 10))
    assert tags_of(dataset, "a") == [[], [], []] and tags_of(dataset, "b") == [["keep"]]


def test_tags_stay_when_scenes_go_and_are_checked_by_no_limit_of_the_new_ones(dataset: Dataset) -> None:
    give(dataset, "keep", ("b", 0))
    extract_anew(dataset, "b", shots_of(3))
    assert tags_of(dataset, "b") == [[]] and broken(dataset) == []


def test_forgotten_files_take_their_tags_along_and_joining_parts_keeps_all(dataset: Dataset) -> None:
    give(dataset, "keep", ("a", 1), ("b", 0))
    with dataset.hold("c"):
        compaction.forget(dataset, "c", plan_removal(dataset.state, ["/videos/b.mp4"]))
        compaction.compact(dataset, "c")
    assert count_tags(dataset.root) == [("keep", 1)] and tags_of(dataset, "a") == [[], ["keep"], []]
    assert {owner for table, owner in dataset.state.entries if table == "tags"} == {"a"}
    assert broken(dataset) == []


def test_a_shot_that_is_not_there_is_named_and_nothing_is_written(dataset: Dataset) -> None:
    before = dataset.state.sequence
    with pytest.raises(UsageError, match="no shot 3 of source a"):
        give(dataset, "keep", ("a", 0), ("a", 3))
    with pytest.raises(UsageError, match="no shot 0 of source x"):
        give(dataset, "keep", ("x", 0), on=False)
    assert dataset.state.sequence == before


def test_while_another_holds_the_folder_nothing_is_tagged(dataset: Dataset) -> None:
    other = Dataset.open(dataset.root, create=False)
    with (
        dataset.hold("the run"),
        pytest.raises(LeaseError, match=r"held by run the run on host .*: wait for it to end or stop it"),
        other.hold("t", wait_seconds=0),
    ):
        tag_shots(other, "t", "keep", [("a", 0)], on=True)
    assert count_tags(dataset.root) == []


def test_a_tag_is_trimmed_and_composed(dataset: Dataset) -> None:
    assert clean_label("  two words\n") == "two words"
    decomposed = unicodedata.normalize("NFD", "été")
    assert clean_label(decomposed) == "été" != decomposed
    family = "\N{MAN}\N{ZERO WIDTH JOINER}\N{GIRL}"
    assert clean_label(family) == family
    assert clean_label(unicodedata.normalize("NFD", "é" * MAX_CHARACTERS)) == "é" * MAX_CHARACTERS
    give(dataset, "été", ("a", 0))
    assert give(dataset, decomposed, ("a", 0)) == 0
    give(dataset, 'it\'s 100% "so"; DROP', ("a", 0))
    assert tags_of(dataset, "a")[0] == ['it\'s 100% "so"; DROP', "été"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1 to 64 characters"),
        (" \t\n", "1 to 64 characters"),
        ("\u200b", "1 to 64 characters"),
        ("x" * 65, "65 long: a tag has 1 to 64 characters"),
        ("a\tb", r"U\+0009"),
        ("a\nb", r"U\+000A"),
        ("a\x00b", r"U\+0000"),
        ("a\x7fb", r"U\+007F"),
        ("a\u2028b", r"U\+2028"),
        ("a\u202egpj", r"U\+202E"),
        ("a\u2066b", r"U\+2066"),
        ("a\ud800", r"U\+D800"),
    ],
)
def test_what_cannot_be_a_tag_is_refused_by_its_limit(dataset: Dataset, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        give(dataset, text, ("a", 0))
    assert count_tags(dataset.root) == []
