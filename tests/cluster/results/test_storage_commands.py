"""Every command that takes sources or a result folder takes those of an object store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import framemill
from framemill.cluster.cli.main import main
from tests.cluster.extraction import extract
from tests.object_stores import Bucket

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def out(bucket: Bucket, clips: Path) -> str:
    """Results of three clips and a copy, made by two runs."""
    for name in ("a.mp4", "b.mp4", "c.mkv"):
        bucket.put(f"in/{name}", clips / name)
    bucket.put("in/copy.mp4", clips / "a.mp4")
    for source in ("in/a.mp4", "in"):
        assert extract(bucket.uri(source), out=bucket.uri("out")).exit_code == 0
    return bucket.uri("out")


def answer(capsys: Capture, *line: str) -> Any:
    """What a command says as JSON."""
    capsys.readouterr()
    assert main([*line, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_status_sql_and_compact(out: str, capsys: Capture) -> None:
    status = answer(capsys, "status", out)
    assert (status["sources"], status["tables"]["media"]["rows"]) == (4, 4)
    query = "SELECT count(*) AS n, sum(duration_seconds) AS s FROM media"
    (before,) = answer(capsys, "sql", out, query)
    assert before["n"] == 4
    parts = status["tables"]["frames"]["num_parts"]
    assert parts > 1
    assert answer(capsys, "compact", out)
    assert answer(capsys, "status", out)["tables"]["frames"]["num_parts"] == 1
    assert answer(capsys, "sql", out, query) == [before]


def test_plan_and_probe(out: str, bucket: Bucket, capsys: Capture, tmp_path: Path) -> None:
    assert answer(capsys, "plan", bucket.uri("in"), "-o", out, "--ops", "media,frames")["files_done"] == 4
    fresh = answer(capsys, "plan", bucket.uri("in"), "-o", bucket.uri("new"), "--ops", "media,frames")
    assert (fresh["files_done"], fresh["frames_wanted"]) == (0, 13)
    assert not bucket.keys("new")
    probed = answer(capsys, "probe", bucket.uri("in/*.mp4"), bucket.uri("in/absent.mp4"))
    assert [Path(row["uri"]).name for row in probed] == ["a.mp4", "b.mp4", "copy.mp4", "absent.mp4"]
    assert probed[0]["num_key_frames"] == 4 and "nothing is there" in probed[3]["message"]


def test_duplicates_people_search_and_export(out: str, capsys: Capture, tmp_path: Path) -> None:
    assert answer(capsys, "duplicates", out)
    groups = answer(capsys, "sql", out, "SELECT DISTINCT group_id FROM duplicates WHERE kind = 'video'")
    assert len(groups) == 1
    assert main(["people", out]) == 2
    assert f"{out} has no face_embeddings" in " ".join(capsys.readouterr().err.split())
    assert main(["search", out, "--image", str(tmp_path / "absent.jpg")]) != 1
    assert main(["export", out, "--format", "srt", "-o", str(tmp_path / "subtitles")]) == 2
    capsys.readouterr()


def test_pictures_are_decoded_from_objects(out: str, bucket: Bucket, clips: Path, capsys: Capture) -> None:
    bucket.put("in/b.mp4", clips / "a.mp4")  # not what was extracted any more
    assert main(["thumbnails", out, "--images", "--as-is"]) == 3
    assert "b.mp4: was changed since it was extracted" in capsys.readouterr().err
    query = "SELECT uri, count(image) AS n FROM thumbnails JOIN sources USING (source_id) GROUP BY 1"
    found = {Path(row["uri"]).name: row["n"] for row in answer(capsys, "sql", out, query)}
    assert found["b.mp4"] == 0
    assert found["a.mp4"] > 0


def test_pruning_and_replacing(out: str, bucket: Bucket, clips: Path) -> None:
    assert extract(bucket.uri("in"), out=out, sample="every:1", replace=True).exit_code == 0
    assert framemill.open(out).sql("SELECT count(*) FROM frames").rows[0][0] > 9
    assert extract(bucket.uri("in/a.mp4"), out=out, sample="every:1", keep_bytes=1).exit_code == 0
    assert framemill.open(out).table("frames").num_rows == 0


def test_python(out: str, bucket: Bucket) -> None:
    results = framemill.open(out)
    assert {"media", "frames", "scenes", "runs"} <= set(results.tables())
    assert sorted(row["uri"] for row in results.table("media").to_pylist())[0] == bucket.uri("in/a.mp4")
    summary = framemill.extract(bucket.uri("in"), out, ops=["media"])
    assert (summary.files_cached, summary.output) == (4, out)
