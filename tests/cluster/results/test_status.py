"""The numbers of a result folder."""

from __future__ import annotations

import json

from framemill.cluster.results.commits import Commit, DatasetState, Part
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.status import summarise


def test_an_empty_folder() -> None:
    found = summarise(DatasetState())
    assert found == {
        "sources": 0, "contents": 0, "failed_sources": 0, "partial": {}, "commits": 0,
        "runs": 0, "errors": 0, "num_bytes": 0, "tables": {},
    }  # fmt: skip


def test_counts_sizes_and_hits() -> None:
    state = DatasetState()
    state.apply(
        Commit(
            run_id="r",
            sequence=1,
            entries=(
                Entry("frames", "a", "k", "ok", rows=7),
                Entry("frames", "b", "k", "partial", rows=3),
                Entry("frames", "c", "k", "failed"),
                Entry("speech", "a", "s"),
                Entry("*", "/broken", "", "failed"),
                Entry("*", "/text", "", "unsupported"),
            ),
            sources=tuple(SourceRecord(u, s, 1, 1, 1.0) for u, s in (("/1", "a"), ("/2", "a"), ("/3", "b"))),
            parts=(
                Part("frames", "p", 7, 100, ("a",)),
                Part("frames", "q", 3, 50, ("b",)),
                Part("errors", "e", 3, 10, ("frames /4", "* /broken", "* /text")),
                Part("runs", "r", 2, 5, ("r", "r0")),
            ),
            keys={"frames": {"digest": "k"}, "speech": {"digest": "s"}},
        )
    )
    found = summarise(state, {"frames": 2})
    assert json.loads(json.dumps(found)) == found
    assert {name: found[name] for name in found if name != "tables"} == {
        "sources": 3, "contents": 2, "failed_sources": 2, "partial": {}, "commits": 1,
        "runs": 2, "errors": 3, "num_bytes": 165,
    }  # fmt: skip
    assert found["tables"]["frames"] == {
        "rows": 10, "num_bytes": 150, "num_parts": 2, "key": "k", "cache_hits": 2,
        "ok": 1, "partial": 1, "failed": 1, "quarantined": 0, "unsupported": 0,
    }  # fmt: skip
    assert found["tables"]["speech"]["ok"] == 1 and found["tables"]["speech"]["num_parts"] == 0
    assert list(found["tables"]) == ["errors", "frames", "runs", "speech"]


def test_partial_sources_are_counted_by_kind_and_are_no_failures() -> None:
    partial = {"a": "cut_short", "b": "missing_sound", "c": ""}  # an earlier version did not tell of c
    uris = {"/1": "a", "/2": "a", "/3": "b", "/4": "c", "/5": "d"}
    state = DatasetState()
    state.apply(
        Commit(
            run_id="r",
            sequence=1,
            entries=tuple(Entry("*", owner, "", "partial", kind=kind) for owner, kind in partial.items()),
            sources=tuple(SourceRecord(uri, source_id, 1, 1, 1.0) for uri, source_id in uris.items()),
        )
    )
    found = summarise(state)
    assert found["failed_sources"] == 0
    assert found["partial"] == {"cut_short": 2, "missing_sound": 1, "unknown": 1}
