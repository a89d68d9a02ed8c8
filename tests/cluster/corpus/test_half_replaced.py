"""Folders that are half replaced: some sources have rows of the newest key, others of the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.corpus.duplicates import find_duplicates
from framemill.cluster.corpus.people import find_people
from framemill.cluster.corpus.recall import update_recall
from framemill.cluster.corpus.search import IMAGES, _nearest
from framemill.cluster.editing.thumbnails import find_thumbnails
from framemill.cluster.exports.sampled_frames import SampledFrames
from framemill.cluster.results import compaction, queries
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry
from framemill.cluster.results.parts import rewrite_part, write_part
from tests.cluster.results.hand_made import Rows, make_folder, schema_of

A, B = "/videos/a.mp4", "/videos/b.mp4"
NEW = {"digest": "new"}
UNIT = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
LONGER = [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]]


def replace(dataset: Dataset, table: str, source: str, rows: Rows, key: dict[str, Any] = NEW) -> None:
    """Commits the rows of one source under a new key, as a run that replaces a table does."""
    made = pa.Table.from_pylist([{"source_id": source, **row} for row in rows], schema_of(table))
    with dataset.hold("n"):
        run_id = f"n{dataset.state.sequence}"
        old = [part for part, _ in dataset.plan_drop(table, [source])]
        others = [rewrite_part(dataset.root, part, [source], run_id=run_id) for part in old]
        parts = [write_part(dataset.root, table, [made], run_id=run_id, seed=[source]), *others]
        dataset.commit(
            Commit(
                run_id=run_id,
                entries=(Entry(table, source, key["digest"], rows=len(rows)),),
                parts=tuple(part for part in parts if part),
                removed_parts=tuple((table, each.name) for each in old),
                keys={table: key},
            )
        )


def split_folder(root: Path, table: str, owned: dict[str, Rows], **more: dict[str, Rows]) -> Dataset:
    """A folder in which each source of `table` has a part of its own."""
    dataset = make_folder(root, {**more, table: dict.fromkeys(owned, ())})
    for source, rows in owned.items():
        replace(dataset, table, source, rows, {"digest": "old"})
    return dataset


def seen(vectors: list[list[float]]) -> Rows:
    return [{"frame_index": i, "pts_seconds": float(i), "vector": vector} for i, vector in enumerate(vectors)]


def faces(vectors: list[list[float]]) -> Rows:
    return [{**row, "face_index": 0, "aligned_by": "points"} for row in seen(vectors)]


def test_search_compares_with_vectors_of_the_newest_model_alone(tmp_path: Path) -> None:
    dataset = split_folder(tmp_path / "out", IMAGES, {name: seen(UNIT) for name in "abc"})
    replace(dataset, IMAGES, "b", seen(UNIT[::-1]))
    notes: list[str] = []
    hits = _nearest(dataset, [IMAGES], np.array([1, 0, 0], np.float32), 10, notes.append)
    assert [(hit.uri, hit.pts_seconds) for hit in hits] == [(B, 1.0), (B, 0.0)]
    (note,) = notes
    assert note.startswith("2 of 3 files were left out") and "image_embeddings" in note
    # Vectors of another length, in one file with the others.
    replace(dataset, IMAGES, "b", seen(LONGER))
    with dataset.hold("c"):
        assert compaction.compact(dataset, "c")
    hits = _nearest(dataset, [IMAGES], np.array(LONGER[0], np.float32), 10, None)
    assert [(hit.uri, hit.pts_seconds) for hit in hits] == [(B, 0.0), (B, 1.0)]
    for name in "ac":
        replace(dataset, IMAGES, name, seen(LONGER))
    notes.clear()
    assert len(_nearest(dataset, [IMAGES], np.array(LONGER[0], np.float32), 10, notes.append)) == 6
    assert notes == []


def test_people_are_of_faces_of_the_newest_model_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "face_embeddings"
    dataset = split_folder(tmp_path / "out", table, {name: faces(UNIT) for name in "abc"})
    replace(dataset, table, "c", faces(LONGER))
    with dataset.hold("p"):
        report = find_people(dataset, "p")
    assert (report.num_faces, report.num_files_left_out, len(report.people)) == (2, 2, 2)
    assert {owner for of, owner in dataset.state.entries if of == "people"} == {"c"}
    with dataset.hold("p"):
        assert not find_people(dataset, "p").changed
    assert main(["people", str(dataset.root)]) == 0
    assert "2 of 3 files were left out" in capsys.readouterr().err
    for name in "ab":
        replace(dataset, table, name, faces(LONGER))
    assert main(["people", str(dataset.root), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [person["num_files"] for person in said["people"]] == [3, 3] and said["num_files_left_out"] == 0


def test_rows_that_stay_because_the_new_ones_failed_are_left_out(tmp_path: Path) -> None:
    table = "face_embeddings"
    dataset = split_folder(tmp_path / "out", table, {name: faces(UNIT) for name in "ab"})
    replace(dataset, table, "a", faces(UNIT))
    failed = Entry(table, "b", "new", "failed", rows=2, kept="old")
    with dataset.hold("f"):
        dataset.commit(Commit(run_id="f", entries=(failed,), keys={table: NEW}))
        assert find_people(dataset, "f").num_files_left_out == 1


def test_duplicates_are_of_frames_of_the_newest_key_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [{"frame_index": 0, "pts_seconds": 0.0, "contrast": 0.3, "phash": 77}]
    dataset = split_folder(tmp_path / "out", "frames", {name: same for name in "abc"})
    for name in "ab":
        replace(dataset, "frames", name, same)
    with dataset.hold("d"):
        report = find_duplicates(dataset, "d")
    assert (report.num_frames, report.num_left_out, report.num_files_left_out) == (2, 0, 1)
    assert [group.uris for group in report.videos] == [(A, B)]
    with dataset.hold("d"):
        assert not find_duplicates(dataset, "d").changed
    assert main(["duplicates", str(dataset.root)]) == 0
    assert "1 of 3 files was left out" in capsys.readouterr().err


def test_recall_is_of_files_whose_frames_and_findings_belong_together(tmp_path: Path) -> None:
    candidates = [
        {"frame_index": 0, "decision": "kept", "stand_in_frame": 0},
        {"frame_index": 1, "decision": "skipped", "stand_in_frame": 0},
    ]
    found = [{"frame_index": 0, "object_index": 0, "label": "dog"}]
    key = {"after": {"candidates": "key"}}
    dataset = make_folder(
        tmp_path / "out",
        {"candidates": dict.fromkeys("ab", candidates), "objects": dict.fromkeys("ab", found)},
        keys={"objects": key},
    )
    with dataset.hold("n"):
        entries = (Entry("objects", "b", "new", rows=1),)
        dataset.commit(Commit(run_id="n", entries=entries, keys={"objects": {**NEW, **key}}))
        (line,) = update_recall(dataset, "n", 0.9)
    assert line.startswith("objects looked at 1 of 2 frames")
    assert queries.query(dataset.root, "SELECT source_id FROM recall").rows == [("b",)]


def test_thumbnails_and_exports_take_vectors_of_several_lengths(tmp_path: Path) -> None:
    frames = [
        {"frame_index": i, "pts_seconds": 10.0 * i, "contrast": 0.3, "brightness": 0.5, "phash": i}
        | {"sharpness": 100.0, "colourfulness": 40.0, "entropy": 6.0}
        for i in range(2)
    ]
    media = [{"uri": "", "width": 200, "height": 100, "fps": 10.0, "num_frames": 30}]
    both = {"frames": dict.fromkeys("ab", frames), "media": dict.fromkeys("ab", media)}
    dataset = split_folder(tmp_path / "out", IMAGES, dict.fromkeys("ab", seen(UNIT)), **both)
    replace(dataset, IMAGES, "b", seen(LONGER))
    with dataset.hold("c"):
        assert compaction.compact(dataset, "c")
        report = find_thumbnails(dataset, "c", 2)
    assert report.num_files == 2
    sampled = SampledFrames(dataset.root, None, "{stem}", lambda text: None)
    vectors = {source.source_id: [frame.vector for frame in source.frames] for source in sampled.sources()}
    assert vectors == {"a": [None, None], "b": LONGER}
