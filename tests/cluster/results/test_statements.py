"""Values of every type, and answers that are larger than anybody wants to hold."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from framemill.cluster.cli import results as results_command
from framemill.cluster.cli.main import main
from framemill.cluster.machine import memory_bytes
from framemill.cluster.results import queries
from framemill.cluster.results.commits import commit_from_json, commit_to_json
from framemill.cluster.results.compaction import compact
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import query, stream_query
from framemill.errors import DatasetError, UsageError
from tests.cluster.results.dataset_models import put

Capture = pytest.CaptureFixture[str]
LAUNCH = Path(__file__).resolve().parents[3] / "benchmarks" / "launch.py"
AT = datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
# An expression, its value in Python, and what `--json` says.
VALUES: list[tuple[str, Any, Any]] = [
    ("TIMESTAMPTZ '2026-01-02 03:04:05+02'", AT, "2026-01-02 01:04:05+00:00"),
    ("TIMESTAMPTZ '290000-01-01 00:00:00+00'", "290000-01-01 00:00:00", "290000-01-01 00:00:00"),
    ("[TIMESTAMPTZ '2026-01-02 03:04:05+02']", ["2026-01-02 01:04:05+00"], ["2026-01-02 01:04:05+00"]),
    ("{'at': TIMESTAMPTZ '2026-01-02 03:04:05+02'}", {"at": "2026-01-02 01:04:05+00"}, None),
    ("TIMESTAMP '2026-01-02 03:04:05'", datetime(2026, 1, 2, 3, 4, 5), "2026-01-02 03:04:05"),
    ("TIME '01:02:03.5'", time(1, 2, 3, 500000), "01:02:03.500000"),
    ("TIMETZ '01:02:03+00'", time(1, 2, 3, tzinfo=UTC), "01:02:03+00:00"),
    ("INTERVAL '2 days 3 seconds'", timedelta(days=2, seconds=3), "2 days, 0:00:03"),
    ("'-170141183460469231731687303715884105728'::HUGEINT", -(2**127), -(2**127)),
    ("'340282366920938463463374607431768211455'::UHUGEINT", 2**128 - 1, 2**128 - 1),
    ("sum(1::BIGINT)", 1, 1),
    ("1.50::DECIMAL(10, 2)", Decimal("1.50"), 1.5),
    ("'5b2c0b6e-3a5e-4f1b-9a64-1d1d2a3b4c5d'::UUID", UUID("5b2c0b6e-3a5e-4f1b-9a64-1d1d2a3b4c5d"),
     "5b2c0b6e-3a5e-4f1b-9a64-1d1d2a3b4c5d"),
    ("'10101'::BIT", "10101", "10101"),
    ("'a'::BLOB", b"a", "YQ=="),
    ("{'a': [1, 2], 'b': NULL}", {"a": [1, 2], "b": None}, {"a": [1, 2], "b": None}),
    ("MAP {DATE '2026-01-02': 'nan'::DOUBLE}", None, {"2026-01-02": None}),
    ("[1.5, 'inf'::DOUBLE]", [1.5, math.inf], [1.5, None]),
    ("[1, 2]::INTEGER[2]", (1, 2), [1, 2]),
    ("'x'::ENUM('x', 'y')", "x", "x"),
    ("'infinity'::FLOAT", math.inf, None),
    ("NULL", None, None),
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    dataset = Dataset.open(tmp_path / "out", create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1, "b": 2})
        put(dataset, "r", "scenes", {"c": 3})
    return tmp_path / "out"


@pytest.mark.parametrize(("expression", "value", "said"), VALUES, ids=[each[0] for each in VALUES])
def test_every_type_is_answered_and_printed(
    root: Path, capsys: Capture, expression: str, value: Any, said: Any
) -> None:
    sql = f"SELECT {expression} AS v; -- and no more"
    ((found,),) = query(root, sql).rows
    if value is not None or expression == "NULL":
        assert found == value and type(found) is type(value)
    assert main(["sql", str(root), sql, "--json"]) == 0
    ((name, printed),) = json.loads(capsys.readouterr().out)[0].items()
    assert name == "v" and printed == (value if isinstance(value, dict) else said)
    for form in ([], ["--csv"], ["--wide"], ["--line"]):
        assert main(["sql", str(root), sql, *form]) == 0
        assert capsys.readouterr().out


def test_a_statement_beyond_ascii_is_taken_to_its_end_beside_times_with_a_zone(root: Path) -> None:
    for end in ("", ";", " LIMIT 3; -- ééé"):
        ((text, moment),) = query(root, f"SELECT 'ab%😀;' AS \"ünï\", to_timestamp(0){end}").rows
        assert (text, moment) == ("ab%😀;", datetime(1970, 1, 1, tzinfo=UTC))


def test_a_pivot_over_times_with_a_zone_is_answered(root: Path) -> None:
    moments = "SELECT source_id, to_timestamp(min(value)) AS moment FROM scenes GROUP BY 1"
    sql = f"PIVOT ({moments}) ON source_id USING max(moment)"
    (row,) = query(root, sql).rows
    assert row[0] == datetime(1970, 1, 1, 0, 1, 40, tzinfo=UTC)


def test_columns_of_one_name_stay_apart_beside_times_with_a_zone(root: Path) -> None:
    found = query(root, "SELECT 1 AS a, 2 AS a, to_timestamp(0) AS t ORDER BY 1")
    assert found.columns == ("a", "a", "t") and found.rows[0][:2] == (1, 2)


def test_no_more_rows_are_held_than_wanted(root: Path) -> None:
    endless = "SELECT i FROM range(1000000000000) t(i)"
    assert query(root, endless, limit=5).rows == [(i,) for i in range(5)]
    assert query(root, endless, limit=0).rows == []
    with stream_query(root, endless) as stream:
        assert [next(stream.rows) for _ in range(3)] == [(0,), (1,), (2,)]


def test_the_engine_may_hold_half_of_the_memory(root: Path) -> None:
    sql = "SELECT name, value FROM duckdb_settings() WHERE name IN ('memory_limit', 'TimeZone')"
    settings = dict(query(root, sql).rows)
    number, unit = settings["memory_limit"].split()
    size = float(number) * 1024 ** ("KiB", "MiB", "GiB", "TiB").index(unit) * 1024
    assert size == pytest.approx(memory_bytes() / 2, rel=0.1) and settings["TimeZone"] == "UTC"


def test_what_is_wrong_with_a_row_is_told_while_rows_come(root: Path) -> None:
    sql = "SELECT CASE WHEN i = 900000 THEN error('too far') ELSE i END FROM range(1000000) t(i)"
    with stream_query(root, sql) as stream, pytest.raises(UsageError, match="too far"):
        list(stream.rows)


def test_a_part_that_goes_after_the_first_row_is_told(root: Path) -> None:
    with (
        pytest.raises(DatasetError, match="they are not all; run the command again"),
        stream_query(root, "SELECT i FROM range(5) t(i)"),
    ):
        raise DatasetError("reading the stream registered as scenes")


def test_only_what_a_statement_names_is_opened(root: Path) -> None:
    dataset = Dataset.open(root, create=False)
    with dataset.hold("r"):
        put(dataset, "r", "speech", {"a": 1})
    (part,) = dataset.state.parts_of("speech")
    (root / "speech" / part.name).write_bytes(b"damaged")
    assert query(root, "SELECT count(*) FROM Scenes JOIN sources USING (source_id)").rows == [(9,)]
    for sql in (
        "SELECT count(*) FROM scenes, (SELECT * FROM speech)",
        "SELECT * FROM query_table('spe' || 'ech')",
        "SELECT * FROM duckdb_tables()",
        "SHOW TABLES",
    ):
        with pytest.raises(DatasetError, match="speech"):
            query(root, sql)


def test_parts_that_are_alike_are_opened_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read = pq.read_schema
    monkeypatch.setattr(queries.pq, "read_schema", lambda path: opened.append(path) or read(path))
    assert query(root, "SELECT count(*) FROM scenes").rows == [(9,)]
    assert len(opened) == 1
    dataset = Dataset.open(root, create=False)
    with dataset.hold("c"):
        compact(dataset, "c")
    (part,) = dataset.state.parts_of("scenes")
    assert part.schema


def test_parts_of_before_are_all_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (root / "_framemill" / "commits").iterdir():
        commit = commit_from_json(path.read_bytes(), path.name)
        parts = tuple(replace(part, schema="") for part in commit.parts)
        data = commit_to_json(replace(commit, parts=parts))
        assert b"schema" not in data
        path.write_bytes(data)
    opened: list[str] = []
    read = pq.read_schema
    monkeypatch.setattr(queries.pq, "read_schema", lambda path: opened.append(path) or read(path))
    assert query(root, "SELECT count(*) FROM scenes").rows == [(9,)]
    assert len(opened) == 2


def test_a_terminal_shows_some_rows_and_counts_the_others(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = ["sql", str(root), "SELECT * FROM range(100) t(i)"]
    assert main(sql) == 0
    assert len(capsys.readouterr().out.splitlines()) == 101
    assert main([*sql, "--limit", "3"]) == 0
    assert capsys.readouterr().out.split() == ["i", "0", "1", "2"]
    monkeypatch.setattr("framemill.cluster.cli.output._is_terminal", lambda: True)
    assert main(sql) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    assert len(shown) == results_command._ROWS_SHOWN + 2
    assert last == "... 60 more rows; --limit N shows N, --csv all"
    assert main([*sql, "--limit", "99"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 101
    assert main([sql[0], sql[1], "SELECT * FROM range(3000000)"]) == 0
    assert "more than 1000000 more rows" in capsys.readouterr().out


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"], ["--wide"]])
def test_a_reader_that_has_enough_ends_the_command_quietly(root: Path, form: list[str]) -> None:
    command = [sys.executable, "-m", "framemill", "sql", str(root), "SELECT * FROM range(1000000000)", *form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline()
        child.stdout.close()
        assert child.wait(60) == 128 + signal.SIGPIPE
        assert child.stderr.read() == b""


@pytest.mark.slow
@pytest.mark.parametrize("form", [[], ["--csv"]])
def test_an_answer_of_fifty_million_rows_takes_little_memory(
    root: Path, tmp_path: Path, form: list[str]
) -> None:
    """Launched by a small process: a program begins with the peak memory of the one that starts it."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "framemill", "sql", str(root), "SELECT * FROM range(50000000)", *form]
    launcher = [sys.executable, str(LAUNCH), str(report)]
    subprocess.run([*launcher, *command], stdout=subprocess.DEVNULL, check=True)
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["exit_code"] == 0
    assert told["peak_bytes"] < 500_000_000
