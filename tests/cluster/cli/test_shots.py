"""`framemill shots` by the command."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from framemill.cluster.cli.main import main
from tests.cluster.results.hand_made import make_folder

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shots, with an object in the second one's only sampled frame."""
    scenes = [
        {"scene_index": 0, "start_seconds": 0.0, "end_seconds": 4.0, "start_frame": 0, "end_frame": 100},
        {"scene_index": 1, "start_seconds": 4.0, "end_seconds": 9.0, "start_frame": 100, "end_frame": 225},
    ]
    frames = [{"frame_index": 150, "pts_seconds": 6.0, "sharpness": 200.0, "frame_score": 0.5}]
    objects = [{"frame_index": 150, "pts_seconds": 6.0, "object_index": 0, "label": "dog, or cat"}]
    tables = {"scenes": {"a": scenes}, "frames": {"a": frames}, "objects": {"a": objects}}
    make_folder(tmp_path / "out", tables, {"a": ["/videos/pets.mp4"]})
    return tmp_path / "out"


def test_shots_as_table_json_and_csv(folder: Path, capsys: Capture) -> None:
    assert main(["shots", str(folder)]) == 0
    shown = capsys.readouterr()
    assert "pets.mp4" in shown.out and "words" not in shown.out
    assert shown.err.strip() == "2 shots"
    assert main(["shots", str(folder), "--json", "--where", "sharpness > 100 -- and no more"]) == 0
    (shot,) = json.loads(capsys.readouterr().out)
    assert (shot["scene_index"], shot["labels"], shot["num_faces"]) == (1, ["dog, or cat"], None)
    assert main(["shots", str(folder), "--csv", "--limit", "1"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["scene_index"], row["labels"], row["end_frame"]) == ("0", "", "100")


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["shots", str(folder), "--where", "nope = 1"]) == 2
    said = capsys.readouterr().err
    assert 'column "nope"' in said and "shots: source_id" in said
    make_folder(tmp_path / "none", {"faces": {"a": []}})
    assert main(["shots", str(tmp_path / "none")]) == 2
    assert "--ops scenes" in capsys.readouterr().err
