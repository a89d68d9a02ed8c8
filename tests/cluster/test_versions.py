"""Folders that another version of Framemill has made."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.run import planning
from tests.cluster.extraction import extract, rows_of

Capture = pytest.CaptureFixture[str]
OPS = "media,frames,scenes,audio_levels"


def _older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "DECODE_VERSION", planning.DECODE_VERSION - 1)


def test_rows_of_other_decode_rules_are_not_mixed_with_new_ones(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    command = ["extract", str(clips), "-o", str(tmp_path / "out"), "--ops", OPS]
    with monkeypatch.context() as patched:
        _older(patched)
        extract(clips, out=tmp_path / "out")
    before = rows_of(tmp_path / "out", "frames")
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "another version" in said and "decode rules" in said and "--replace" in said
    assert rows_of(tmp_path / "out", "frames") == before
    assert main([*command, "--replace"]) == 0
    assert main(command) == 0
    assert rows_of(tmp_path / "out", "frames") == before


def test_a_folder_without_rows_that_could_differ_goes_on(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "bad.mp4").write_bytes(b"no media")
    with monkeypatch.context() as patched:
        _older(patched)
        assert extract(folder, out=tmp_path / "out").files_failed == 1
    (folder / "good.mp4").write_bytes((clips / "a.mp4").read_bytes())
    summary = extract(folder, out=tmp_path / "out")
    assert (summary.exit_code, summary.files_computed) == (3, 1)
    assert len(rows_of(tmp_path / "out", "media")) == 1
