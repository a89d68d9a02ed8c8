"""`framemill clips` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framemill.actors import clip_encoding
from framemill.cluster.cli.main import main
from framemill.cluster.results.queries import query
from tests.cluster.extraction import extract

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def results(clips: Path, tmp_path: Path) -> str:
    extract(clips, out=tmp_path / "out", sample="every:0.5")
    return str(tmp_path / "out")


def test_it_says_what_was_made_and_what_was_dropped(results: str, tmp_path: Path, capsys: Capture) -> None:
    line = ["clips", results, "-o", str(tmp_path / "clips"), "--max-seconds", "1.2"]
    assert main(line) == 0
    told = capsys.readouterr()
    assert "x264, preset veryfast, constant quality 20" in told.err and "clips of 3 files" in told.err
    assert "dropped: " in told.err and 'by "shorter than 1 s"' in told.err
    assert main([*line, "--json", "-q"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["num_clips"] == figures["num_reused"] == len(figures["clips"])
    rows = query(results, "SELECT kept, count(*) FROM clips GROUP BY 1 ORDER BY 1").rows
    assert dict(rows)[True] == figures["num_clips"]
    assert main(["check", results, "-q"]) == 0


def test_nothing_kept_is_no_error_and_names_the_rule(results: str, tmp_path: Path, capsys: Capture) -> None:
    assert main(["clips", results, "-o", str(tmp_path / "clips"), "--min-seconds", "30"]) == 0
    assert '0 clips: "shorter than 30 s" dropped the most' in capsys.readouterr().err


def test_an_encoder_that_is_not_there_is_exit_5(
    results: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_encoding, "_opens", lambda name: name == "libx264")
    line = ["clips", results, "-o", str(tmp_path / "clips"), "--encoder", "h264_nvenc"]
    assert main(line) == 5 and "there are: libx264" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--plan", "stride:0.5"], "--min-seconds"),
        (["--min-seconds", "5", "--max-seconds", "2"], "cannot be made"),
        (["--size", "big"], "1280x720"),
        (["--fps", "0"], "1 or more"),
        (["--profile", "speech"], "--ops scenes,transcript"),
        (["--dedupe", "embedding"], "--ops image_embeddings"),
        (["--encoder", "h265"], "libx264"),
    ],
)
def test_what_cannot_be_done_is_exit_2(
    results: str, tmp_path: Path, capsys: Capture, more: list[str], told: str
) -> None:
    assert main(["clips", results, "-o", str(tmp_path / "clips"), *more]) == 2
    assert told in capsys.readouterr().err
