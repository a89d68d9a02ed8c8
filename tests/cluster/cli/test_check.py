"""`framemill check`: what is sound passes, what was changed is told."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from framemill.cluster.cli.main import main
from tests.cluster.extraction import extract

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def out(clips: Path, tmp_path: Path) -> Path:
    extract(clips, out=tmp_path / "out")
    return tmp_path / "out"


def _change(out: Path, table: str, column: str, value: object) -> None:
    """Puts another value in the last row of a part of a table."""
    path = next((out / table).glob("*.parquet"))
    rows = pq.ParquetFile(path).read()
    at = rows.schema.get_field_index(column)
    values = [*rows[column].to_pylist()[:-1], value]
    changed = rows.set_column(at, rows.schema.field(at), pa.array(values, rows.schema.field(at).type))
    pq.write_table(changed, path)


def test_a_folder_as_extract_left_it_is_sound(out: Path, capsys: Capture) -> None:
    assert main(["check", str(out)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    num_rows = sum(pq.ParquetFile(path).metadata.num_rows for path in out.glob("*/*.parquet"))
    assert line == f"5 tables, {num_rows} rows, 0 broken"
    assert main(["check", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "num_tables": 5,
        "num_rows": num_rows,
        "num_broken": 0,
        "broken": [],
    }


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("frames", "pts_seconds", 99.0),
        ("frames", "sharpness", float("nan")),
        ("frames", "frame_index", 1 << 40),
        ("scenes", "end_seconds", -1.0),
        ("audio_levels", "source_id", "f" * 64),
        ("media", "duration_seconds", float("inf")),
    ],
)
def test_a_changed_value_is_told(out: Path, table: str, column: str, value: object, capsys: Capture) -> None:
    _change(out, table, column, value)
    assert main(["check", str(out)]) == 3
    *lines, last = capsys.readouterr().out.splitlines()
    assert any(f" {table}.{column}: " in line for line in lines)
    assert last.startswith("5 tables, ") and last.endswith(f", {len(lines)} broken")
    assert main(["check", str(out), "--json"]) == 3
    assert {"table": table, "column": column}.items() <= json.loads(capsys.readouterr().out)["broken"][
        0
    ].items()


def test_a_part_that_is_gone_or_short_is_told(out: Path, capsys: Capture) -> None:
    path = next((out / "audio_levels").glob("*.parquet"))
    pq.write_table(pq.ParquetFile(path).read().slice(1), path)
    assert main(["check", str(out)]) == 3
    assert "were committed" in capsys.readouterr().out
    path.unlink()
    assert main(["check", str(out)]) == 3
    assert "cannot be read" in capsys.readouterr().out
    assert main(["check", str(out / "nothing")]) == 2
