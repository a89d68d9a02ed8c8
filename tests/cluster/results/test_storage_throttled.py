"""A store that throttles, resets connections and answers late: runs end complete, or say why not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import framemill
from framemill.actors import object_store
from framemill.actors.object_store import RETRIES, open_store, stat_object
from framemill.cluster.run.sources import list_sources
from framemill.errors import UnreadableError
from tests.cluster.extraction import extract
from tests.cluster.results.test_storage_engine import assert_nothing_is_left, tables_at
from tests.object_stores import TROUBLES, Bucket, Request

OPS = ("media", "frames")


@pytest.fixture(autouse=True)
def impatient(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Silence counts after half a second, so that tests need not wait."""
    monkeypatch.setattr(object_store, "SILENT_SECONDS", 0.5)
    open_store.cache_clear()
    yield
    bucket.server.trouble = lambda request: ""
    open_store.cache_clear()


class Script:
    """Something else goes wrong with each request that is made for the first time."""

    def __init__(self) -> None:
        self.seen: Counter[Request] = Counter()
        self.happened: Counter[tuple[str, str]] = Counter()

    def __call__(self, request: Request) -> str:
        method, path, query = request
        self.seen[request] += 1
        if self.seen[request] > 1:
            return ""
        trouble = TROUBLES[len(self.seen) % len(TROUBLES)]
        kind = "commits" if "/commits/" in path else "list" if "list-type" in query else "objects"
        self.happened[trouble, f"{method} {kind}"] += 1
        return trouble


def test_nothing_is_lost_on_a_store_in_trouble(clips: Path, bucket: Bucket, tmp_path: Path) -> None:
    for clip in clips.iterdir():
        bucket.put(f"in/{clip.name}", clip)
    assert extract(clips, out=tmp_path / "out", ops=OPS).exit_code == 0
    script = bucket.server.trouble = Script()
    bucket.server.stall_seconds = 1.0
    out = bucket.uri("out")
    summary = extract(bucket.uri("in"), out=out, ops=OPS)
    bucket.server.trouble = lambda request: ""
    assert (summary.exit_code, summary.files_ok) == (0, len(list(clips.iterdir())))
    assert tables_at(out) == tables_at(tmp_path / "out")
    assert_nothing_is_left(out)
    hit = {trouble for trouble, _ in script.happened}
    assert hit == set(TROUBLES) and {"PUT commits", "GET objects"} <= {kind for _, kind in script.happened}


def test_a_throttled_listing_gives_every_name_once(bucket: Bucket) -> None:
    for number in range(30):
        bucket.put(f"in/{number:02}.mp4", b"x")
    bucket.server.stall_seconds = 1.0
    troubles = list(TROUBLES)

    def trouble(request: Request) -> str:
        return troubles.pop() if "list-type" in request[2] and troubles else ""

    bucket.server.trouble = trouble
    files = list_sources([bucket.uri("in")]).files
    assert not troubles and [Path(file.uri).stem for file in files] == [f"{n:02}" for n in range(30)]


@pytest.mark.slow
def test_waits_grow_and_end(bucket: Bucket) -> None:
    uri = bucket.put("a.mp4", b"x")
    at: list[float] = []

    def trouble(request: Request) -> str:
        at.append(time.monotonic())
        return "slow down"

    bucket.server.trouble = trouble
    with pytest.raises(UnreadableError):
        stat_object(uri)
    waits = [later - before for before, later in pairwise(at)]
    assert len(at) == RETRIES + 1
    assert sum(waits[-3:]) > 2 * sum(waits[:3]) and len({round(wait, 3) for wait in waits}) > RETRIES // 2


@pytest.mark.slow
def test_what_is_throttled_for_good_gets_a_row_and_the_others_finish(clips: Path, bucket: Bucket) -> None:
    for clip in clips.iterdir():
        bucket.put(f"in/{clip.name}", clip)

    def trouble(request: Request) -> str:
        return "slow down" if request[0] == "GET" and request[1].endswith("/in/a.mp4") else ""

    bucket.server.trouble = trouble
    out = bucket.uri("out")
    assert extract(bucket.uri("in"), out=out, ops=OPS).exit_code == 3
    (row,) = framemill.open(out).table("errors").to_pylist()
    said: Any = row["message"]
    assert row["uri"].endswith("/in/a.mp4") and row["status"] == "failed"
    assert "asks for fewer requests (503 SlowDown)" in said and "use fewer workers at once" in said
    assert "the next run tries again" in said
    bucket.server.trouble = lambda request: ""
    again = extract(bucket.uri("in"), out=out, ops=OPS)
    assert (again.exit_code, again.files_computed) == (0, 1)
