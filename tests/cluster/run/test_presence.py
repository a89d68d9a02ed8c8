"""Files that moved, went or hold something else: who is missing, what counts as a copy, and forgetting."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.results.dataset import Dataset
from tests.cluster.extraction import extract, rows_of, statuses, tables_of

Capture = pytest.CaptureFixture[str]
OPS = ("media", "frames")


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    """The clips, extracted into `out` beside them."""
    folder = shutil.copytree(clips, tmp_path / "videos")
    extract(folder, out=tmp_path / "out", ops=OPS)
    return folder


def answer(capsys: Capture, *command: Path | str) -> Any:
    capsys.readouterr()
    assert main([*map(str, command), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_moved_deleted_and_changed_files_are_told(
    folder: Path, clips: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert answer(capsys, "status", out)["missing"] == []
    (folder / "a.mp4").rename(folder / "moved.mp4")
    (folder / "b.mp4").unlink()
    (folder / "c.mkv").write_bytes((clips / "b.mp4").read_bytes())
    told = answer(capsys, "status", out)
    gone = [str(folder / "a.mp4"), str(folder / "b.mp4")]
    assert [each["uri"] for each in told["missing"]] == gone
    assert told["changed"] == [str(folder / "c.mkv")]
    extract(folder, out=out, ops=OPS)
    told = answer(capsys, "status", out)
    # b's bytes are those of c now; that c.mkv shows them is known once it was read.
    assert [each["now_at"] for each in told["missing"]] == [str(folder / "moved.mp4"), str(folder / "c.mkv")]
    assert told["changed"] == []
    assert main(["status", str(out)]) == 0
    assert "moved.mp4" in capsys.readouterr().out


def test_what_is_missing_is_no_duplicate_of_what_took_its_place(
    folder: Path, clips: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    shutil.copy(clips / "b.mp4", folder / "copy.mp4")
    (folder / "a.mp4").rename(folder / "moved.mp4")
    # Remuxed, as one does who tidies up: other bytes that show the same.
    (folder / "d.mkv").write_bytes((folder / "c.mkv").read_bytes() + b"\xec\x81\0")
    extract(folder, out=out, ops=OPS)
    (folder / "c.mkv").unlink()
    found = answer(capsys, "duplicates", out)["videos"]
    assert [group["uris"] for group in found] == [[str(folder / "b.mp4"), str(folder / "copy.mp4")]]
    owners = {row["source_id"] for row in rows_of(out, "duplicates")}
    gone = Dataset.open(out, create=False).state.sources[str(folder / "c.mkv")].source_id
    assert gone not in owners
    shutil.copy(clips / "c.mkv", folder)
    names = [
        {Path(uri).name for uri in group["uris"]} for group in answer(capsys, "duplicates", out)["videos"]
    ]
    assert {"c.mkv", "d.mkv"} in names


def test_forgotten_files_are_in_no_table(folder: Path, clips: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    shutil.copy(clips / "b.mp4", folder / "copy.mp4")
    (folder / "bad.mp4").write_bytes(b"no video")
    extract(folder, out=out, ops=OPS)
    before = Dataset.open(out, create=False).state.sequence
    told = answer(capsys, "forget", out, folder / "a.mp4", folder / "bad.mp4", folder / "cop*")
    assert told == {
        "uris": [str(folder / name) for name in ("a.mp4", "bad.mp4", "copy.mp4")],
        "rows": {"errors": 1, "frames": 4, "media": 2},
    }
    assert Dataset.open(out, create=False).state.sequence == before + 1
    extract(folder / "b.mp4", folder / "c.mkv", out=tmp_path / "fresh", ops=OPS)
    assert {**tables_of(out), "errors": []} == {**tables_of(tmp_path / "fresh"), "errors": []}
    assert rows_of(out, "errors") == []
    # The files themselves are there, and are computed again when they are named.
    assert extract(folder / "a.mp4", out=out, ops=OPS).files_computed == 1


def test_missing_files_can_be_forgotten_and_wrong_names_forget_nothing(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    tables = tables_of(out)
    assert main(["forget", str(out), str(folder / "a.mp4"), str(folder / "absent.mp4")]) == 2
    assert "knows no such file" in capsys.readouterr().err
    assert main(["forget", str(out)]) == 2
    assert tables_of(out) == tables
    (folder / "a.mp4").unlink()
    assert main(["forget", str(out), "--missing"]) == 0
    assert "1 file forgotten" in capsys.readouterr().err
    assert set(statuses(out)) == {"b.mp4", "c.mkv"}
    for name in ("b.mp4", "c.mkv"):
        (folder / name).rename(tmp_path / name)
    # Not one is there: rather a disk that is away than files that went.
    assert main(["forget", str(out), "--missing"]) == 2
    assert "bring their disk back" in capsys.readouterr().err
    assert answer(capsys, "forget", out, folder)["rows"] == {"frames": 5, "media": 2}
    assert tables_of(out) == {}
