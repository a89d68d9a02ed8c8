"""The viewer's own table of shots: the rows of the view, kept current, and never in another viewer's way."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.corpus.shots import find_shots
from framemill.cluster.results.commits import Commit, DatasetState, plan_removal
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset, advance_state
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.view import index_plan, shot_index, shot_pages
from framemill.cluster.view.first_pages import files_by_path, shots_by_path
from framemill.cluster.view.index_files import KEPT_DAYS, drop_unused
from framemill.cluster.view.shot_filters import Filter
from framemill.cluster.view.shot_index import ShotIndex
from framemill.cluster.view.shot_pages import ShotPages
from framemill.cluster.view.shot_table import COLUMNS, read_shots
from framemill.errors import DatasetError, UsageError
from tests.cluster.results.hand_made import make_folder
from tests.cluster.results.test_shots import SCENES, box, frame
from tests.cluster.view.folders import SAMPLE, add_rows


@pytest.fixture
def own(folder: Dataset, tmp_path: Path) -> Dataset:
    """A copy of the folder, to be changed."""
    shutil.copytree(str(folder.root), tmp_path / "out")
    return Dataset.open(tmp_path / "out", create=False)


@pytest.fixture
def index(own: Dataset, tmp_path: Path) -> Iterator[ShotIndex]:
    index = ShotIndex(own.root, tmp_path / "cache")
    index.follow(own.state, 60)
    yield index
    index.close()


def kept(index: ShotIndex) -> list[tuple[object, ...]]:
    with index.reading() as cursor:
        return cursor.execute(
            f"SELECT {', '.join(COLUMNS)} FROM shots ORDER BY uri, source_id, scene_index"
        ).fetchall()


def of_view(dataset: Dataset) -> list[tuple[object, ...]]:
    return find_shots(dataset.root, columns=COLUMNS).rows


def sample_of(dataset: Dataset) -> str:
    return next(source for source, uris in uris_by_source(dataset).items() if uris[0].endswith(SAMPLE))


@pytest.mark.parametrize("small", [0, 1_000_000], ids=["other process", "this process"])
def test_rows_are_those_of_the_view_whatever_is_read_at_once(
    own: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(shot_index, "SMALL_ROWS", small)
    monkeypatch.setattr(index_plan, "BATCH_SOURCES", 1 if small else 3)
    index = ShotIndex(own.root, tmp_path / "cache")
    index.follow(own.state, 60)
    try:
        assert index.progress() == {"ready": True, "done": 4, "total": 4}
        assert len(kept(index)) == 9 and kept(index) == of_view(own)
        with index.reading() as cursor:
            for name in ("labels", "people"):
                exploded = cursor.execute(
                    f"SELECT value, count(*) FROM held.{name} GROUP BY 1 ORDER BY 1"
                ).fetchall()
                assert (
                    exploded
                    and exploded
                    == cursor.execute(
                        f"SELECT unnest({name}) AS value, count(*) FROM shots GROUP BY 1 ORDER BY 1"
                    ).fetchall()
                )
    finally:
        index.close()


@pytest.mark.parametrize(
    ("table", "row", "boxes"),
    [
        ("faces", {"face_index": 0, "box": box(1, 2, 3, 4)}, [("face", "face")]),
        ("objects", {"label": "dog", "score": 0.9, "box": box(1, 2, 3, 4)}, [("object", "dog")]),
        (
            "text",
            {"text_index": 0, "text": "EXIT", "polygon": [1.0, 2, 3, 2, 3, 4, 1, 4]},
            [("text", "EXIT")],
        ),
        ("labels", {"rank": 0, "label": "dog", "score": 0.9}, []),
    ],
)
def test_each_of_the_tables_with_boxes_is_enough(
    tmp_path: Path, table: str, row: dict[str, Any], boxes: list[tuple[str, str]]
) -> None:
    tables = {
        "scenes": SCENES,
        "frames": {"a": [frame(50, frame_score=0.9)]},
        table: {"a": [frame(50, **row)]},
    }
    dataset = make_folder(tmp_path / "out", tables)
    index = ShotIndex(dataset.root, tmp_path / "cache")
    index.follow(dataset.state, 60)
    try:
        first = ShotPages(index, "out").shots(Filter(), "file", 0, 10)[1][0]
    finally:
        index.close()
    assert boxes == [(seen["kind"], seen["name"]) for seen in first["boxes"] or ()]


def test_first_pages_are_those_of_the_table(own: Dataset, index: ShotIndex) -> None:
    pages = ShotPages(index, "out")
    for offset in (0, 2, 7, 9):
        assert shots_by_path(own, offset, 4) == pages.shots(Filter(), "file", offset, 4)
    for offset in (0, 3, 4):
        total, files = pages.files(Filter(), offset, 2)
        assert files_by_path(own, offset, 2) == (
            total, [{name: value for name, value in file.items() if name != "file"} for file in files]
        )  # fmt: skip


def test_only_what_changed_is_read_again_and_what_went_is_dropped(
    own: Dataset, index: ShotIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, read = sample_of(own), list[str]()

    def watched(root: ResultPath, state: DatasetState) -> object:
        read.extend(record.source_id for record in state.sources.values())
        return read_shots(root, state)

    monkeypatch.setattr(shot_index, "read_shots", watched)
    spoken = {"start_seconds": 0.0, "end_seconds": 12.0, "speaker": "speaker_0"}
    add_rows(own, "speakers", {sample: [spoken]})
    index.follow(own.state, 60)
    assert read == [sample]
    assert kept(index) == of_view(own) and ["speaker_0"] in [
        row[COLUMNS.index("speakers")] for row in kept(index)
    ]
    with own.hold("forget"):
        removal = plan_removal(own.state, uris_by_source(own)[sample])
        own.commit(Commit(run_id="forget", removed_sources=removal.uris, removed_entries=removal.entries))
    index.follow(own.state, 60)
    assert read == [sample] and len(kept(index)) == 4
    assert sample not in {row[0] for row in kept(index)}


@pytest.mark.slow
def test_a_kept_table_is_used_again_and_a_damaged_one_made_anew(
    own: Dataset, index: ShotIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.close()
    again = ShotIndex(own.root, tmp_path / "cache")
    assert len(kept(again)) == 9
    again.close()
    (file,) = (tmp_path / "cache").glob("*.duckdb")
    for damage in (b"", b"no database", file.read_bytes()[:8192]):
        file.write_bytes(damage)
        mended = ShotIndex(own.root, tmp_path / "cache")
        assert kept(mended) == []
        mended.follow(own.state, 60)
        assert kept(mended) == of_view(own)
        mended.close()
    monkeypatch.setattr(shot_index, "FORMAT", shot_index.FORMAT + 1)
    other = ShotIndex(own.root, tmp_path / "cache")
    assert kept(other) == []
    other.close()


@pytest.mark.parametrize("finder", ["a question", "a condition", "the next commit"])
def test_a_table_that_is_damaged_deep_inside_is_made_anew_once(
    own: Dataset, index: ShotIndex, tmp_path: Path, finder: str
) -> None:
    (file,) = (tmp_path / "cache").glob("*.duckdb")
    index.close()
    whole = file.read_bytes()
    # All but the headers, which are read on opening, and the first blocks, which say what tables there are.
    kept_open = ShotIndex(own.root, tmp_path / "cache")
    try:
        damaged = whole[:12_288] + bytes(len(whole) - 12_288)
        assert len(damaged) == len(whole) and damaged != whole
        with file.open("r+b") as content:
            content.write(damaged)
        if finder == "the next commit":
            add_rows(own, "speakers", {sample_of(own): []})
            add_rows(own, "sounds", {sample_of(own): []})
        elif finder == "a condition":
            with pytest.raises(DatasetError, match="made anew"):
                ShotPages(kept_open, "out").shots(Filter(where="words <> 'x'"), "file", 0, 9)
        else:
            with pytest.raises(DatasetError, match="made anew"):
                kept(kept_open)
        kept_open.follow(own.state, 60)
        assert kept_open.progress() == {"ready": True, "done": 4, "total": 4}
        assert kept(kept_open) == of_view(own)
    finally:
        kept_open.close()
    assert [path.name for path in file.parent.glob("*.duckdb*")] == [file.name]
    again = ShotIndex(own.root, tmp_path / "cache")
    assert again.is_at(own.state) and kept(again) == of_view(own)
    again.close()


def test_tables_that_nobody_looks_at_go_when_a_viewer_opens(
    own: Dataset, index: ShotIndex, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    (mine,) = cache.glob("*.lock")
    old = time.time() - (KEPT_DAYS + 1) * 86_400
    for name in ("old", "new", "open"):
        for ending in ("duckdb", "duckdb.wal", "lock"):
            (cache / f"{name}.{ending}").write_bytes(b"")
    for path in (mine, cache / "old.lock", cache / "open.lock"):
        os.utime(path, (old, old))
    with (cache / "open.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        drop_unused(cache)
        assert {path.stem for path in cache.glob("*.lock")} == {"new", "open", mine.stem}
        assert not list(cache.glob("old.*"))
        assert [len(list(cache.glob(f"{name}.*"))) for name in ("new", "open")] == [3, 3]
    assert kept(index) == of_view(own)
    index.close()
    again = ShotIndex(own.root, cache)
    assert kept(again) == of_view(own) and mine.stat().st_mtime > old + 86_400
    again.close()
    assert not list(cache.glob("open.*"))


def test_two_viewers_of_one_folder_have_a_table_each(own: Dataset, index: ShotIndex, tmp_path: Path) -> None:
    second = ShotIndex(own.root, tmp_path / "cache")
    second.follow(own.state, 60)
    assert kept(second) == kept(index) == of_view(own)
    second.close()
    assert len(list((tmp_path / "cache").glob("*.duckdb"))) == 1


def test_a_table_that_cannot_be_read_is_told(own: Dataset, tmp_path: Path) -> None:
    for part in (Path(str(own.root)) / "scenes").iterdir():
        part.write_bytes(b"damaged")
    index = ShotIndex(own.root, tmp_path / "cache")
    index.follow(own.state, 60)
    try:
        assert not index.progress()["ready"] and "scenes" in index.progress()["problem"]
    finally:
        index.close()


def test_a_condition_that_takes_long_is_ended(index: ShotIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shot_pages, "WHERE_SECONDS", 0.2)
    endless = "(SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b) > 0"
    with pytest.raises(UsageError, match="took longer than"):
        ShotPages(index, "out").shots(Filter(where=endless), "file", 0, 1)
    assert ShotPages(index, "out").shots(Filter(), "file", 0, 1)[0] == 9


def test_a_reader_changes_nothing(index: ShotIndex) -> None:
    with pytest.raises(DatasetError, match="cannot be read"), index.reading() as cursor:
        cursor.execute("DELETE FROM held.shots")
    assert len(kept(index)) == 9


def test_a_state_advances_by_what_was_committed_since(own: Dataset) -> None:
    before = own.state
    assert advance_state(own.root, before) is before
    writer = Dataset.open(own.root, create=False)
    for name in ("sounds", "beats"):
        add_rows(writer, name, {sample_of(own): []})
    after = advance_state(own.root, before)
    assert after == writer.state and after.sequence == before.sequence + 2
    assert ("sounds", sample_of(own)) not in before.entries
    with writer.hold("checkpoint"):
        writer.checkpoint()
    for state in (before, after, DatasetState()):
        assert json.dumps(sorted(advance_state(own.root, state).keys)) == json.dumps(sorted(after.keys))
        assert advance_state(own.root, state) == writer.state
