"""The main job with sources and results in a real S3-compatible store: the rows of a local run."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import framemill
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import open_root
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.extraction import OPS, command, extract, render_clip
from tests.object_stores import Bucket

Tables = Mapping[str, list[dict[str, Any]]]


def tables_at(out: str | Path) -> Tables:
    """Every table but `runs`; files are called by their names, since addresses and content ids differ."""
    results = framemill.open(out)
    named = {row[0]: Path(row[1]).name for row in results.sql("SELECT source_id, uri FROM sources").rows}
    tables = {}
    for name in set(results.tables()) - {"runs"}:
        rows = results.table(name).to_pylist()
        for row in rows:
            row["source_id"] = named.get(row["source_id"], row["source_id"])
            if "uri" in row:
                row["uri"] = Path(row["uri"]).name
        tables[name] = sorted(rows, key=repr)
    return tables


def assert_nothing_is_left(out: str) -> None:
    """No part, partial or lease of a run that is over."""
    root = open_root(out)
    assert isinstance(root, RemotePath)
    state = framemill.open(out)._dataset.state
    there = {name for name, _, _ in root.list_inside()}
    parts = {f"{table}/{name}" for table, name in state.parts}
    assert {name for name in there if not name.startswith("_framemill/")} == parts
    rest = {name for name in there - parts if "/commits/" not in name and "/lease/" not in name}
    assert rest == {"_framemill/dataset.json"}


@pytest.fixture
def sources(clips: Path, bucket: Bucket) -> str:
    """The clips as objects, among others that are no media."""
    for clip in clips.iterdir():
        bucket.put(f"in/deep/{clip.name}", clip)
    bucket.put("in/notes.txt", b"no media")
    bucket.put("in/broken.mp4", b"\0" * 1000)
    return bucket.uri("in")


@pytest.fixture(scope="module")
def expected(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """What a local run gives."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "broken.mp4").write_bytes(b"\0" * 1000)
    assert extract(clips, folder / "broken.mp4", out=folder / "out").exit_code == 3
    return tables_at(folder / "out")


def test_rows_are_those_of_a_local_run(
    sources: str, bucket: Bucket, expected: Tables, tmp_path: Path
) -> None:
    out = bucket.uri("out")
    summary = extract(sources, out=out)
    assert (summary.files_total, summary.files_skipped, summary.exit_code) == (4, 1, 3)
    assert summary.output == out
    assert tables_at(out) == expected
    assert_nothing_is_left(out)
    keys, asked = bucket.keys("out/"), len(bucket.server.requests)
    again = extract(sources, out=out)
    assert (again.files_computed, again.files_cached, again.frames, again.exit_code) == (0, 4, 0, 3)
    assert len(bucket.server.requests) - asked < 40
    assert [key for key in bucket.keys("out/") if key.endswith(".parquet")] == [
        key for key in keys if key.endswith(".parquet")
    ]
    # From objects to a folder, and into the same folder by another name.
    assert extract(f"{sources}/", out=tmp_path / "out").exit_code == 3
    assert tables_at(tmp_path / "out") == expected


def test_from_files_to_a_bucket(clips: Path, bucket: Bucket, expected: Tables) -> None:
    out = bucket.uri("some/where/out")
    assert extract(clips, out=out, ops=("media",)).exit_code == 0
    assert extract(clips, out=out).exit_code == 0
    found = tables_at(out)
    for name in OPS:
        assert found[name] == [row for row in expected[name] if row.get("uri") != "broken.mp4"], name


def test_a_divided_source_leaves_its_pieces_in_the_bucket_until_it_is_merged(
    bucket: Bucket, tmp_path: Path
) -> None:
    long = render_clip(tmp_path / "long.mp4", seed=9, seconds=9.0)
    extract(long, out=divided(tmp_path / "out", 2.0), sample="every:1")
    out, uri = bucket.uri("out"), bucket.put("long.mp4", long)
    Dataset.open(out, create=True, constants={"shard_seconds": 2.0})
    assert extract(uri, out=out, sample="every:1").exit_code == 0
    assert tables_at(out) == tables_at(tmp_path / "out")
    assert any("/partials/" in path for _, path, _ in bucket.server.requests)
    assert_nothing_is_left(out)


def test_an_object_that_is_written_again_is_computed_again(clips: Path, bucket: Bucket) -> None:
    uri, out = bucket.put("a.mp4", clips / "a.mp4"), bucket.uri("out")
    assert extract(uri, out=out).files_computed == 1
    bucket.put("a.mp4", clips / "b.mp4")
    assert extract(uri, out=out).files_computed == 1
    found = tables_at(out)
    assert [(row["uri"], row["num_bytes"]) for row in found["media"]] == [
        ("a.mp4", (clips / "b.mp4").stat().st_size)
    ]
    assert_nothing_is_left(out)
    # A copy has an address of its own, and so has its content.
    copy = bucket.put("copy.mp4", clips / "b.mp4")
    assert extract(copy, out=out).files_computed == 1
    assert len({row["source_id"] for row in framemill.open(out).table("frames").to_pylist()}) == 2


def test_what_the_output_holds_is_no_source(clips: Path, bucket: Bucket) -> None:
    bucket.put("a.mp4", clips / "a.mp4")
    bucket.put("out/inside.mp4", clips / "b.mp4")
    bucket.put("output.mp4", clips / "b.mp4")
    assert extract(bucket.uri(), out=bucket.uri("out")).files_total == 2


def test_storage_that_fails_now_and_then_costs_no_row(sources: str, bucket: Bucket, expected: Tables) -> None:
    dice = random.Random(3)
    bucket.server.refuse = lambda request: dice.random() < 0.15
    assert extract(sources, out=bucket.uri("out")).exit_code == 3
    bucket.server.refuse = lambda request: False
    assert tables_at(bucket.uri("out")) == expected


def test_an_object_that_cannot_be_had_is_tried_again_by_the_next_run(
    sources: str, bucket: Bucket, expected: Tables
) -> None:
    bucket.server.refuse = lambda request: (
        "403 Forbidden" if request[0] == "GET" and request[1].endswith("/a.mp4") else False
    )
    out = bucket.uri("out")
    absent = bucket.uri("in/absent.mp4")
    assert extract(sources, absent, out=out).exit_code == 3
    rows = {Path(row["uri"]).name: row for row in framemill.open(out).table("errors").to_pylist()}
    assert rows.keys() == {"a.mp4", "absent.mp4", "broken.mp4"}
    assert (rows["a.mp4"]["status"], rows["a.mp4"]["error"]) == ("failed", "UnreadableError")
    assert "no permission" in rows["a.mp4"]["message"] and "next run tries again" in rows["a.mp4"]["message"]
    assert "nothing is there" in rows["absent.mp4"]["message"]
    bucket.server.refuse = lambda request: False
    assert extract(sources, out=out).files_computed == 1
    found = dict(tables_at(out))
    found["errors"] = [row for row in found["errors"] if row["uri"] != "absent.mp4"]
    assert found == expected


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_gives_the_same(
    sources: str, bucket: Bucket, expected: Tables
) -> None:
    moments = random.Random(5)
    for number in range(4):
        out = bucket.uri(f"out{number}")
        for _ in range(2):
            before = len(bucket.server.requests)
            process = command(sources, "-o", out)
            most = moments.randrange(5, 60)
            until = time.monotonic() + 20
            while process.poll() is None and len(bucket.server.requests) - before < most:
                assert time.monotonic() < until
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
        assert extract(sources, out=out).exit_code == 3
        assert tables_at(out) == expected
        assert_nothing_is_left(out)


@pytest.mark.slow
def test_two_jobs_at_once_end_with_each_row_once(sources: str, bucket: Bucket, expected: Tables) -> None:
    out = bucket.uri("out")
    jobs = [command(sources, "-o", out) for _ in range(2)]
    for job in jobs:
        _, err = job.communicate(timeout=120)
        assert job.returncode == 3, err
    assert tables_at(out) == expected
    assert_nothing_is_left(out)
    assert framemill.open(out).sql("SELECT count(*) FROM runs").rows == [(1,)]


@pytest.mark.slow
def test_parts_travel_while_the_next_files_are_worked_on(
    clips: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each upload of a part takes a second here; several commits of it are not added to the run."""
    monkeypatch.setattr("framemill.cluster.engines.run.COMMIT_SECONDS", 0.0)
    monkeypatch.setattr("framemill.cluster.engines.local.run.LocalRun.most_sources", 1)
    uploads: list[float] = []

    def slowly(request: Any) -> bool:
        if request[0] == "PUT" and "/media/" in request[1]:
            uploads.append(time.monotonic())
            time.sleep(1.0)
            return False
        if request[0] == "GET" and request[1].endswith(".mp4"):
            reads.append(time.monotonic())
        return False

    reads: list[float] = []
    for number in range(6):
        bucket.put(f"in/{number}.mp4", clips / "b.mp4")
    bucket.server.refuse = slowly
    assert extract(bucket.uri("in"), out=bucket.uri("out"), threads=1).exit_code == 0
    assert any(uploads[0] < at < uploads[0] + 0.9 for at in reads)
