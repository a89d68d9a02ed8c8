"""Statements of users are bounded in time, memory and rows, and reach nothing but the tables."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

import framemill
from framemill.cluster.cli.main import main
from framemill.cluster.results import sql_process
from framemill.cluster.results.answers import MOST_SQL_BYTES
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.sql_process import query_bounded, stream_bounded
from framemill.errors import DatasetError, FramemillError, UsageError
from tests.cluster.results.dataset_models import put
from tests.fuzz import statements

MEMORY = 1 << 30


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sql")
    dataset = Dataset.open(folder / "out", create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1, "b": 2, "c": 3})
    return folder / "out"


def test_values_of_every_kind_come_through(root: Path) -> None:
    sql = (
        "SELECT 1, 1.5, 'a', TRUE, NULL, 1.50::DECIMAL(5, 2), DATE '2026-01-02', INTERVAL '1 day', "
        "[1, NULL], {'a': 1}, MAP {'k': 'v'}, 'x'::BLOB, '5b2c0b6e-3a5e-4f1b-9a64-1d1d2a3b4c5d'::UUID, "
        "2::HUGEINT, TIMESTAMPTZ '2026-01-02 03:04:05+02', TIMETZ '01:02:03+00', [1, 2]::INTEGER[2]"
    )
    (row,) = query_bounded(root, sql).rows
    assert row[5] == Decimal("1.50") and row[12] == UUID("5b2c0b6e-3a5e-4f1b-9a64-1d1d2a3b4c5d")
    assert row[14] == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert row[:5] == (1, Decimal("1.5"), "a", True, None) and row[-1] == (1, 2)


def test_rows_come_as_they_are_made_and_as_many_as_were_asked_for(root: Path) -> None:
    endless = "SELECT i FROM range(1000000000000) t(i)"
    assert query_bounded(root, endless, limit=5).rows == [(i,) for i in range(5)]
    assert query_bounded(root, endless, limit=0).rows == []
    with stream_bounded(root, endless) as stream:
        assert [next(stream.rows) for _ in range(3)] == [(0,), (1,), (2,)]
    assert len(query_bounded(root, "SELECT * FROM range(5000)").rows) == 5000


def test_more_rows_than_are_held_or_handed_on_are_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_process, "MOST_HELD_ROWS", 10)
    monkeypatch.setattr(sql_process, "MOST_ROWS", 20)
    assert len(query_bounded(root, "SELECT * FROM range(10)").rows) == 10
    with pytest.raises(UsageError, match="more than 10 rows"):
        query_bounded(root, "SELECT * FROM range(11)")
    assert len(query_bounded(root, "SELECT * FROM range(30)", limit=30).rows) == 30
    with stream_bounded(root, "SELECT * FROM range(20)") as stream:
        assert len(list(stream.rows)) == 20
    with (
        stream_bounded(root, "SELECT * FROM range(21)") as stream,
        pytest.raises(UsageError, match="than 20"),
    ):
        list(stream.rows)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM range(1000000) a, range(1000000) b",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
        "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))",  # one call, deaf to interrupts
    ],
)
def test_a_statement_without_an_end_is_ended(root: Path, sql: str) -> None:
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"took longer than 0\.5 seconds"):
        query_bounded(root, sql, seconds=0.5)
    assert time.monotonic() - started < 300  # by itself the last takes half an hour
    assert query_bounded(root, "SELECT count(*) FROM scenes").rows == [(9,)]


def test_what_the_caller_does_between_rows_does_not_count(root: Path) -> None:
    query_bounded(root, "SELECT 1")  # from now on a process is there
    with stream_bounded(root, "SELECT * FROM range(100000)", seconds=2) as stream:
        next(stream.rows)
        time.sleep(2.1)
        assert len(list(stream.rows)) == 99_999


def test_memory_that_the_engine_does_not_count_is_bounded(root: Path) -> None:
    with pytest.raises(UsageError, match="took more than 512 MiB of memory"):
        query_bounded(root, "SELECT length(repeat('x', 3000000000))", memory=1 << 29)
    with pytest.raises(UsageError, match=r"Out of Memory|more than 512 MiB"):
        query_bounded(root, "SELECT len(list(i)) FROM range(400000000) t(i)", memory=1 << 29)


def test_a_statement_that_ends_its_process_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = sql_process._take()
    taken._process.kill()
    monkeypatch.setattr(sql_process, "_take", lambda: taken)
    with pytest.raises(FramemillError, match=r"ended the process that answers it \(signal SIGKILL"):
        query_bounded(root, "SELECT 1")


def test_a_fault_of_the_process_is_told_by_its_name(root: Path) -> None:
    process = sql_process._take()
    with pytest.raises(FramemillError, match=r"exit code 1; it said: KeyError: 'sql'"):
        process.ask({"root": str(root)}, 60.0, MEMORY)
    process.end()


def test_refusals_carry_the_reason(root: Path) -> None:
    for sql, said in (("SELECT * FROM nope", "nope does not exist"), ("COPY scenes TO 'x'", "one statement")):
        with pytest.raises(UsageError, match=said):
            query_bounded(root, sql)
    with pytest.raises(UsageError, match="holds no results"):
        query_bounded(root.parent / "none", "SELECT 1")
    with pytest.raises(UsageError, match=f"at most {MOST_SQL_BYTES} are read"):
        query_bounded(root, "SELECT 1 --" + "x" * MOST_SQL_BYTES)
    with pytest.raises(UsageError, match="half of a character"):
        query_bounded(root, "SELECT 'a\ud800'")
    with pytest.raises(UsageError, match="bytes of memory"):
        query_bounded(root, "SELECT 1", memory=1000)
    with pytest.raises(UsageError, match="give more than 0"):
        query_bounded(root, "SELECT 1", seconds=0)


def test_a_damaged_part_is_no_fault_of_the_question(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "out", create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1})
    (part,) = dataset.state.parts_of("scenes")
    (tmp_path / "out" / "scenes" / part.name).write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="cannot be read"):
        query_bounded(tmp_path / "out", "SELECT * FROM scenes")


def test_a_process_serves_again_and_sees_the_environment_as_it_is(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query_bounded(root, "SELECT 1")
    (kept,) = sql_process._idle
    query_bounded(root, "SELECT 2")
    assert sql_process._idle == [kept]
    monkeypatch.setenv("SOME_CREDENTIAL", "another")
    query_bounded(root, "SELECT 3")
    assert sql_process._idle != [kept]


def test_the_limits_are_there_for_users(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"longer than 0\.5 seconds"):
        framemill.open(root).sql("SELECT count(*) FROM range(10000000) a, range(10000000) b", timeout=0.5)
    with pytest.raises(UsageError, match="memory='much' is no size"):
        framemill.open(root).sql("SELECT 1", memory="much")
    assert main(
        ["sql", str(root), "SELECT count(*) FROM range(10000000) a, range(10000000)", "--timeout", "0.5"]
    )
    assert "took longer than 0.5 seconds" in (said := capsys.readouterr().err) and "--timeout" in said
    assert main(["sql", str(root), "SELECT 1", "--memory", "much"]) == 2
    assert "--memory" in capsys.readouterr().err


@pytest.mark.parametrize("count", [120, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_statements_crash_nothing_and_reach_nothing_else(count: int, tmp_path: Path) -> None:
    batches = list(statements.run_in(tmp_path, count, count))
    assert [fault for batch in batches for fault in batch.faults] == []
    assert sum(batch.number for batch in batches) == count
    assert sum(batch.answered for batch in batches) > count / 4
