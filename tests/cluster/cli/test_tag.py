"""`framemill tag` by the command, and what other commands make of tags."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.cli.main import main
from tests.cluster.corpus.test_tags import shots_of
from tests.cluster.extraction import extract, render_clip
from tests.cluster.results.hand_made import make_folder

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    make_folder(
        tmp_path / "out", {"scenes": {"a": shots_of(4, 8, 10), "b": shots_of(10)}}, {"b": ["/videos/b.mp4"]}
    )
    return str(tmp_path / "out")


def test_tags_are_set_listed_shown_exported_and_removed(folder: str, tmp_path: Path, capsys: Capture) -> None:
    assert main(["tag", folder]) == 0
    assert capsys.readouterr().err.strip() == "no shot has a tag"
    assert main(["tag", folder, " keep ", "--where", "duration_seconds > 3 -- long"]) == 0
    assert capsys.readouterr().err.strip() == "3 shots found; keep added to 3"
    assert main(["tag", folder, "keep", "--where", "true", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"tag": "keep", "on": True, "shots": 4, "changed": 1}
    assert main(["tag", folder, "keep", "--where", "name = 'b.mp4'", "--remove"]) == 0
    assert capsys.readouterr().err.strip() == "1 shot found; keep removed from 1"
    assert main(["tag", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"tag": "keep", "shots": 3}]
    assert main(["shots", folder, "--where", "list_contains(tags, 'keep')"]) == 0
    shown = capsys.readouterr()
    assert shown.err.strip() == "3 shots" and "tags" in shown.out.splitlines()[0]
    where = "list_contains(tags, 'keep') AND scene_index > 0"
    assert main(["export", folder, "--format", "shots-csv", "--where", where, "-o", str(tmp_path / "x")]) == 0
    capsys.readouterr()
    (file,) = (tmp_path / "x").iterdir()
    lines = file.read_text().splitlines()
    assert [row["Scene Number"] for row in csv.DictReader(lines)] == ["2", "3"]
    assert main(["status", folder, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["tables"]["tags"]
    assert (told["rows"], told["num_parts"], told["ok"]) == (3, 1, 1)


def test_shots_without_tags_are_shown_without_their_column(folder: str, capsys: Capture) -> None:
    assert main(["tag", folder, "keep", "--where", "name = 'b.mp4'"]) == 0
    assert main(["shots", folder, "--where", "name = 'a.mp4'"]) == 0
    assert "tags" not in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["keep"], "--where"),
        (["--where", "true"], "name the tag"),
        (["a\tb", "--where", "true"], "U+0009"),
        (["x" * 65, "--where", "true"], "1 to 64"),
        (["keep", "--where", "nope = 1"], "nope"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_tagged(
    folder: str, capsys: Capture, arguments: list[str], says: str
) -> None:
    assert main(["tag", folder, *arguments]) == 2
    assert says in capsys.readouterr().err
    assert main(["tag", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_folder_without_scenes_is_told_what_to_extract(tmp_path: Path, capsys: Capture) -> None:
    make_folder(tmp_path / "none", {"faces": {"a": []}})
    assert main(["tag", str(tmp_path / "none"), "keep", "--where", "true"]) == 2
    assert "--ops scenes" in capsys.readouterr().err


def test_scenes_that_a_run_replaces_keep_their_tags(tmp_path: Path, capsys: Capture) -> None:
    clip, out = render_clip(tmp_path / "clip.mp4", seed=1), tmp_path / "out"
    extract(clip, out=out, ops=("scenes",))
    assert main(["tag", str(out), "keep", "--where", "scene_index = 0"]) == 0
    new: dict[str, Any] = {"ops": ("scenes",), "replace": True, "options": {"scenes": {"max_scenes": 2}}}
    assert extract(clip, out=out, **new).exit_code == 0
    assert main(["shots", str(out), "--json"]) == 0
    assert [shot["tags"] for shot in json.loads(capsys.readouterr().out)] == [["keep"], []]
    assert main(["check", str(out)]) == 0
