"""Opening, committing and refusing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from framemill.cluster.results import dataset as dataset_module
from framemill.cluster.results import layout
from framemill.cluster.results.commits import (
    Commit,
    DatasetState,
    Part,
    commit_from_json,
    commit_to_json,
    error_owner,
    new_run_id,
    plan_removal,
)
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import write_part
from framemill.errors import DatasetError, UsageError
from tests.cluster.results.dataset_models import assert_holds, one_part, put, rows_of


def test_a_new_folder_becomes_a_dataset(tmp_path: Path) -> None:
    made = Dataset.open(tmp_path / "a" / "out", create=True, constants={"shard_seconds": 30.0})
    again = Dataset.open(made.root, create=True)
    assert (again.constants, again.state.sequence) == ({"shard_seconds": 30.0}, 0)
    assert Dataset.open(made.root, create=False).root == made.root


def test_a_relative_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Dataset.open("out", create=True).root == tmp_path / "out"


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        Dataset.open(tmp_path / "out", create=True)
    with pytest.raises(UsageError, match="cannot be made"):
        Dataset.open(tmp_path / "out" / "below", create=True)
    assert (tmp_path / "out").read_text() == "mine"


def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    for root in (tmp_path / "out", tmp_path):
        with pytest.raises(UsageError, match="holds no results"):
            Dataset.open(root, create=False)
    assert list(tmp_path.iterdir()) == []


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    Dataset.open(tmp_path, create=True)  # other things may lie beside the tables
    foreign = tmp_path / "foreign"
    (foreign / "frames").mkdir(parents=True)
    with pytest.raises(UsageError, match="not made by framemill, and its frames"):
        Dataset.open(foreign, create=True)
    assert os.listdir(foreign) == ["frames"]


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    root = Dataset.open(tmp_path / "out", create=True).root
    layout.dataset_file(root).write_text(json.dumps({"format_version": 99, "shape": "unknown"}))
    with pytest.raises(UsageError, match=r"format 99; this one knows up to 1.*install the newer one"):
        Dataset.open(root, create=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": "x"}'])
def test_a_damaged_marker_is_told(tmp_path: Path, text: str) -> None:
    root = Dataset.open(tmp_path / "out", create=True).root
    layout.dataset_file(root).write_text(text)
    with pytest.raises(DatasetError, match=r"dataset\.json is damaged"):
        Dataset.open(root, create=True)


def test_a_lost_marker_is_not_made_anew_over_a_log(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1})
    layout.dataset_file(tmp_path).unlink()
    with pytest.raises(UsageError, match="missing beside a commit log"):
        Dataset.open(tmp_path, create=True)


def test_a_missing_or_damaged_commit_is_named(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        for revision in range(3):
            put(dataset, "r", "scenes", {"a": revision})
    second = layout.commit_file(tmp_path, 2)
    content = second.read_bytes()
    second.write_bytes(content[:40])
    with pytest.raises(DatasetError, match=r"0000000002\.json is damaged"):
        dataset.reload()
    second.unlink()
    with pytest.raises(DatasetError, match="commit 2 is missing"):
        dataset.reload()
    second.write_bytes(content)
    dataset.reload()
    assert_holds(dataset, {"scenes": {"a": 2}})


def test_a_commit_survives_json() -> None:
    commit = Commit(
        run_id="r",
        sequence=7,
        entries=(Entry("frames", "a", "k", "failed", True, 3, 4),),
        sources=(SourceRecord("/ä b.mp4", "a", 1, 2**60, 0.5),),
        parts=(Part("frames", "part-r-1.parquet", 1, 2, ("a", "b")),),
        removed_parts=(("frames", "x"),),
        removed_entries=(("frames", "b"),),
        removed_sources=("/b",),
        keys={"frames": {"digest": "k", "options": {"images": True}}},
        used={"a": 1.25},
    )
    assert commit_from_json(commit_to_json(commit), "x") == commit


def test_state_folds_removals_before_additions() -> None:
    state = DatasetState()
    state.apply(
        Commit(run_id="r", sequence=1, entries=(Entry("t", "a", "1"),), parts=(Part("t", "p", 1, 1, ("a",)),))
    )
    state.apply(
        Commit(
            run_id="r",
            sequence=2,
            removed_entries=(("t", "a"),),
            removed_parts=(("t", "p"),),
            entries=(Entry("t", "a", "2"),),
            parts=(Part("t", "q", 1, 1, ("a",)),),
        )
    )
    assert state.entries["t", "a"].key == "2"
    assert list(state.parts) == [("t", "q")]
    again = DatasetState()
    again.apply(state.as_commit("c"))
    assert again == state


def test_last_use_is_remembered() -> None:
    state = DatasetState()
    source = SourceRecord("/a", "a", 1, 1, 1.0)
    state.apply(Commit(run_id="r", sequence=1, created_at=10.0, sources=(source,)))
    state.apply(Commit(run_id="r", sequence=2, created_at=20.0, entries=(Entry("frames", "a", "k"),)))
    assert state.last_used == {"a": 20.0}
    state.apply(Commit(run_id="r", sequence=3, created_at=99.0, used={"a": 30.0}))
    assert state.last_used == {"a": 30.0}


def test_forgetting_a_uri_keeps_contents_that_another_has() -> None:
    state = DatasetState()
    state.apply(
        Commit(
            run_id="r",
            sequence=1,
            sources=tuple(SourceRecord(u, s, 1, 1, 1.0) for u, s in (("/1", "a"), ("/2", "a"), ("/3", "b"))),
            entries=(
                *(Entry("media", uri, "k") for uri in ("/1", "/2", "/3")),
                Entry("frames", "a", "k"),
                Entry("frames", "b", "k"),
                Entry("*", "/3", "k", "failed"),
            ),
            parts=(Part("errors", "e", 2, 1, (error_owner("frames", "/3"), error_owner("frames", "/33"))),),
        )
    )
    removal = plan_removal(state, ["/1", "/3"])
    assert removal.uris == ("/1", "/3")
    assert removal.drops == {
        "media": {"/1", "/3"},
        "frames": {"b"},
        "errors": {error_owner("frames", "/3")},
    }
    assert set(removal.entries) == {("media", "/1"), ("media", "/3"), ("frames", "b"), ("*", "/3")}


def test_plan_drop_names_parts_and_owners() -> None:
    state = DatasetState()
    parts = (Part("t", "p", 1, 1, ("a", "b")), Part("t", "q", 1, 1, ("c",)), Part("u", "p", 1, 1, ("a",)))
    state.apply(Commit(run_id="r", sequence=1, parts=parts))
    assert state.plan_drop("t", ["a", "z"]) == [(parts[0], frozenset({"a"}))]
    assert state.plan_drop("t", []) == []


def test_commits_need_the_lease(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with pytest.raises(DatasetError, match="not held"):
        dataset.commit(Commit(run_id="r"))
    with dataset.hold("r"), pytest.raises(DatasetError, match="already"), dataset.hold("r"):
        pass


def test_commits_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1})
        live = one_part(dataset, "scenes")
        with pytest.raises(DatasetError, match="committed already"):
            dataset.commit(Commit(run_id="r", parts=(live,)))
        with pytest.raises(DatasetError, match="-1: no file"):
            dataset.commit(Commit(run_id="r", parts=(Part("scenes", "part-none.parquet", 1, 1, ("b",)),)))
        with pytest.raises(DatasetError, match="not there"):
            dataset.commit(Commit(run_id="r", removed_parts=(("scenes", "part-none.parquet"),)))
        assert_holds(dataset, {"scenes": {"a": 1}})


def test_hidden_parts_escape_every_glob(tmp_path: Path) -> None:
    import duckdb
    import pyarrow.dataset as arrow

    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1})
        assert write_part(tmp_path, "scenes", [rows_of("b", 5)], run_id="r", seed=["b"]) is not None
        layout.hidden_path(tmp_path, "scenes", "part-torn.parquet").write_text("torn")
        pattern = str(tmp_path / "scenes" / "*.parquet")
        assert duckdb.execute("SELECT count(*) FROM read_parquet(?)", [pattern]).fetchall() == [(2,)]
        assert duckdb.execute(
            "SELECT count(*) FROM glob(?)", [str(tmp_path / "**" / "*.parquet")]
        ).fetchone() == (1,)
        assert arrow.dataset(tmp_path / "scenes").count_rows() == 2
        assert dataset.recover().deleted == 2
        assert_holds(dataset, {"scenes": {"a": 1}})


def test_foreign_files_in_a_table_are_kept(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1})
    (tmp_path / "scenes" / "mine.parquet").write_text("x")
    (tmp_path / "scenes" / "part-stray.parquet").write_text("x")
    with dataset.hold("r2") as found:
        assert (found.published, found.deleted, found.lost) == (0, 1, ())
    assert (tmp_path / "scenes" / "mine.parquet").exists()


def test_a_lost_part_is_forgotten_so_that_it_is_computed_again(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1, "b": 2})
        put(dataset, "r", "scenes", {"c": 3})
    lost = dataset.state.plan_drop("scenes", ["a"])[0][0]
    (tmp_path / "scenes" / lost.name).unlink()
    with dataset.hold("r2") as found:
        assert found.lost == (lost,)
        assert_holds(dataset, {"scenes": {"c": 3}})


def test_an_operation_without_rows_has_an_entry_and_no_part(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    assert write_part(tmp_path, "scenes", [rows_of("a", 1)[:0]], run_id="r", seed=["a"]) is None
    with dataset.hold("r"):
        dataset.commit(Commit(run_id="r", entries=(Entry("scenes", "a", "k"),)))
    assert Dataset.open(tmp_path, create=False).state.entries["scenes", "a"].rows == 0


@pytest.mark.parametrize("call", ["fsync", "link", "rename", "unlink"])
def test_a_full_disk_leaves_a_valid_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1, "b": 1})
        with monkeypatch.context() as patch:

            def full(*args: object, **kwargs: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(os, call, full)
            with pytest.raises(DatasetError, match=r"no space left while .*: free some space") as caught:
                put(dataset, "r", "scenes", {"a": 5})
            assert str(tmp_path) in str(caught.value)
    with dataset.hold("r2"):
        revision = dataset.state.entries["scenes", "a"].rows - 1
        assert revision == (1 if call in ("fsync", "link") else 5)
        assert_holds(dataset, {"scenes": {"a": revision, "b": 1}})
        put(dataset, "r2", "scenes", {"a": 7})
        assert_holds(dataset, {"scenes": {"a": 7, "b": 1}})


def test_a_real_full_disk(tmp_path: Path) -> None:
    rows = pa.table({"source_id": ["a"], "value": [b"x" * 10_000]})
    folder = tmp_path / "frames"
    folder.mkdir()
    layout.hidden_path(tmp_path, "frames", "x").parent.mkdir(exist_ok=True)
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    from framemill.cluster.results.parts import part_name

    layout.hidden_path(tmp_path, "frames", part_name("r", ["a"])).symlink_to("/dev/full")
    with pytest.raises(DatasetError, match=r"no space left while writing"):
        write_part(tmp_path, "frames", [rows], run_id="r", seed=["a"])
    assert list(folder.iterdir()) == []


def test_the_log_is_folded_while_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "CHECKPOINT_AFTER", 4)
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        for number in range(10):
            dataset.commit(Commit(run_id="r", entries=(Entry("scenes", f"s{number}", "k"),)))
            assert Dataset.open(tmp_path, create=False).state == dataset.state
    names = sorted(os.listdir(layout.commits_folder(tmp_path)))
    assert names == [
        "0000000008.checkpoint.json",
        "0000000008.json",
        "0000000009.json",
        "0000000010.json",
    ]


def test_a_reader_survives_a_log_that_is_folded_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset.open(tmp_path, create=True)
    with dataset.hold("r"):
        for number in range(5):
            dataset.commit(Commit(run_id="r", entries=(Entry("scenes", f"s{number}", "k"),)))
        stale = os.listdir(layout.commits_folder(tmp_path))
        dataset.checkpoint()
        listings = [stale, [name for name in stale if "5" in name]]  # before; while files went
        real = os.listdir
        monkeypatch.setattr(os, "listdir", lambda path: listings.pop(0) if listings else real(path))
        assert dataset_module.load_state(tmp_path)[0].sequence == 5
        assert not listings


def test_run_ids_sort_by_time_and_differ() -> None:
    ids = [new_run_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert [i[:15] for i in ids] == sorted(i[:15] for i in ids)


def test_the_supervisor_side_imports_nothing_heavy() -> None:
    code = (
        "import sys, framemill.cluster.results.dataset, framemill.cluster.results.status\n"
        "import framemill.cluster.results.lease, framemill.cluster.results.commits\n"
        "print([m for m in ('numpy', 'pyarrow', 'duckdb', 'av') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
