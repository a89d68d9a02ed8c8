"""What becomes of inputs that are damaged, odd or gone: one row in `errors`, and the rest is finished."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster import extraction_run as engine
from framemill.cluster.run import sources
from tests.cluster.extraction import (
    OPS,
    RecordingReporter,
    extract,
    failures,
    num_runs,
    render_clip,
    rows_of,
    statuses,
    tables_of,
)


def _truncate(clip: Path, path: Path, share: float) -> Path:
    data = clip.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds in Matroska, which can be cut off anywhere."""
    return render_clip(tmp_path_factory.mktemp("long") / "long.mkv", seed=9, seconds=8.0)


def test_bad_files_cost_one_row_each(clips: Path, long_clip: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "mixed", tmp_path / "out"
    shutil.copytree(clips, folder)
    (folder / "empty.mp4").touch()
    (folder / "garbage.mp4").write_bytes(bytes(range(256)) * 64)
    _truncate(long_clip, folder / "cut.mkv", 0.5)
    _truncate(clips / "a.mp4", folder / "headless.mp4", 0.5)
    (folder / "notes.txt").write_text("noise")
    (folder / "data.json").write_text("{}")
    (folder / ".hidden.mp4").write_bytes(b"x")
    (tmp_path / "named.txt").write_text("words")
    arguments = (folder, tmp_path / "named.txt", tmp_path / "absent.mp4")
    summary = extract(*arguments, out=out)
    assert (summary.exit_code, summary.files_total, summary.files_skipped) == (3, 9, 3)
    assert (summary.files_failed, summary.files_partial) == (5, 1)
    assert statuses(out) == {"a.mp4": "ok", "b.mp4": "ok", "c.mkv": "ok", "cut.mkv": "partial"}
    assert failures(out) == {
        ("empty.mp4", "*"): "failed",
        ("garbage.mp4", "*"): "failed",
        ("headless.mp4", "*"): "failed",
        ("cut.mkv", "*"): "partial",
        ("named.txt", "*"): "failed",
        ("absent.mp4", "*"): "failed",
    }
    (cut,) = (row for row in rows_of(out, "media") if row["uri"].endswith("cut.mkv"))
    assert sum(row["source_id"] == cut["source_id"] for row in rows_of(out, "frames")) >= 3
    messages = {Path(row["uri"]).name: row["message"] for row in rows_of(out, "errors")}
    assert "empty" in messages["empty.mp4"] and "seconds" in messages["cut.mkv"]
    # Only what is not there is looked for again.
    again = extract(*arguments, out=out)
    assert (again.exit_code, again.files_computed, again.files_cached) == (3, 1, 8)
    assert (again.files_failed, again.files_partial) == (5, 1)
    attempts = {Path(row["uri"]).name: row["attempts"] for row in rows_of(out, "errors")}
    assert attempts == {name: 2 if name == "absent.mp4" else 1 for name in attempts}
    retried = extract(*arguments, out=out, retry_failed=True)
    assert (retried.files_computed, retried.files_cached) == (5, 4)
    assert {row["attempts"] for row in rows_of(out, "errors")} == {1, 2, 3}


def test_a_partial_file_stays_partial_whatever_is_added(long_clip: Path, tmp_path: Path) -> None:
    cut = _truncate(long_clip, tmp_path / "cut.mkv", 0.5)
    for ops in (("media", "frames"), ("audio_levels",), ("scenes",)):
        summary = extract(cut, out=tmp_path / "out", ops=ops)
        assert (summary.exit_code, summary.files_failed, summary.files_partial) == (3, 0, 1)
    again = extract(cut, out=tmp_path / "out")
    assert (again.exit_code, again.files_computed, again.files_partial) == (3, 0, 1)
    extract(cut, out=tmp_path / "at once")
    apart, at_once = tables_of(tmp_path / "out"), tables_of(tmp_path / "at once")
    assert statuses(tmp_path / "out") == {"cut.mkv": "partial"}
    assert {name: apart[name] for name in OPS} == {name: at_once[name] for name in OPS}
    assert failures(tmp_path / "out") == {("cut.mkv", "*"): "partial"}


def test_nothing_but_bad_files_is_no_usable_input(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"nothing of the kind" * 100)
    assert extract(tmp_path / "bad.mp4", out=tmp_path / "out").exit_code == 4
    assert extract(tmp_path / "bad.mp4", out=tmp_path / "out").exit_code == 4
    assert num_runs(tmp_path / "out") == 1
    assert extract(tmp_path / "bad.mp4", clips, out=tmp_path / "out").exit_code == 3


def test_bad_duplicates_fail_together_and_are_tried_once(clips: Path, tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_bytes(b"nothing of the kind" * 100)
    extract(tmp_path / "one.mp4", tmp_path / "two.mp4", clips, out=tmp_path / "out")
    assert failures(tmp_path / "out") == {("one.mp4", "*"): "failed", ("two.mp4", "*"): "failed"}
    assert extract(tmp_path / "one.mp4", tmp_path / "two.mp4", clips, out=tmp_path / "out").files_cached == 5


def test_a_mended_file_loses_its_error(clips: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"not yet")
    extract(clip, out=tmp_path / "out")
    shutil.copy(clips / "a.mp4", clip)
    assert extract(clip, out=tmp_path / "out").exit_code == 0
    extract(clip, out=tmp_path / "fresh")
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "fresh")


def test_a_file_that_vanishes_after_listing(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "videos"
    shutil.copytree(clips, folder)

    def list_then_lose(*arguments: Any, **options: Any) -> sources.SourceList:
        found = sources.list_sources(*arguments, **options)
        (folder / "b.mp4").unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(engine, "list_sources", list_then_lose)
        assert extract(folder, out=tmp_path / "out").exit_code == 3
    assert failures(tmp_path / "out") == {("b.mp4", "*"): "failed"}
    # It is back: the next run tries again by itself.
    shutil.copy2(clips / "b.mp4", folder)
    assert extract(folder, out=tmp_path / "out").exit_code == 0
    extract(folder, out=tmp_path / "fresh")
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "fresh")


def test_sound_alone_and_picture_alone(clips: Path, tmp_path: Path) -> None:
    sound = render_clip(tmp_path / "sound.flac", seed=5, with_picture=False)
    summary = extract(sound, clips / "c.mkv", out=tmp_path / "out")
    assert summary.exit_code == 0
    ids = {Path(row["uri"]).name: row["source_id"] for row in rows_of(tmp_path / "out", "media")}
    assert {row["source_id"] for row in rows_of(tmp_path / "out", "audio_levels")} == {ids["sound.flac"]}
    assert {row["source_id"] for row in rows_of(tmp_path / "out", "frames")} == {ids["c.mkv"]}
    again = extract(sound, clips / "c.mkv", out=tmp_path / "out")
    assert again.files_computed == 0


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_names_that_are_no_text(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"caf\xe9.mp4", b"line\nbreak.mp4", "snow ☃ 'quoted' [1].mp4".encode()):
        shutil.copy(clips / "a.mp4", os.path.join(os.fsencode(folder), name))
    reporter = RecordingReporter()
    summary = extract(folder, out=tmp_path / "out", reporter=reporter)
    assert summary.exit_code == 0, reporter.said
    assert sorted(statuses(tmp_path / "out")) == [
        "caf\\xe9.mp4", "line\nbreak.mp4", "snow ☃ 'quoted' [1].mp4"
    ]  # fmt: skip
    assert extract(folder, out=tmp_path / "out").files_cached == 3


def test_an_audio_track_without_decoder_is_an_error_row(media_dir: Path, tmp_path: Path) -> None:
    bad = media_dir / "video" / "audio_unsupported_ac4.mp4"
    summary = extract(bad, media_dir / "video" / "counter.mp4", out=tmp_path / "out")
    assert summary.exit_code == 3
    assert failures(tmp_path / "out") == {(bad.name, "*"): "unsupported"}
