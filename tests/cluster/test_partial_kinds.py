"""What partial sources lack is told by kind: in `errors`, in the summary and, ever after, in `status`."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.inspection import probe_sources
from framemill.cluster.results.queries import query
from tests.actors.clips import moving, sine, write_clip, write_sound
from tests.actors.subtitled import with_packets
from tests.cluster.extraction import extract, failures, rows_of, statuses

SUBTITLES = {"transcript": {"origin": "subtitles"}}


def cut(path: Path, share: float = 0.6) -> Path:
    """A clip whose end is missing: of Matroska, whose header tells how long it was."""
    whole = write_clip(path.with_name("whole" + path.suffix), moving(75), tone=sine(3, 48_000))
    content = whole.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    whole.unlink()
    return path


def destroyed(path: Path) -> Path:
    """A clip with 400 bytes of its pictures overwritten."""
    content = bytearray(write_clip(path, moving(30), options={"g": "10"}).read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    return path


def hoarse(path: Path) -> Path:
    """A file of sound some packets of which cannot be decoded."""
    write_sound(path, sine(4, 48_000), 48_000, codec="aac", sample_format="fltp")
    with av.open(str(path)) as container:
        spans = [(p.pos or 0, p.size) for p in container.demux(audio=0) if p.size]
    content = bytearray(path.read_bytes())
    for position, size in spans[50:60]:
        content[position + 8 : position + size] = b"\xff" * (size - 8)
    path.write_bytes(content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of each kind, and one that is whole."""
    folder = tmp_path / "films"
    folder.mkdir()
    cut(folder / "cut.mkv")
    destroyed(folder / "destroyed.mp4")
    hoarse(folder / "hoarse.mkv")
    with_packets(folder / "texts.mp4", "mov_text", [b"\x00\x03one", b"\x00\x09two"])
    write_clip(folder / "well.mp4", moving(10))
    return folder


KINDS = {
    "cut.mkv": "cut_short",
    "destroyed.mp4": "damaged_pictures",
    "hoarse.mkv": "missing_sound",
    "texts.mp4": "damaged_subtitles",
}
LINE = "4 sources (1 cut short, 1 damaged pictures, 1 damaged subtitles, 1 missing sound)"


def test_each_kind_is_counted_in_the_summary_in_status_and_in_errors(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    line = ["extract", str(folder), "-o", str(out), "--ops", "media,frames,audio_levels,transcript"]
    line += ["--sample", "all", "--set", "transcript.origin=subtitles"]
    assert main(line) == 3
    assert f"\npartial: {LINE}\n" in capsys.readouterr().out
    found = query(out, "SELECT uri, kind FROM errors WHERE operation = '*' AND status = 'partial'").rows
    assert {Path(uri).name: kind for uri, kind in found} == KINDS
    # The same command computes nothing and tells the same.
    assert main([*line, "--json"]) == 3
    again = json.loads(capsys.readouterr().out)
    assert (again["files_computed"], again["files_partial"]) == (0, 4)
    assert again["partial_kinds"] == dict.fromkeys(sorted(KINDS.values()), 1)
    assert main(["status", str(out)]) == 0
    assert LINE in capsys.readouterr().out
    assert main(["status", str(out), "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert state["partial"] == dict.fromkeys(sorted(KINDS.values()), 1) and state["failed_sources"] == 0


def test_a_folder_without_partial_sources_says_nothing_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_clip(tmp_path / "a.mp4", moving(5)), tmp_path / "out"
    assert main(["extract", str(path), "-o", str(out), "--ops", "media"]) == 0
    assert "partial:" not in capsys.readouterr().out
    assert main(["status", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["partial"] == {}


@pytest.mark.parametrize("suffix", ["mkv", "webm", "avi"])
def test_a_cut_file_is_partial_by_its_description_alone(tmp_path: Path, suffix: str) -> None:
    if suffix == "webm":
        whole = write_clip(tmp_path / "whole.webm", moving(75), codec="libvpx")
        path = tmp_path / "cut.webm"
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    else:
        path = cut(tmp_path / f"cut.{suffix}")
    out = tmp_path / "out"
    summary = extract(path, out=out, ops=("media",))
    assert (summary.exit_code, summary.partial_kinds) == (3, {"cut_short": 1})
    assert statuses(out) == {path.name: "partial"} and failures(out) == {(path.name, "*"): "partial"}
    assert [row["status"] for row in probe_sources([str(path)])] == ["partial"]
    # Neither does it become whole by operations that never reach its end, nor by others afterwards.
    assert extract(path, out=out, ops=("key_frames",)).partial_kinds == {"cut_short": 1}
    assert extract(path, out=out, ops=("media", "frames", "scenes")).exit_code == 3
    assert statuses(out) == {path.name: "partial"}
    (row,) = rows_of(out, "errors")
    assert row["kind"] == "cut_short"


def test_copies_of_a_partial_file_are_partial_for_the_same_reason(tmp_path: Path) -> None:
    path = cut(tmp_path / "one.mkv")
    (tmp_path / "two.mkv").write_bytes(path.read_bytes())
    out = tmp_path / "out"
    assert extract(path, tmp_path / "two.mkv", out=out).partial_kinds == {"cut_short": 2}
    (tmp_path / "three.mkv").write_bytes(path.read_bytes())
    assert extract(tmp_path / "three.mkv", out=out).partial_kinds == {"cut_short": 1}
    assert {row["kind"] for row in rows_of(out, "errors")} == {"cut_short"}
    assert set(statuses(out).values()) == {"partial"}


def test_a_whole_file_is_ok_by_its_description_alone(tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv", "avi"):
        write_clip(tmp_path / f"a.{suffix}", moving(30), tone=sine(2, 48_000))
    out = tmp_path / "out"
    assert extract(tmp_path, out=out, ops=("media",)).exit_code == 0
    assert set(statuses(out).values()) == {"ok"}
