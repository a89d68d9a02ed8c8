"""Mistakes that people make in a terminal, and what they read then."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.cli.output import report
from framemill.cluster.corpus.search import describe_search
from framemill.cluster.engines.interrupts import Ended
from tests.cluster.results.hand_made import make_folder

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the result folder `out`."""
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "out", {"scenes": {"a": []}})
    return tmp_path


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["status", "nowhere"],
         "nowhere holds no results: make some with `framemill extract SOURCES -o nowhere`"),
        (["sql", "nowhere", "SELECT 1"],
         "nowhere holds no results: make some with `framemill extract SOURCES -o nowhere`"),
        (["sql", "out", "FROM objects"],
         "table objects does not exist, as it was not extracted: `framemill extract SOURCES -o out "
         "--ops objects` makes it; tables here: errors, runs, scenes, shots, sources"),
        (["sql", "out", "FROM people"],
         "table people does not exist yet: `framemill people out` makes it; tables here: errors, runs, "
         "scenes, shots, sources"),
        (["sql", "out", "FROM 'clips.csv'"],
         '"clips.csv" is a file, and sql reads the tables of the folder alone: errors, runs, scenes, shots, '
         "sources"),
        (["sql", "out", "SELECT 'a'::INT"],
         "Conversion Error: Could not convert string 'a' to INT32 in: SELECT 'a'::INT"),
        (["people", "out"],
         "out has no face_embeddings: run `framemill extract SOURCES -o out --ops face_embeddings` first"),
        (["ops", "objectz"],
         "unknown operation 'objectz' (did you mean 'objects'?): `framemill ops` lists all; one of your own "
         "is asked for as package.module:Class"),
        (["search", "out", "dog"],
         "out has nothing to search, neither words nor vectors of pictures: run `framemill extract SOURCES "
         "-o out --ops transcript,text_spans,image_embeddings`, or some of these, first"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_told_in_one_line_with_paths_from_here(
    command: list[str], said: str, capsys: Capture
) -> None:
    assert main(command) == 2
    assert capsys.readouterr() == ("", f"error: {said}\n")


def test_paths_elsewhere_stay_whole(here: Path, capsys: Capture) -> None:
    for text in (f"/mnt{here}/out", f"s3://bucket{here}/out", str(here), f"{here}x/out", f"{here}//out"):
        report(f"see {text}")
        assert capsys.readouterr().err == f"see {text}\n"
    report(f"{here}/out, '{here}/a b' and (`{here}/c`)")
    assert capsys.readouterr().err == "out, 'a b' and (`c`)\n"


def test_an_empty_folder_is_told_in_one_line(here: Path, capsys: Capture) -> None:
    (here / "empty").mkdir()
    assert main(["extract", "empty", "-o", "new"]) == 4
    said = "no usable input: nothing among the sources is a media file\n"
    assert capsys.readouterr() == ("", said)
    assert not (here / "new").exists()


@pytest.mark.parametrize(("command", "goes_on"), [("extract", True), ("view", False), ("sql", False)])
def test_only_what_goes_on_says_so_when_it_is_interrupted(
    command: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def interrupted(*given: object) -> None:
        raise Ended(signal.SIGINT)

    monkeypatch.setattr("framemill.cluster.cli.main.cli.invoke", interrupted)
    assert main([command, "out"]) == 130
    assert ("the same command goes on from here" in capsys.readouterr().err) == goes_on


def test_a_search_without_a_hit_says_what_it_looked_through(here: Path) -> None:
    spoken = [{"start_seconds": 0.0, "end_seconds": 1.0, "text": "hello"}]
    dataset = make_folder(here / "words", {"transcript": {"a": spoken, "b": []}, "text": {"a": []}})
    assert describe_search(dataset, "auto") == (
        "nothing found in transcript (2 files), text (1 file); `ops=['image_embeddings']` would add to it"
    )
    assert describe_search(dataset, "words") == "nothing found in transcript (2 files), text (1 file)"
