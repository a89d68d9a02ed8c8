"""Clips in one command with the extraction are those of the two commands, and refused before the work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import framemill
from framemill.cluster.cli.main import main
from framemill.cluster.results.queries import query
from framemill.errors import UsageError
from tests.cluster.clips.test_making import files

Capture = pytest.CaptureFixture[str]


def told(line: list[str], capsys: Capture) -> dict[str, Any]:
    assert main([*line, "--json", "-q"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_one_command_makes_the_clips_of_the_two(clips: Path, tmp_path: Path, capsys: Capture) -> None:
    extract = ["extract", str(clips), "-o"]
    ops = ["--ops", "media,frames", "--sample", "every:0.5"]
    more = ["--set", "clips.max_seconds=1", "--set", "clips.min_seconds=0.5", "--set", "clips.dedupe=hash"]
    one = told([*extract, str(tmp_path / "one"), *ops, "--clips", "shots", *more], capsys)
    two = [*extract, str(tmp_path / "two"), "--ops", "media,frames,scenes", "--sample", "every:0.5", "-q"]
    assert main(two) == 0
    line = ["clips", str(tmp_path / "two"), "-o", str(tmp_path / "apart"), "--max-seconds", "1"]
    apart = told([*line, "--min-seconds", "0.5", "--dedupe", "hash"], capsys)
    assert one["clips"]["num_clips"] == apart["num_clips"] > 0 and one["clips"]["dropped"] == apart["dropped"]
    mine, other = files(tmp_path / "one-clips"), files(tmp_path / "apart")
    assert set(mine) == set(other)
    assert all(mine[name] == other[name] for name in mine if name.endswith(".mp4"))
    rows = [
        pq.read_table(tmp_path / name / "clips.parquet").drop(["path"]) for name in ("one-clips", "apart")
    ]
    assert rows[0].equals(rows[1])
    kept = query(str(tmp_path / "one"), "SELECT count(*) FROM clips WHERE kept").rows
    assert kept[0][0] == apart["num_clips"]
    again = told([*extract, str(tmp_path / "one"), *ops, "--clips", "shots", *more], capsys)
    assert again["files_cached"] == 3 and again["clips"]["num_reused"] == apart["num_clips"]
    assert files(tmp_path / "one-clips").keys() == mine.keys()


def test_what_the_clips_are_planned_by_is_extracted_with_the_rest(clips: Path, tmp_path: Path) -> None:
    asked = {"plan": "stride:1", "to": str(tmp_path / "set"), "format": "webdataset", "dedupe": "hash"}
    summary = framemill.extract(clips, tmp_path / "out", ops=["audio_levels"], clips=asked)
    assert {"audio_levels", "scenes", "frames"} <= set(summary.rows) and summary.exit_code == 0
    assert summary.clips["num_clips"] > 0 and (tmp_path / "set" / "000000.tar").exists()


def test_settings_of_the_file_are_those_of_clips_too(
    clips: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "framemill.toml").write_text(
        '[set.clips]\nmax_seconds = 1\nmin_seconds = 0.5\nsize = "32x32"'
    )
    monkeypatch.chdir(tmp_path)
    line = ["extract", str(clips / "a.mp4"), "-o", "out", "--ops", "media"]
    assert not told(line, capsys)["clips"] and not (tmp_path / "out-clips").exists()
    made = told([*line, "--clips", "shots", "--clips-to", "cut"], capsys)["clips"]
    rows = pq.read_table(tmp_path / "cut" / "clips.parquet").to_pylist()
    assert len(rows) == made["num_clips"] > 2 and max(row["width"] for row in rows) <= 32


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--clips", "shotz!"], "'shotz!' is none"),
        (["--clips", "highlights"], "framemill highlights OUT"),
        (["--clips", "speech", "--ops", "media"], "add speech to --ops"),
        (["--clips", "stride:0.5"], "makes no clips of 1 to 60 s"),
        (["--clips", "shots", "--set", "clips.lenght=3"], "no option 'lenght'"),
        (["--clips", "shots", "--set", "clips.max_seconds=long"], "max_seconds"),
        (["--clips", "shots", "--set", "clips.dedupe=eyes"], "give hash or embedding"),
        (["--clips", "shots", "--set", "clips.profile=nice"], "there are motion"),
        (["--clips", "shots", "--set", "clips.encoder=h265"], "libx264"),
        (["--clips", "shots", "--set", "clips.format=zip"], "webdataset"),
        (["--set", "clips.max_seconds=3"], "need a plan"),
        (["--clips", "shots", "--preview"], "leave out --clips"),
    ],
)
def test_what_cannot_be_cut_is_refused_before_anything_is_extracted(
    clips: Path, tmp_path: Path, capsys: Capture, more: list[str], said: str
) -> None:
    assert main(["extract", str(clips), "-o", str(tmp_path / "out"), *more]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_place_that_holds_something_else_is_refused_before_anything_is_extracted(
    clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    for asked in ({"to": str(tmp_path / "full")}, ["shots"]):
        with pytest.raises(UsageError, match=r"name a new folder|not a mapping"):
            framemill.extract(clips, tmp_path / "out", clips=asked)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_cluster_is_given_no_path_that_it_cannot_find(
    clips: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    line = ["extract", str(clips), "--address", "127.0.0.1:1", "--clips", "shots"]
    for places in (["-o", "out"], ["-o", str(tmp_path / "out"), "--clips-to", "cut"]):
        assert main([*line, *places]) == 5
        assert "is a relative path" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_clips_are_cut_of_what_is_there_where_a_file_failed(
    clips: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.mp4").write_bytes(b"\0" * 5000)
    (tmp_path / "in" / "good.mp4").write_bytes((clips / "a.mp4").read_bytes())
    line = [
        "extract",
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "out"),
        "--clips",
        "shots",
        "--ops",
        "media",
    ]
    assert main([*line, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["clips"]["num_sources"] == 1
    (tmp_path / "in" / "good.mp4").unlink()
    line[3] = str(tmp_path / "none")
    assert main([*line, "--json"]) == 4
    assert not json.loads(capsys.readouterr().out)["clips"]
