"""SQL over results: what it answers, and what it refuses to touch."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from framemill.cluster.results import queries
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.compaction import compact
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import SourceRecord
from framemill.cluster.results.parts import write_part
from framemill.cluster.results.queries import query
from framemill.errors import DatasetError, UsageError
from tests.cluster.results.dataset_models import put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Results with two parts of `scenes`, and a secret beside them."""
    dataset = Dataset.open(tmp_path / "out", create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1, "b": 2})
        put(dataset, "r", "scenes", {"c": 3})
    (tmp_path / "secret.csv").write_text("word\nhush\n")
    pq.write_table(pa.table({"word": ["hush"]}), tmp_path / "secret.parquet")
    return tmp_path / "out"


def test_rows_and_column_names(root: Path) -> None:
    result = query(root, "SELECT source_id AS id, count(*) AS n FROM scenes GROUP BY 1 ORDER BY 1")
    assert result.columns == ("id", "n")
    assert result.rows == [("a", 2), ("b", 3), ("c", 4)]


@pytest.mark.parametrize(
    "sql",
    [
        "FROM scenes LIMIT 1",
        "WITH x AS (SELECT 1 AS y) SELECT * FROM x",
        "PIVOT scenes ON source_id USING count(*)",
        "DESCRIBE scenes",
        "SUMMARIZE scenes",
        "SHOW TABLES",
        "EXPLAIN SELECT * FROM scenes",
        "SELECT * FROM scenes; -- and no more",
    ],
)
def test_whatever_reads_is_answered(root: Path, sql: str) -> None:
    assert query(root, sql).rows


def test_asked_for_tables_are_there_without_rows(root: Path) -> None:
    dataset = Dataset.open(root, create=False)
    with dataset.hold("r"):
        dataset.commit(Commit(run_id="r", keys={"frames": {"digest": "k"}}))
    assert query(root, "SELECT source_id, phash FROM frames").rows == []
    assert query(root, "SELECT uri, operation FROM errors").rows == []
    assert query(root, "SELECT run_id, started_at FROM runs").rows == []
    with pytest.raises(
        UsageError, match=r"(?s)objects does not exist.*tables here: errors, frames, runs, scenes"
    ):
        query(root, "SELECT * FROM objects")


def test_types_come_through(root: Path) -> None:
    rows = pa.table(
        {
            "source_id": ["a"],
            "phash": pa.array([2**64 - 1], pa.uint64()),
            "vector": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
            "seconds": pa.array([[("scenes", 0.5)]], pa.map_(pa.string(), pa.float64())),
            "started_at": pa.array([0], pa.timestamp("ms")),
            "image": [b"\xff"],
        }
    )
    dataset = Dataset.open(root, create=False)
    with dataset.hold("r"):
        part = write_part(root, "frames", [rows], run_id="r", seed=["a"])
        assert part is not None
        dataset.commit(Commit(run_id="r", parts=(part,)))
    (row,) = query(root, "SELECT phash, vector, seconds, year(started_at), image FROM frames").rows
    assert row == (2**64 - 1, (1.0, 2.0), {"scenes": 0.5}, 1970, b"\xff")


def test_fields_added_later_are_null_in_older_parts(root: Path) -> None:
    dataset = Dataset.open(root, create=False)
    with dataset.hold("r0"):  # a name that sorts before: the newest part need not have the newest fields
        rows = pa.table({"source_id": ["d"], "value": [7], "more": ["x"]})
        part = write_part(root, "scenes", [rows], run_id="0", seed=["d"])
        assert part is not None
        dataset.commit(Commit(run_id="r0", parts=(part,)))
    assert query(root, "SELECT count(*), count(more) FROM scenes").rows == [(10, 1)]


HIDDEN = [
    "SELECT * FROM read_csv('{beside}/secret.csv')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('{beside}/secret.csv')",
    "SELECT * FROM '{beside}/secret.parquet'",
    "SELECT * FROM read_parquet('{beside}/out/scenes/../../secret.parquet')",
    "SELECT * FROM read_parquet('{part}')",
    "SELECT * FROM parquet_metadata('{beside}/secret.parquet')",
    "SELECT * FROM sniff_csv('{beside}/secret.csv')",
    "SELECT * FROM glob('{beside}/*')",
    "SELECT * FROM 'https://127.0.0.1:9/x.parquet'",
    "SELECT * FROM local_variable",
    "SELECT getenv('HOME')",
    "COPY scenes TO '{beside}/new.csv'",
    "COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)",
    "WITH x AS (COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)) SELECT * FROM x",
    "WITH x AS (COPY scenes TO '{beside}/new.csv') SELECT * FROM x",
    "ATTACH '{beside}/new.db'",
    "ATTACH ':memory:' AS m",
    "INSTALL httpfs",
    "LOAD httpfs",
    "EXPORT DATABASE '{beside}/new'",
    "IMPORT DATABASE '{beside}/new'",
    "SET enable_external_access = true",
    "SET allowed_paths = ['{beside}/secret.csv']",
    "RESET lock_configuration",
    "CREATE TABLE t AS SELECT 1",
    "CREATE SECRET (TYPE s3)",
    "INSERT INTO scenes VALUES ('z', 1)",
    "WITH x AS (INSERT INTO scenes VALUES ('z', 1) RETURNING *) SELECT * FROM x",
    "DELETE FROM scenes",
    "DROP VIEW scenes",
    "SELECT 1; DROP VIEW scenes",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "",
    "-- nothing",
    "SELEC 1",
]


@pytest.mark.parametrize("sql", HIDDEN)
def test_nothing_beyond_the_tables_is_touched(root: Path, sql: str) -> None:
    local_variable = pa.table(
        {"word": ["hush"]}
    )  # DuckDB looks into the caller's variables unless told not to
    part = next((root / "scenes").iterdir())
    before = {path: path.read_bytes() for path in sorted(root.parent.rglob("*")) if path.is_file()}
    with pytest.raises(UsageError):
        query(root, sql.format(beside=root.parent, part=part))
    after = {path: path.read_bytes() for path in sorted(root.parent.rglob("*")) if path.is_file()}
    assert after == before
    assert local_variable.num_rows == 1


def test_refusals_carry_the_reason(root: Path) -> None:
    with pytest.raises(UsageError, match="one statement that reads, not DROP"):
        query(root, "DROP VIEW scenes")
    with pytest.raises(UsageError, match=r"(?s)syntax error.*SELEC 1"):
        query(root, "SELEC 1")
    with pytest.raises(UsageError, match="holds no results"):
        query(root.parent / "nowhere", "SELECT 1")


def test_a_damaged_or_missing_part_is_no_fault_of_the_question(root: Path) -> None:
    part = next((root / "scenes").iterdir())
    content = part.read_bytes()
    part.write_bytes(content[:20] + bytes(60) + content[80:])
    with pytest.raises(DatasetError, match="cannot be read"):
        query(root, "SELECT sum(value), min(source_id) FROM scenes")
    part.unlink()
    with pytest.raises(DatasetError, match=part.name):
        query(root, "SELECT * FROM scenes")


def test_committed_but_hidden_parts_are_read(root: Path) -> None:
    part = next((root / "scenes").iterdir())
    part.rename(part.with_name(f".{part.name}.new"))
    assert query(root, "SELECT count(*) FROM scenes").rows == [(9,)]


def test_a_part_that_is_published_while_it_is_read_is_no_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = next((root / "scenes").iterdir())
    hidden = part.with_name(f".{part.name}.new")
    part.rename(hidden)
    real = queries.dataset_tables

    def then_publish(dataset: Dataset, names: object) -> object:
        tables = real(dataset, names)
        if hidden.exists():
            hidden.rename(part)
        return tables

    monkeypatch.setattr(queries, "dataset_tables", then_publish)
    assert query(root, "SELECT count(*) FROM scenes").rows == [(9,)]


def test_a_part_that_goes_while_it_is_read_is_no_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = queries.dataset_tables, []

    def then_compact(dataset: Dataset, names: object) -> object:
        tables = real(dataset, names)
        if not calls:
            other = Dataset.open(root, create=False)
            with other.hold("c"):
                assert compact(other, "c")
        calls.append(dataset.state.sequence)
        return tables

    monkeypatch.setattr(queries, "dataset_tables", then_compact)
    assert query(root, "SELECT count(*) FROM scenes").rows == [(9,)]
    assert len(calls) == 2


def test_exact_while_another_commits_and_compacts(root: Path) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def disturb() -> None:
        try:
            dataset = Dataset.open(root, create=False)
            with dataset.hold("w"):
                for number in range(200):
                    if stop.is_set():
                        return
                    put(dataset, "w", "scenes", {"a": 1, "b": number % 3 + 1})
                    put(dataset, "w", "scenes", {"b": 2})
                    compact(dataset, f"w{number}")
                    time.sleep(0.05)
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(15):
            ((a, b, c),) = query(
                root,
                "SELECT count(*) FILTER (source_id = 'a'), count(*) FILTER (source_id = 'b'), "
                "count(*) FILTER (source_id = 'c') FROM scenes",
            ).rows
            assert (a, c) == (2, 4) and b in (2, 3, 4)
    finally:
        stop.set()
        thread.join()
    assert failures == []


def test_nothing_is_left_in_the_current_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    query(root, "SELECT * FROM scenes ORDER BY value")
    assert os.listdir() == []


def test_a_content_with_copies_is_one_row_of_sources(root: Path) -> None:
    dataset = Dataset.open(root, create=False)
    records = [SourceRecord(f"/videos/{name}.mp4", "a", 10, 1, 2.5) for name in ("b", "a")]
    broken = SourceRecord("/videos/broken.mp4", "", 1, 1, 0.0)
    with dataset.hold("r2"):
        dataset.commit(Commit(run_id="r2", sources=(*records, broken)))
    alone = query(root, "SELECT count(*) FROM scenes").rows
    assert query(root, "SELECT count(*) FROM scenes JOIN sources USING (source_id)").rows == alone
    (row,) = query(root, "SELECT uri, uris FROM sources WHERE source_id = 'a'").rows
    assert row == ("/a.mp4", ["/a.mp4", "/videos/a.mp4", "/videos/b.mp4"])
    assert query(root, "SELECT count(*) FROM sources WHERE source_id = ''").rows == [(0,)]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM objects", "--ops objects` makes it"),
        ("SELECT * FROM scene", "did you mean 'scenes'"),
        ("SELECT * FROM people", "framemill people"),
        ("SELECT valeu FROM scenes", "did you mean 'value'"),
        ("SELECT s.valeu FROM scenes s", "did you mean 'value'"),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
    ],
)
def test_what_is_refused_is_told_on_one_line_with_the_remedy(root: Path, sql: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        query(root, sql)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sources_tell_which_file_has_which_content(root: Path) -> None:
    dataset = Dataset.open(root, create=False)
    record = SourceRecord("/videos/copy.mp4", "a", 10, 1, 2.5)
    with dataset.hold("r2"):
        dataset.commit(Commit(run_id="r2", sources=(record,)))
    found = query(
        root,
        "SELECT uris, count(*) FROM scenes JOIN sources USING (source_id) "
        "WHERE list_contains(uris, '/videos/copy.mp4') GROUP BY ALL",
    )
    assert found.rows == [(["/a.mp4", "/videos/copy.mp4"], 2)]


def test_who_speaks_longest_in_a_segment_says_it(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    tables = {
        "transcript": {"text": ["hello", "nobody"], "start_seconds": [0.0, 9.0], "end_seconds": [4.0, 10.0]},
        "speakers": {
            "speaker": ["A", "B", "A"],
            "start_seconds": [0.0, 1.0, 3.5],
            "end_seconds": [1.0, 3.5, 5.0],
        },
    }
    with dataset.hold("r"):
        for name, columns in tables.items():
            rows = pa.table({"source_id": ["x"] * len(columns["start_seconds"]), **columns})
            part = write_part(tmp_path, name, [rows], run_id="r", seed=[name])
            assert part is not None
            dataset.commit(Commit(run_id="r", parts=(part,)))
    assert query(tmp_path, "SELECT text, speaker FROM spoken ORDER BY text").rows == [
        ("hello", "B"),
        ("nobody", None),
    ]
