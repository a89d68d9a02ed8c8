"""Thumbnails from tables and from real files: what is picked, what is stored, what is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from benchmarks.made_corpus import make_corpus
from framemill.cluster.cli.main import main
from framemill.cluster.editing.frame_measures import score_sampled_frames
from framemill.cluster.editing.frame_scores import reasons_of
from framemill.cluster.editing.source_pictures import SourcePictures
from framemill.cluster.editing.thumbnails import THUMBNAILS_SCHEMA, find_thumbnails
from framemill.cluster.results import queries
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry
from framemill.cluster.results.parts import write_part
from framemill.cluster.results.queries import SOURCE_ID
from framemill.cluster.results.source_columns import SourceColumns
from framemill.errors import UsageError
from framemill.ops import load_op
from tests.actors.clips import moving, write_clip
from tests.cluster.extraction import render_clip


@pytest.fixture
def corpus(tmp_path: Path) -> Dataset:
    return make_corpus(tmp_path, 5, 40)


def test_ranks_are_without_gap_and_frames_without_twins(corpus: Dataset) -> None:
    with corpus.hold("t"):
        report = find_thumbnails(corpus, "t")
    rows = report.rows
    assert rows.schema.equals(THUMBNAILS_SCHEMA) and report.changed and report.num_files == 5
    hashes = {
        (source, frame): value
        for source, frame, value in queries.query(
            corpus.root, "SELECT source_id, frame_index, phash FROM frames"
        ).rows
    }
    for source in set(rows["source_id"].to_pylist()):
        own = [row for row in rows.to_pylist() if row["source_id"] == source]
        assert [row["rank"] for row in own] == list(range(len(own))) and len(own) == 12
        seen = [hashes[source, row["frame_index"]] for row in own]
        assert all((a ^ b).bit_count() > 8 for i, a in enumerate(seen) for b in seen[:i])
        assert own[0]["score"] == max(row["score"] for row in own)
        assert all(row["reasons"] for row in own)


def test_the_same_tables_give_the_same_rows(corpus: Dataset, tmp_path: Path) -> None:
    other = make_corpus(tmp_path / "other", 5, 40)
    with corpus.hold("a"), other.hold("b"):
        first, second = find_thumbnails(corpus, "a"), find_thumbnails(other, "b")
        assert first.rows.equals(second.rows)
        again = find_thumbnails(corpus, "a2")
    assert not again.changed and again.rows.equals(first.rows)


def test_another_count_replaces_the_table(corpus: Dataset) -> None:
    with corpus.hold("t"):
        find_thumbnails(corpus, "t", 12)
        assert find_thumbnails(corpus, "t2", 3).changed
    assert queries.query(corpus.root, "SELECT max(rank) FROM thumbnails").rows == [(2,)]
    with corpus.hold("t"), pytest.raises(UsageError, match="1 to 1000"):
        find_thumbnails(corpus, "t", 0)


def _add_table(dataset: Dataset, name: str, rows: pa.Table) -> None:
    """Commits rows of an operation for the sources that they name."""
    owners = sorted(set(rows["source_id"].to_pylist()))
    with dataset.hold("more"):
        part = write_part(dataset.root, name, [rows], run_id="more", seed=[name])
        assert part is not None
        dataset.commit(
            Commit(
                run_id="more",
                entries=tuple(Entry(name, owner, "more", rows=1) for owner in owners),
                parts=(part,),
                keys={name: {"digest": "more"}},
            )
        )


def test_sharp_faces_with_open_eyes_are_preferred(corpus: Dataset) -> None:
    """A large face in each frame of one file; of the other faces in it nothing is known."""
    source = min(owner for of, owner in corpus.state.entries if of == "frames")
    reader = SourceColumns(corpus, [source])
    indices = score_sampled_frames(reader).frame_index
    box = {"x0": 400.0, "y0": 100.0, "x1": 700.0, "y1": 500.0}
    faces = [
        {"source_id": source, "frame_index": i, "face_index": k, "score": 0.95, "pts_seconds": i / 25}
        | {"box": box if k == 1 else {**box, "x1": 450.0}}
        for i in indices.tolist()
        for k in (0, 1)
    ]
    kinds = {"open": (0.3, 0.9), "closed": (0.3, 0.01), "blurred": (0.8, 0.9), "unknown": (None, None)}
    kind = np.array(list(kinds))[np.arange(len(indices)) % 4]
    portraits = [
        {"source_id": source, "frame_index": i, "face_index": 1, "pts_seconds": i / 25}
        | dict(zip(("blur", "eyes_open"), kinds[k], strict=True))
        for i, k in reversed(list(zip(indices.tolist(), kind.tolist(), strict=True)))
    ]
    without = score_sampled_frames(reader).scores.score
    for name, rows in (("faces", faces), ("face_quality", portraits)):
        schema = pa.schema([SOURCE_ID, *load_op(name).schema])
        _add_table(corpus, name, pa.Table.from_pylist(rows, schema=schema))
    rated = score_sampled_frames(SourceColumns(corpus, [source])).scores
    gain = rated.score[without > 0] / without[without > 0]
    of = {name: gain[kind[without > 0] == name] for name in kinds}
    assert of["open"].min() > 1 and of["open"].min() == pytest.approx(of["unknown"].max())
    assert of["blurred"].max() == pytest.approx(1) and of["closed"].max() < 0.8
    told = [reasons_of(rated.factors, row) for row in range(len(kind))]
    assert {k for k, words in zip(kind.tolist(), told, strict=True) if "open eyes" in words} == {"open"}
    with corpus.hold("t"):
        assert "face_quality" not in find_thumbnails(corpus, "t").missing


def test_without_frames_the_remedy_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Dataset.open(tmp_path / "out", create=True)
    assert main(["thumbnails", str(tmp_path / "out")]) == 2
    assert "--ops frames" in capsys.readouterr().err


@pytest.fixture
def extracted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A file of shots, one of black, one of sound alone, one of a second, one of a picture that stays."""
    folder = tmp_path / "in"
    folder.mkdir()
    render_clip(folder / "shots.mp4", seed=1, seconds=9.0)
    write_clip(folder / "black.mp4", [np.zeros((64, 96, 3), np.uint8)] * 50)
    write_clip(folder / "short.mp4", moving(25))
    write_clip(folder / "endless.mp4", moving(1)[:1] * 250)
    render_clip(folder / "sound.mp4", seed=2, with_picture=False)
    out = tmp_path / "out"
    assert main(["extract", str(folder), "-o", str(out), "--sample", "every:0.5", "-q"]) == 0
    capsys.readouterr()
    return out


def test_bad_input_gets_fewer_and_a_reason(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["thumbnails", str(extracted), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {Path(row["uri"]).name for row in found["rows"]}
    assert names == {"shots.mp4", "short.mp4", "endless.mp4"}
    assert sum(Path(row["uri"]).name == "endless.mp4" for row in found["rows"]) == 1
    reasons = {Path(case["uri"]).name: case["reason"] for case in found["shortfalls"]}
    assert "black" in reasons["black.mp4"] and "no picture" in reasons["sound.mp4"]
    assert "look like those picked" in reasons["endless.mp4"] and "sample every" in reasons["short.mp4"]
    assert "quality" in found["missing"]


def test_pictures_and_sheet(extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["thumbnails", str(extracted), "--images", "--sheet", str(sheet)]) == 0
    assert str(sheet) in capsys.readouterr().err
    page = cv2.imread(str(sheet))
    assert page is not None and page.std() > 20
    rows = queries.query(extracted, "SELECT image, frame_index FROM thumbnails").rows
    assert rows and all(image is not None for image, _ in rows)
    shapes = {cv2.imdecode(np.frombuffer(image, np.uint8), 1).shape for image, _ in rows}
    assert shapes == {(96, 128, 3), (64, 96, 3)}
    # Stored pictures are drawn from the table: the files may go.
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    assert main(["thumbnails", str(extracted), "--images", "--sheet", str(sheet), "-q"]) == 0
    assert np.array_equal(cv2.imread(str(sheet)), page)


def test_files_that_moved_or_changed_are_named(
    extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.rename(tmp_path / "in" / "shots.mp4", tmp_path / "moved.mp4")
    with (tmp_path / "in" / "short.mp4").open("ab") as file:
        file.write(b"more")
    assert main(["thumbnails", str(extracted), "--images", "-q"]) == 3
    told = capsys.readouterr().err
    assert "shots.mp4: is not there any more" in told and "short.mp4: was changed" in told
    with_picture = (
        "SELECT DISTINCT regexp_extract(uri, '[^/]*$') FROM thumbnails JOIN sources USING (source_id) "
        "WHERE image IS NOT NULL"
    )
    assert queries.query(extracted, with_picture).rows == [("endless.mp4",)]
    os.rename(tmp_path / "moved.mp4", tmp_path / "in" / "shots.mp4")
    assert main(["thumbnails", str(extracted), "--images", "-q"]) == 3
    told = "SELECT source_id, rank, md5(image::VARCHAR) FROM thumbnails WHERE image IS NOT NULL ORDER BY ALL"
    kept = queries.query(extracted, told).rows
    assert {row[0] for row in queries.query(extracted, with_picture).rows} == {"endless.mp4", "shots.mp4"}
    # Pictures that are there stay, whatever becomes of their files.
    os.rename(tmp_path / "in" / "shots.mp4", tmp_path / "moved.mp4")
    assert main(["thumbnails", str(extracted), "--images", "-q"]) == 3
    assert queries.query(extracted, told).rows == kept


def test_pictures_are_the_frames_that_were_asked_for(extracted: Path) -> None:
    dataset = Dataset.open(extracted, create=False)
    source = next(s.source_id for uri, s in dataset.state.sources.items() if uri.endswith("short.mp4"))
    pictures = SourcePictures(dataset)
    frames = np.array([3, 20])
    made = [cv2.imdecode(np.frombuffer(data or b"", np.uint8), 1) for data in pictures.fetch(source, frames)]
    truth = np.array(moving(25)).astype(int)
    for picture, frame in zip(made, frames.tolist(), strict=True):
        off = np.abs(truth - picture[..., ::-1]).mean(axis=(1, 2, 3))
        assert int(off.argmin()) == frame
    assert pictures.problems == {}


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_names_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    raw, escaped = os.path.join(os.fsencode(folder), b"caf\xe9.mp4"), folder / "caf\\xe9.mp4"
    os.rename(write_clip(tmp_path / "clip.mp4", moving(75)), raw)
    out, cut = str(tmp_path / "out"), tmp_path / "cut.otio"
    assert main(["extract", str(folder), "-o", out, "--ops", "frames", "--sample", "every:0.5", "-q"]) == 0
    # What is missing is added, pictures are decoded, and the timeline names the bytes of the name.
    assert main(["thumbnails", out, "--images", "--json"]) == 0
    assert {row["uri"] for row in json.loads(capsys.readouterr().out)["rows"]} == {str(escaped)}
    assert queries.query(out, "SELECT bool_and(image IS NOT NULL) FROM thumbnails").rows == [(True,)]
    film = tmp_path / "cut.mp4"
    made = ["--seconds", "2", "-o", str(cut), "--render", str(film), "--size", "96x64", "-q"]
    assert main(["montage", out, *made]) == 0
    assert "caf%E9.mp4" in cut.read_text() and film.stat().st_size > 0
    # A file whose name is made of the escaping characters is that file.
    os.rename(raw, escaped)
    assert main(["montage", out, *made]) == 0
    assert "caf%5Cxe9.mp4" in cut.read_text()


def test_the_sheet_has_a_known_ending(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["thumbnails", str(extracted), "--sheet", "sheet.gif"]) == 2
    assert ".jpg" in capsys.readouterr().err
    assert main(["thumbnails", str(extracted), "--sheet", str(extracted / "none" / "sheet.jpg")]) == 2
    assert "make it first" in capsys.readouterr().err
    assert "thumbnails" not in Dataset.open(extracted, create=False).state.keys, "refused before any work"
