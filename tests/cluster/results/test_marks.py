"""The note of what is at work: what a killed run leaves is what it noted last."""

from __future__ import annotations

import os
from pathlib import Path

from framemill.cluster.results.layout import SYSTEM_FOLDER
from framemill.cluster.results.marks import InFlightMarks


def test_what_was_noted_last_is_read_however_much_was_noted_before(tmp_path: Path) -> None:
    marks = InFlightMarks(tmp_path)
    for uris in ({"a", "b" * 500, 'c"\n'}, {"d"}, set[str](), {"e", "f"}):
        marks.write(uris)
        assert InFlightMarks(tmp_path).read() == uris


def test_the_file_is_written_in_place_and_gone_at_the_end(tmp_path: Path) -> None:
    path, marks = tmp_path / SYSTEM_FOLDER / "in_flight.json", InFlightMarks(tmp_path)
    marks.write(["a", "b"])
    first = os.stat(path)
    marks.write(["c"])
    assert (os.stat(path).st_ino, os.stat(path).st_size) == (first.st_ino, first.st_size)
    marks.clear()
    assert not path.exists()
    marks.write(["c"])
    assert InFlightMarks(tmp_path).read() == {"c"}


def test_a_torn_note_counts_as_none(tmp_path: Path) -> None:
    marks = InFlightMarks(tmp_path)
    marks.write(["a", "b"])
    path = tmp_path / SYSTEM_FOLDER / "in_flight.json"
    path.write_bytes(path.read_bytes()[:5])
    assert InFlightMarks(tmp_path).read() == frozenset()
