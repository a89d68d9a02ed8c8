"""Rows that break something, or that cannot be written, fail one operation of one source, never the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.cluster.cli.main import main
from tests.cluster.extraction import (
    RecordingReporter,
    extract,
    failures,
    patch_worker,
    rows_of,
    statuses,
)

# In the file b.mp4, 3 seconds long, one operation gives what it should not.
BEFORE_THE_START = """
import pyarrow as pa
from framemill.ops.shots.scenes import Scenes
real = Scenes.merge
def merge(self, partials):
    rows = real(self, partials)
    if rows['end_seconds'][-1].as_py() != 3.0:
        return rows
    at = rows.schema.get_field_index('start_seconds')
    early = pa.array([value - 5.0 for value in rows['start_seconds'].to_pylist()])
    return rows.set_column(at, rows.schema.field(at), early)
Scenes.merge = merge
"""
# Writing more than one row of levels from a source of 31 windows fails, as a conversion of Arrow might.
CANNOT_BE_WRITTEN = """
import pyarrow as pa
import framemill.cluster.run.part_writer as part_writer
real = part_writer.write_part
def write_part(root, table, tables, **rest):
    if table == 'audio_levels' and any(rows.num_rows == 31 for rows in tables):
        raise pa.ArrowInvalid('Value 4294967296 too large to fit in C integer type')
    return real(root, table, tables, **rest)
part_writer.write_part = write_part
"""
TOO_WIDE = """
import dataclasses
import framemill.cluster.run.open_sources as open_sources
real = open_sources.OpenSources.describe
def describe(self, uri):
    found = real(self, uri)
    return dataclasses.replace(found, width=1 << 40) if uri.endswith('b.mp4') else found
open_sources.OpenSources.describe = describe
"""
ALL = {"media": 3, "frames": 3, "scenes": 3, "audio_levels": 2}


@pytest.mark.parametrize(
    ("code", "operation", "said"),
    [
        (BEFORE_THE_START, "scenes", "s is before the start"),
        (CANNOT_BE_WRITTEN, "audio_levels", "does not fit its column"),
        (TOO_WIDE, "media", "does not fit its column"),
    ],
)
def test_one_operation_of_one_source_pays(
    code: str, operation: str, said: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_worker(monkeypatch, tmp_path, code)
    reporter = RecordingReporter()
    summary = extract(clips, out=tmp_path / "out", reporter=reporter)
    assert (summary.exit_code, summary.files_failed) == (3, 1)
    assert failures(tmp_path / "out") == {("b.mp4", operation): "failed"}
    (row,) = rows_of(tmp_path / "out", "errors")
    assert row["error"] == "InvariantError" and said in row["message"]
    assert "Arrow" not in row["message"] and any("Traceback" in text for text in reporter.said)
    owners = {table: {row["source_id"] for row in rows_of(tmp_path / "out", table)} for table in ALL}
    assert {table: len(found) for table, found in owners.items()} == {**ALL, operation: ALL[operation] - 1}
    assert set(statuses(tmp_path / "out").values()) == {"ok"}
    assert not list((tmp_path / "out").glob("*/.part-*"))
    # The same command computes nothing, and what is there is sound.
    assert extract(clips, out=tmp_path / "out").files_computed == 0
    assert main(["check", str(tmp_path / "out")]) == 0


def test_a_write_that_fails_for_nobody_ends_the_run(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = CANNOT_BE_WRITTEN.replace("any(rows.num_rows == 31 for rows in tables)", "len(tables) > 1")
    patch_worker(monkeypatch, tmp_path, code)
    with pytest.raises(Exception, match="Value 4294967296 too large"):
        extract(clips, out=tmp_path / "out")
