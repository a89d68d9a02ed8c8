"""`extract --preview`: a first look, as one types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framemill.cluster.cli.main import main
from tests.cluster.extraction import rows_of


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_first_look_at_a_folder(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, told, _ = run(capsys, "extract", clips, "-o", out, "--preview")
    assert code == 0
    assert "a.mp4" in told and "128 x 96" in told and "best_at_seconds" in told
    looked = rows_of(out, "preview")
    pictures = [row for row in looked if row["image"] is not None]
    assert {row["source_id"] for row in pictures} == {row["source_id"] for row in rows_of(out, "media")}
    assert all(row["image"].startswith(b"\xff\xd8") and row["rank"] is not None for row in pictures)
    assert rows_of(out, "audio_levels") and not (out / "frames").exists() and not (out / "scenes").exists()
    # What it made serves the full run, and that of another sampling is in nobody's way.
    code, told, _ = run(capsys, "extract", clips, "-o", out, "--sample", "every:1", "-q", "--json")
    assert code == 0
    assert set(json.loads(told)["rows"]) == {"frames", "scenes", "speech"}
    code, _, _ = run(capsys, "extract", clips, "-o", out, "--preview", "-q")
    assert code == 0 and len(rows_of(out, "preview")) == len(looked)


def test_only_what_was_asked_for_is_listed(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(capsys, "extract", clips / "a.mp4", "-o", out, "--preview")[0] == 0
    for _ in range(2):  # computed, and found in the folder
        code, told, _ = run(capsys, "extract", clips / "c.mkv", "-o", out, "--preview")
        assert code == 0 and "c.mkv" in told and "a.mp4" not in told
    code, told, _ = run(capsys, "extract", clips, "-o", out, "--preview")
    assert code == 0 and "c.mkv" in told and "a.mp4" in told


def test_key_frames_are_spread_over_a_file(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, _ = run(
        capsys, "extract", clips / "a.mp4", "-o", tmp_path, "--ops", "frames", "--sample", "keyframes:2", "-q"
    )
    assert code == 0
    assert sorted(row["pts_seconds"] for row in rows_of(tmp_path, "frames")) == [1.0, 3.0]


@pytest.mark.parametrize(
    "more",
    [
        ("--ops", "media"),
        ("--sample", "all"),
        ("--cascade", "objects"),
        ("--budget", "5"),
        ("--images",),
        ("--set", "frames.images=true"),
    ],
)
def test_options_that_contradict_a_preview_are_refused(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    code, _, told = run(capsys, "extract", clips, "-o", tmp_path / "out", "--preview", *more)
    assert code == 2
    assert f"leave out {more[0]}, or --preview" in told
    assert not (tmp_path / "out").exists()


def test_adaptive_options_as_typed(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    asked = ("--sample", "adaptive", "--budget", "3", "--max-segments", "1", "--ops", "frames,quality")
    code, _, told = run(
        capsys, "extract", clips, "-o", out, *asked, "--cascade", "quality", "--recall-target", "0.9"
    )
    assert code == 0
    assert "quality looked at" in told
    counts = [
        sum(row["source_id"] == clip["source_id"] for row in rows_of(out, "frames"))
        for clip in rows_of(out, "importance")
    ]
    floor = sum(row["is_floor"] for row in rows_of(out, "sampling"))
    assert 0 < max(counts) <= max(3, floor)
    code, _, told = run(capsys, "extract", clips, "-o", out, "--budget", "3")
    assert code == 2 and "need --sample adaptive" in told
