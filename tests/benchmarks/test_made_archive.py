"""The made archive is what a run would leave: its rows hold, and all of its files have as many."""

from __future__ import annotations

from pathlib import Path

from benchmarks.made_archive import FILES_A_COMMIT, TABLES, make_archive
from framemill.cluster.results.broken import Broken
from framemill.cluster.results.checking import check_folder
from framemill.cluster.results.queries import query


def test_the_rows_of_a_made_archive_hold_and_come_in_many_commits(tmp_path: Path) -> None:
    files = FILES_A_COMMIT + 10
    dataset = make_archive(tmp_path / "out", files)
    broken: list[Broken] = []
    checked = check_folder(dataset, broken.append)
    assert broken == []
    assert checked.num_tables == len(TABLES) + 1 and checked.num_rows == files * 1081
    assert dataset.state.sequence == 3
    sql = "SELECT count(*), count(words), count(DISTINCT people[1]) > 1 FROM shots WHERE num_faces = 1"
    assert query(dataset.root, sql).rows == [(files * 16, files * 16, True)]
