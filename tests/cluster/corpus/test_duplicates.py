from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.corpus.duplicates import DUPLICATES_SCHEMA, MANY_VIDEOS, find_duplicates, video_pairs
from framemill.cluster.results import queries
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import read_rows, write_part
from framemill.errors import UsageError
from framemill.ops.frames.frames import FramesOp

BASE = np.random.default_rng(1).integers(0, 2**64, 50, dtype=np.uint64).tolist()


def add_source(
    dataset: Dataset, source_id: str, hashes: Sequence[int], contrast: float = 0.2, copies: int = 1
) -> None:
    """Commits `frames` of a file, a frame a second; `copies` paths hold the same bytes."""
    count = len(hashes)
    values: dict[str, Any] = {
        field.name: pa.nulls(count, field.type) if field.nullable else pa.array([0] * count).cast(field.type)
        for field in FramesOp.schema
    }
    values |= {
        "frame_index": range(count),
        "pts_seconds": [float(i) for i in range(count)],
        "phash": pa.array(hashes, pa.uint64()),
        "contrast": pa.array([contrast] * count, pa.float32()),
    }
    rows = pa.table(values, schema=FramesOp.schema)
    rows = rows.add_column(0, "source_id", pa.array([source_id] * count, pa.string()))
    part = write_part(dataset.root, "frames", [rows], run_id="r", seed=[source_id])
    dataset.commit(
        Commit(
            run_id="r",
            entries=(Entry("frames", source_id, "k", rows=count),),
            sources=tuple(
                SourceRecord(f"/videos/{source_id}{copy or ''}.mp4", source_id, 1, 1, 1.0)
                for copy in range(copies)
            ),
            parts=() if part is None else (part,),
            keys={"frames": {"digest": "k"}},
        )
    )


def rows_of(dataset: Dataset, kind: str) -> list[dict[str, Any]]:
    rows = read_rows(dataset.root, "duplicates", dataset.state.parts_of("duplicates"))
    if rows is None:
        return []
    assert rows.schema.equals(DUPLICATES_SCHEMA, check_metadata=True)
    return [row for row in rows.to_pylist() if row["kind"] == kind]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """a; b: a re-encoded, 5 bits off, its last frame another; c: shows one frame of a; d: of its own."""
    dataset = Dataset.open(tmp_path / "out", create=True)
    with dataset.hold("r"):
        add_source(dataset, "a", BASE[:10])
        add_source(dataset, "b", [value ^ 0b11111 for value in BASE[:9]] + [BASE[40]])
        add_source(dataset, "c", [BASE[3], *BASE[20:29]])
        add_source(dataset, "d", BASE[30:35])
    return dataset


def test_frames_and_videos_that_are_there_twice(dataset: Dataset) -> None:
    with dataset.hold("p"):
        report = find_duplicates(dataset, "p")
    frames = rows_of(dataset, "frame")
    assert [(r["source_id"], r["frame_index"]) for r in frames] == [
        *(("a", i) for i in range(9)), *(("b", i) for i in range(9)), ("c", 0),
    ]  # fmt: skip
    # Of 3 in two files the hash that two frames have stands for the group.
    third = [r for r in frames if r["group_id"] == f"{BASE[3]:016x}"]
    assert [(r["source_id"], r["distance"]) for r in third] == [("a", 0), ("b", 5), ("c", 0)]
    assert {r["source_id"]: r["share"] for r in rows_of(dataset, "video")} == pytest.approx(
        {"a": 0.9, "b": 0.9}
    )
    assert report.num_frames == 19 and report.num_groups == report.num_groups_across == 9
    assert [group.uris for group in report.videos] == [("/videos/a.mp4", "/videos/b.mp4")]
    assert report.changed and report.num_left_out == 0


def test_a_second_run_changes_nothing_until_files_come(dataset: Dataset) -> None:
    with dataset.hold("p"):
        first = find_duplicates(dataset, "p")
        sequence = dataset.state.sequence
        again = find_duplicates(dataset, "p2")
        assert dataset.state.sequence == sequence and not again.changed
        assert again.videos == first.videos and again.num_frames == first.num_frames
        add_source(dataset, "e", BASE[30:35])
        later = find_duplicates(dataset, "p3")
    assert later.changed and [len(group.uris) for group in later.videos] == [2, 2]
    assert len(dataset.state.parts_of("duplicates")) == 1


def test_distance_and_share_are_as_asked(dataset: Dataset) -> None:
    with dataset.hold("p"):
        assert find_duplicates(dataset, "p", max_distance=4).num_frames == 2
        assert find_duplicates(dataset, "p", min_share=0.95).videos == ()
        assert len(find_duplicates(dataset, "p", min_share=0.05).videos[0].uris) == 3


def test_pictures_without_contrast_are_left_out(dataset: Dataset) -> None:
    with dataset.hold("p"):
        add_source(dataset, "x", [0] * 5, contrast=0.0)
        add_source(dataset, "y", [0] * 5, contrast=0.0)
        report = find_duplicates(dataset, "p")
        assert report.num_left_out == 10 and report.num_frames == 19
        assert not find_duplicates(dataset, "p2").changed


def test_equal_files_are_told_though_they_are_one_source(dataset: Dataset) -> None:
    with dataset.hold("p"):
        add_source(dataset, "z", BASE[45:50], copies=2)
        report = find_duplicates(dataset, "p")
    assert ("/videos/z.mp4", "/videos/z1.mp4") in [group.uris for group in report.videos]


def test_nothing_twice_is_an_empty_table(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "out", create=True)
    with dataset.hold("p"):
        add_source(dataset, "a", BASE[:5])
        add_source(dataset, "b", [])
        report = find_duplicates(dataset, "p")
    assert report.num_frames == 0 and report.videos == () and rows_of(dataset, "frame") == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_distance": 13}, "13 bits; it must be 0 to 12"),
        ({"max_distance": -1}, "-1 bits; it must be 0 to 12"),
        ({"min_share": 0.0}, "share is 0.0; it must be more than 0"),
        ({"min_share": float("nan")}, "share is nan; it must be more than 0"),
    ],
)
def test_wrong_values_are_refused(dataset: Dataset, values: dict[str, Any], words: str) -> None:
    with dataset.hold("p"), pytest.raises(UsageError, match=words):
        find_duplicates(dataset, "p", **values)


def test_without_frames_the_remedy_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Dataset.open(tmp_path / "out", create=True)
    assert main(["duplicates", str(tmp_path / "out")]) == 2
    assert "--ops frames" in capsys.readouterr().err


def test_the_command(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(dataset.root)
    assert main(["duplicates", out]) == 0
    shown = capsys.readouterr()
    assert "a.mp4" in shown.out and "19 frames in 9 groups, 9 of them across videos" in shown.err
    assert main(["duplicates", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert main(["duplicates", out, "--distance", "99"]) == 2
    rows = queries.query(out, "SELECT count(DISTINCT group_id) FROM duplicates WHERE kind = 'frame'").rows
    assert rows == [(9,)]


def test_a_picture_that_everybody_shows_makes_no_square_of_pairs() -> None:
    count = MANY_VIDEOS + 10
    videos = np.repeat(np.arange(count), 2)
    # One title that all have, and one frame of its own for each; but the last two are copies.
    groups = np.stack([np.zeros(count, np.int64), np.arange(1, count + 1)], axis=1)
    groups[-1, 1] = groups[-2, 1]
    first, second, share = video_pairs(videos, groups.ravel(), count)
    assert len(first) == count - 1
    assert dict(zip(zip(first.tolist(), second.tolist(), strict=True), share.tolist(), strict=True))[
        count - 2, count - 1
    ] == pytest.approx(1.0)
    assert sorted(share.tolist())[-2] == pytest.approx(0.5)
