"""`framemill check` on tables made by hand: keys, ranks and references that are broken have a line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.corpus_tables import corpus_key
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import write_part
from tests.cluster.results.test_references import blank_table

Capture = pytest.CaptureFixture[str]
Row = dict[str, Any]


def _commit(dataset: Dataset, table: str, source: str, *rows: Row, key: Row | None = None) -> None:
    made = blank_table(table, *({"source_id": source} | row for row in rows))
    part = write_part(
        dataset.root, table, [made], run_id="r", seed=[table, source, str(len(dataset.state.parts))]
    )
    key = key or {"digest": "k"}
    dataset.commit(
        Commit(
            run_id="r",
            entries=(Entry(table, source, key["digest"], rows=len(rows)),),
            sources=(SourceRecord(f"/{source}.mp4", source, 1, 1, 10.0),),
            parts=() if part is None else (part,),
            keys={table: key},
        )
    )


def _check(dataset: Dataset, capsys: Capture) -> list[str]:
    code = main(["check", str(dataset.root)])
    *lines, last = capsys.readouterr().out.splitlines()
    assert code == (3 if lines else 0) and last.endswith(f", {len(lines)} broken")
    return lines


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two files with a face each, in parts of their own."""
    dataset = Dataset.open(tmp_path / "out", create=True)
    with dataset.hold("r"):
        for source in "ab":
            _commit(dataset, "faces", source, {"frame_index": 1})
            _commit(dataset, "emotions", source, {"frame_index": 1})
    return dataset


def test_rows_of_several_parts_that_refer_to_each_other_are_sound(dataset: Dataset, capsys: Capture) -> None:
    assert _check(dataset, capsys) == []


def test_each_broken_rule_has_its_line(dataset: Dataset, capsys: Capture) -> None:
    with dataset.hold("r"):
        _commit(dataset, "poses", "a", {"frame_index": 1, "person_index": 1})
        _commit(dataset, "objects", "b", {"frame_index": 1}, {"frame_index": 1})
        _commit(dataset, "face_quality", "b", {"frame_index": 2}, {"frame_index": 3})
        _commit(dataset, "scenes", "a", {"scene_index": 2})
        _commit(dataset, "tracks", "a", {"frame_index": 1, "table": "faces", "item_index": 7, "track_id": 1})
    wanted = {
        "a poses.person_index: 1 comes without the one before it",
        "a poses.frame_index, object_index: 1, 0 is not in objects",
        "b objects.frame_index, object_index: row 1 repeats the key of another row",
        "b face_quality.frame_index, face_index: 2, 0 is not in faces (2 values like it)",
        "a scenes.scene_index: 2 comes without the one before it",
        "a tracks.track_id: 1 comes without the one before it",
        "a tracks.frame_index, item_index: 1, 7 is not in faces",
    }
    assert {*_check(dataset, capsys)} == wanted


def test_rows_of_one_file_in_two_parts_are_told(dataset: Dataset, capsys: Capture) -> None:
    with dataset.hold("r"):
        _commit(dataset, "faces", "a", {"frame_index": 2})
    assert _check(dataset, capsys) == ["- faces.*: rows of a are in more than one part"]


def test_tables_of_commands_are_held_against_the_rows_they_were_made_of(
    dataset: Dataset, capsys: Capture
) -> None:
    row = {"frame_index": 5, "person_id": "1"}
    with dataset.hold("r"):
        _commit(dataset, "face_embeddings", "a", {"frame_index": 1})
        key = corpus_key(dataset, "people", ("face_embeddings",), 1, {})
        _commit(dataset, "people", "a", row, key=key)
    assert _check(dataset, capsys) == ["a people.frame_index, face_index: 5, 0 is not in faces"]
    with dataset.hold("r"):  # more files since: the table is out of date, which is no break
        _commit(dataset, "face_embeddings", "b", {"frame_index": 1})
    assert _check(dataset, capsys) == []
