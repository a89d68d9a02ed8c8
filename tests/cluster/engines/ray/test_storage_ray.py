"""Ray with sources and results in an object store: the rows of the local engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from framemill.cluster.results.dataset import Dataset
from framemill.errors import SetupError
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import extract, render_clip
from tests.cluster.results.test_storage_engine import assert_nothing_is_left, tables_at
from tests.object_stores import Bucket, Request, S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def cluster(s3_server: S3Server) -> Iterator[None]:
    with small_ray():
        yield


def test_rows_are_those_of_a_local_run(clips: Path, bucket: Bucket, tmp_path: Path) -> None:
    long = render_clip(tmp_path / "long.mkv", seed=7, seconds=9.0)
    for clip in (*clips.iterdir(), long):
        bucket.put(f"in/{clip.name}", clip)
    out = bucket.uri("out")
    for folder in (tmp_path / "out", out):
        Dataset.open(folder, create=True, constants={"shard_seconds": 2.0})
    assert extract(clips, long, out=tmp_path / "out").exit_code == 0
    assert extract_on_ray(bucket.uri("in"), out=out).exit_code == 0
    assert tables_at(out) == tables_at(tmp_path / "out")
    assert_nothing_is_left(out)
    again = extract_on_ray(bucket.uri("in/*"), out=out)
    assert (again.files_cached, again.frames) == (4, 0)


@pytest.mark.slow
def test_storage_that_fails_now_and_then_costs_no_row(clips: Path, bucket: Bucket, tmp_path: Path) -> None:
    """Every request fails the first time, and all of them for two seconds when the first part comes."""
    long = render_clip(tmp_path / "long.mkv", seed=7, seconds=9.0)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0" * 1000)
    for clip in (*clips.iterdir(), long, broken):
        bucket.put(f"in/{clip.name}", clip)
    out = bucket.uri("out")
    for folder in (tmp_path / "out", out):
        Dataset.open(folder, create=True, constants={"shard_seconds": 2.0})
    assert extract(clips, long, broken, out=tmp_path / "out").exit_code == 3
    asked: set[Request] = set()
    refused: list[Request] = []
    away: list[float] = []

    def refuse(request: Request) -> bool:
        method, path, _ = request
        if method == "PUT" and path.endswith(".parquet") and not away:
            away.append(time.monotonic() + 2.0)
        is_away = bool(away) and time.monotonic() < away[0]
        if request in asked and not is_away:
            return False
        asked.add(request)
        refused.append(request)
        return True

    bucket.server.refuse = refuse
    assert extract_on_ray(bucket.uri("in"), out=out).exit_code == 3
    bucket.server.refuse = lambda request: False
    for method, part in (("GET", "/in/"), ("PUT", ".parquet"), ("PUT", "/commits/"), ("PUT", "/partials/")):
        assert any(how == method and part in path for how, path, _ in refused), (method, part)
    assert tables_at(out) == tables_at(tmp_path / "out")
    assert_nothing_is_left(out)
    again = extract_on_ray(bucket.uri("in"), out=out)
    assert (again.files_computed, again.frames) == (0, 0)


def test_workers_that_may_not_write_are_told_of_before_any_work(clips: Path, bucket: Bucket) -> None:
    uri = bucket.put("a.mp4", clips / "a.mp4")
    bucket.server.refuse = lambda request: (
        "403 Forbidden" if request[0] == "PUT" and "/check-" in request[1] and len(request[1]) > 90 else False
    )
    with pytest.raises(SetupError, match="no permission for"):
        extract_on_ray(uri, out=bucket.uri("out"))
