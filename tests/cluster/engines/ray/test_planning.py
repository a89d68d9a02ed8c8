"""What is decided about a Ray run without a cluster: the pool, the coordinator and the cutting into tasks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from framemill.cluster.engines.ray import opening
from framemill.cluster.engines.ray.coordinator import STOPPED, Coordinator
from framemill.cluster.engines.ray.messages import ActorConfig, Claim, Piece, Source, Task
from framemill.cluster.engines.ray.opening import TASK_PIECES, open_sources
from framemill.cluster.engines.ray.packing import pack
from framemill.cluster.engines.ray.pools import plan_pool
from framemill.cluster.engines.ray.stalls import StallWatch, describe_missing
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.run.messages import Failure, WorkerConfig, decode
from framemill.cluster.run.planning import plan_ops
from framemill.cluster.run.sources import uri_of
from framemill.errors import SetupError, UsageError
from tests.cluster.extraction import OPS, render_clip


def pool(cpus: float, gpus: float = 0.0, nodes: int = 1, **asked: Any) -> tuple[dict[str, int], float, int]:
    request = ExtractRequest(sources=("x",), output="out", **asked)
    planned = plan_pool(request, [{"CPU": cpus / nodes, "GPU": gpus / nodes}] * nodes)
    return dict(planned.size), planned.cpus, planned.calls


@pytest.mark.parametrize(
    ("cpus", "gpus", "asked", "expected"),
    [
        (4, 0, {}, ({"size": 1}, 2.0, 2)),
        (16, 0, {}, ({"size": 3}, 4.0, 4)),
        (16, 0, {"actor_cpus": 1.0}, ({"size": 15}, 1.0, 2)),
        (16, 0, {"actors": "2"}, ({"size": 2}, 4.0, 4)),
        (16, 0, {"actors": "1-64", "actor_cpus": 2.0}, ({"min_size": 1, "max_size": 64}, 2.0, 2)),
        (64, 2, {"actor_gpus": 0.5}, ({"size": 4}, 15.0, 15)),
        (32, 0, {"actor_cpus": 3.0, "nodes": 4}, ({"size": 8}, 3.0, 3)),
        (1, 0, {}, ({"size": 1}, 1.0, 2)),
        (6, 0, {"actors": "6", "actor_cpus": 1.0, "nodes": 3}, ({"size": 6}, 1.0, 2)),
    ],
)
def test_the_pool_leaves_a_cpu_free_unless_told_otherwise(
    cpus: float, gpus: float, asked: dict[str, Any], expected: tuple[dict[str, int], float, int]
) -> None:
    size, actor_cpus, calls = pool(cpus, gpus, **asked)
    assert (size, actor_cpus, calls) == expected
    held = size.get("size", size.get("min_size", 0)) * actor_cpus
    assert held <= (cpus if "actors" in asked or cpus == 1 else cpus - 1)


@pytest.mark.parametrize(
    ("cpus", "gpus", "asked", "said"),
    [
        (4, 0, {"actor_gpus": 1.0}, "1 GPUs, and the cluster has 0"),
        (64, 1, {"actor_gpus": 1.0, "actors": "2"}, "at most 1"),
        (4, 0, {"actors": "9"}, "9 actors of 2 CPUs do not fit the cluster's 4 CPUs"),
        (4, 0, {"actor_cpus": 8.0}, "do not fit"),
        (0, 0, {}, "do not fit the cluster's 0 CPUs on 1 nodes"),
        (16, 0, {"actor_cpus": 4.0, "nodes": 8}, "16 CPUs on 8 nodes"),
    ],
)
def test_a_pool_that_would_wait_for_ever_is_refused(
    cpus: float, gpus: float, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(SetupError, match=said):
        pool(cpus, gpus, **asked)


@pytest.mark.parametrize("actors", ["no", "0", "3-2", "1-", "-1", "1-2-3"])
def test_a_number_of_actors_that_is_none(actors: str) -> None:
    if actors == "1-":  # no upper end: as many as the lower
        assert pool(16, actors=actors)[0] == {"size": 1}
        return
    with pytest.raises(UsageError, match=f"`actors={actors!r}`"):
        pool(16, actors=actors)


def coordinator(
    entries: dict[tuple[str, str], Entry] | None = None,
    retry_failed: bool = False,
    ops: tuple[str, ...] = OPS,
    sources: Sequence[SourceRecord] = (),
) -> Coordinator:
    plan = plan_ops(ExtractRequest(sources=("x",), output="out", ops=ops), 600.0)
    state = DatasetState()
    for at, entry in (entries or {}).items():
        state.entries[at] = replace(entry, key=str(plan.ops[entry.table].key["digest"]))
    state.sources.update((record.uri, record) for record in sources)
    return Coordinator(state, plan, retry_failed, num_sources=3)


def test_content_belongs_to_the_first_who_claims_it() -> None:
    book = coordinator()
    assert book.claim("a", "content") == Claim(ops=("scenes", "frames", "audio_levels"))
    assert book.claim("b", "content") is None
    assert book.claim("a", "content") is not None, "the same one again, after a retry"


def test_a_claim_names_what_is_missing_alone() -> None:
    entries = {
        ("scenes", "content"): Entry("scenes", "content", "key", "ok"),
        ("frames", "content"): Entry("frames", "content", "key", "failed"),
        ("audio_levels", "content"): Entry("audio_levels", "content", "key", "failed", True),
    }
    assert coordinator(entries).claim("a", "content") == Claim(ops=("audio_levels",))
    again = coordinator(entries, retry_failed=True).claim("a", "content")
    assert again == Claim(ops=("frames", "audio_levels"))


def test_what_needs_a_track_that_gives_nothing_is_not_claimed() -> None:
    ops = ("frames", "audio_levels", "silences")
    assert coordinator(ops=ops).claim("a", "content", {"audio_levels"}) == Claim(ops=("frames",))
    assert coordinator(ops=ops).claim("a", "content", {"frames"}) == Claim(ops=("audio_levels", "silences"))


def test_a_claim_tells_the_length_that_an_earlier_run_decoded() -> None:
    media = Entry("media", "a", "key", "ok")
    book = coordinator({("media", "a"): media}, sources=[SourceRecord("a", "content", 10, 20, 7.5)])
    claim = book.claim("a", "content")
    assert claim is not None and claim.duration_seconds == 7.5
    other = coordinator({("media", "a"): media}, sources=[SourceRecord("a", "another", 10, 20, 7.5)])
    changed = other.claim("a", "content")
    assert changed is not None and changed.duration_seconds is None


def test_others_are_left_until_each_source_is_long_or_through() -> None:
    book = coordinator()  # of three sources
    assert book.others_left("long") and book.others_left("long")
    book.finish("task", ["short"])
    assert book.others_left("long")
    assert not book.others_left("longer")


def test_the_coordinator_counts_what_was_not_finished() -> None:
    book = coordinator()
    assert [book.start("task"), book.start("task")] == [0, 1]
    book.finish("task")
    assert book.start("task") == 0
    book.stop()
    assert book.start("another") == STOPPED


def test_the_coordinator_names_actors_that_are_late() -> None:
    book = coordinator()
    for name in ("quick", "slow"):
        book.register(name, f"handle of {name}".encode())
    book.start("short", "quick", 3600.0)
    book.start("long", "slow", -1.0)
    assert book.watch() == (1, [b"handle of slow"])
    assert book.watch() == (1, []), "an actor is killed once for it"
    book.start("open", "", 3600.0)
    book.start("merge", "", -1.0)
    assert book.watch() == (2, []), "tasks of no actor end by themselves"
    assert sorted(book.stop()) == [b"handle of quick", b"handle of slow"]


def test_what_a_lost_actor_held_is_not_at_work() -> None:
    book = coordinator()
    for name, node in (("here", "node a"), ("there", "node b"), ("dies", "node a")):
        book.register(name, f"handle of {name}".encode(), node)
        book.start(f"task of {name}", name, 3600.0)
    assert book.watch(["node a", "node b"])[0] == 3
    assert book.watch(["node a"])[0] == 2 and book.count_actors(["node a"]) == 2
    book.register("dies", b"handle of dies", "node a")
    assert book.watch(["node a"])[0] == 1, "it begins anew, and its task with it"
    assert book.start("task of there", "here", 3600.0) == 1, "but that it was begun is remembered"


def test_the_coordinator_keeps_the_first_reason_to_give_up() -> None:
    book = coordinator()
    assert book.failure() is None
    book.give_up(Failure(error="SetupError", message="no credentials"))
    book.give_up(Failure(error="RayError", message="the coordinator is gone"))
    assert book.failure() == Failure(error="SetupError", message="no credentials")


def test_a_stall_is_told_only_while_nobody_works() -> None:
    assert StallWatch(seconds=3600.0).waited(0) == 0
    busy = StallWatch(seconds=1e-9)
    assert busy.waited(3) < 0.05
    watch = StallWatch(seconds=0.05)
    time.sleep(0.06)
    assert watch.waited(0) >= 0.05
    assert watch.waited(0) == 0, "told once"
    time.sleep(0.06)
    assert watch.waited(0) >= 0.12 and watch.idle_seconds >= 0.12, "the whole stretch is told"
    time.sleep(0.06)
    watch.note()
    assert watch.waited(0) == 0 and watch.idle_seconds < 0.05


def test_a_stall_names_what_is_missing_and_whether_a_node_has_it() -> None:
    wanted = plan_pool(ExtractRequest(sources=("x",), output="out", actors="2"), [{"CPU": 8}, {"CPU": 8}])
    left = describe_missing(wanted, 1, [{"CPU": 8}])
    assert left.startswith("Of at least 2 actors 1 are there; each of the others waits for 4 CPUs")
    assert left.endswith("which nodes have but others hold")
    gone = describe_missing(wanted, 0, [{"CPU": 2}, {"CPU": 2}, {"CPU": 1, "GPU": 1}])
    assert gone.endswith("no node has left (nodes: 2 of 2 CPUs and 0 GPUs, 1 of 1 CPUs and 1 GPUs)")
    assert describe_missing(wanted, 0, []).endswith("(nodes: none)")
    assert "All 2 actors are there and idle" in describe_missing(wanted, 2, [{"CPU": 8}])


class _Direct:
    """Calls an object as if it were an actor."""

    def __init__(self, target: object) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._target, name)
        return type("Remote", (), {"remote": staticmethod(method)})


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[list[Piece]]]]:
    """Cuts files into tasks, each the list of its pieces."""
    monkeypatch.setattr(opening.ray, "get", lambda answer: answer)

    def cut(*paths: Path, book: Coordinator | None = None, shard_seconds: float = 600.0) -> list[list[Piece]]:
        worker = WorkerConfig(
            root=str(tmp_path), run_id="run", keys={}, options={}, after={}, shard_seconds=shard_seconds,
            models={}, sampling="keyframes", threads=1,
        )  # fmt: skip
        config = ActorConfig(worker=worker, stages=(), gpus=0, deadline_seconds=60.0, deadline_factor=60.0)
        sources = [Source(uri=uri_of(p.name), path=os.fsencode(p), num_bytes=1, mtime_ns=0) for p in paths]
        made = open_sources(pack(sources), config=config, coordinator=_Direct(book or coordinator()))
        return [list(decode(task, Task).pieces) for table in made for task in table["task"].to_pylist()]

    yield cut


def test_short_files_share_a_task(tasks: Callable[..., list[list[Piece]]], tmp_path: Path) -> None:
    clip = render_clip(tmp_path / "0.mp4", seed=1, seconds=1.0)
    files = [clip]
    for number in range(1, TASK_PIECES // 2):
        files.append(tmp_path / f"{number}.mp4")
        files[-1].write_bytes(clip.read_bytes() + b"\0\0\0\x08free" * number)
    cut = tasks(*files)
    assert [len(pieces) for pieces in cut] == [30, 2], "30 seconds of media a task"
    assert [piece.source.uri for pieces in cut for piece in pieces] == [file.name for file in files]


def test_a_long_file_that_is_not_cut_has_a_task_of_its_own(
    tasks: Callable[..., list[list[Piece]]], tmp_path: Path
) -> None:
    short = render_clip(tmp_path / "short.mp4", seed=2, seconds=1.0)
    long = render_clip(tmp_path / "long.flac", seed=1, seconds=5.0, with_picture=False)
    other = render_clip(tmp_path / "other.mp4", seed=3, seconds=1.0)
    cut = tasks(short, long, other, shard_seconds=2.0)
    assert [[piece.source.uri for piece in pieces] for pieces in cut] == [
        ["long.flac"], ["short.mp4", "other.mp4"]
    ]  # fmt: skip


def _num_shards(piece: Piece) -> int:
    assert piece.opened is not None
    return len(piece.opened.shards)


def test_shards_suspects_copies_and_bad_files(
    tasks: Callable[..., list[list[Piece]]], tmp_path: Path
) -> None:
    long = render_clip(tmp_path / "long.mp4", seed=1, seconds=5.0)
    short = render_clip(tmp_path / "short.mp4", seed=2, seconds=1.0)
    copy, bad = tmp_path / "copy.mp4", tmp_path / "bad.mp4"
    copy.write_bytes(short.read_bytes())
    bad.write_bytes(b"no video")
    deadly = render_clip(tmp_path / "deadly.mp4", seed=3, seconds=1.0)
    book = coordinator()
    book.start("open deadly.mp4")  # a worker died over it
    cut = tasks(long, short, copy, bad, deadly, book=book, shard_seconds=2.0)
    assert [[piece.source.uri for piece in pieces] for pieces in cut] == [
        *[["long.mp4"]] * _num_shards(cut[0][0]), ["deadly.mp4"], ["short.mp4", "copy.mp4", "bad.mp4"]
    ]  # fmt: skip
    assert [pieces[0].shard_index for pieces in cut[:-2]] == list(range(len(cut) - 2))
    assert cut[-2][0].is_suspect and cut[-2][0].opened is None
    first, second, third = cut[-1]
    assert first.claim.ops and not second.claim.ops and second.is_copy and second.shard is None
    assert third.opened is not None and third.opened.failed is not None
    assert third.opened.failed.status == "failed" and third.shard is None
    book.stop()
    assert tasks(long, book=book) == []


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_a_name_that_is_no_text_travels(tasks: Callable[..., list[list[Piece]]], tmp_path: Path) -> None:
    clip = render_clip(tmp_path / "clip.mp4", seed=1, seconds=1.0)
    ((piece,),) = tasks(clip.rename(tmp_path / "a\udcff.mp4"))
    assert piece.source.uri == "a\\xff.mp4" and piece.claim.ops
    assert piece.description is not None and piece.description.uri == piece.source.uri


def test_the_coordinator_remembers_whose_content_it_was() -> None:
    book = coordinator()
    book.claim("a", "content")
    book.claim("b", "content")
    assert (book.content_of("a"), book.content_of("b")) == ("content", "")
