"""What fills in columns and changes no row, such as pictures of frames, can be added to a folder later."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.inspection import plan_sources
from framemill.cluster.request import ExtractRequest
from framemill.ops.frames.frames import FramesOp
from tests.cluster.extraction import extract, rows_of, tables_of

WITH = {"frames": {"images": True}}
OPS = ("media", "frames", "importance")


def rows(out: Path, table: str = "frames") -> tuple[list[dict[str, Any]], int]:
    """The rows of `frames` but for their pictures, and how many have one."""
    found = rows_of(out, table)
    plain = [{name: value for name, value in row.items() if name != "image"} for row in found]
    return sorted(plain, key=repr), sum(row["image"] is not None for row in found)


def test_pictures_are_filled_in_for_the_rows_that_are_there(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract(clips, out=out, ops=OPS)
    before, num_pictures = rows(out)
    others = {name: rows for name, rows in tables_of(out).items() if name != "frames"}
    assert num_pictures == 0
    planned = plan_sources(ExtractRequest(sources=(str(clips),), output=str(out), ops=OPS, options=WITH))
    assert {tuple(file["operations"]) for file in planned["files"]} == {("frames",)}
    assert main(["extract", str(clips), "-o", str(out), "--ops", ",".join(OPS), "--images"]) == 0
    after, num_pictures = rows(out)
    assert after == before and num_pictures == len(before) > 0
    assert {name: rows for name, rows in tables_of(out).items() if name != "frames"} == others
    for options in (WITH, {}):
        assert extract(clips, out=out, ops=OPS, options=options).files_computed == 0
    assert rows(out)[1] == len(before)
    fresh = tmp_path / "fresh"
    extract(clips, out=fresh, ops=OPS, options=WITH)
    assert tables_of(out) == tables_of(fresh)


def test_a_folder_whose_key_says_pictures_is_gone_on_with(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    shutil.copy(clips / "a.mp4", folder)
    with monkeypatch.context() as patched:  # as keys were made before pictures could be added
        patched.setattr(FramesOp, "additions", ())
        extract(folder, out=out, ops=OPS, options=WITH)
    assert rows(out)[1] == 4
    for options in (WITH, {}):
        assert extract(folder, out=out, ops=OPS, options=options).files_computed == 0
    shutil.copy(clips / "b.mp4", folder)
    assert extract(folder, out=out, ops=OPS).rows["frames"] == 3
    assert (len(rows(out)[0]), rows(out)[1]) == (7, 4)
    assert extract(folder, out=out, ops=OPS, options=WITH).rows == {"frames": 3}
    assert rows(out)[1] == 7


def picture_bytes(out: Path) -> int:
    return sum(len(row["image"]) for row in rows_of(out, "frames"))


def test_pictures_of_another_quality_are_made_anew_and_nothing_else(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    poor = {"frames": {"images": True, "quality": 20}}
    extract(clips, out=out, ops=OPS, options=WITH)
    before, large = tables_of(out), picture_bytes(out)
    assert extract(clips, out=out, ops=OPS, options=poor).rows.keys() == {"frames"}
    assert picture_bytes(out) < large
    for options in (poor, {}, {"frames": {"quality": 20}}):
        assert extract(clips, out=out, ops=OPS, options=options).files_computed == 0
    fresh = tmp_path / "fresh"
    extract(clips, out=fresh, ops=OPS, options=poor)
    assert tables_of(out) == tables_of(fresh)
    extract(clips, out=out, ops=OPS, options=WITH)
    assert tables_of(out) == before


def test_a_folder_whose_key_says_the_quality_is_gone_on_with(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    shutil.copy(clips / "a.mp4", folder)
    poor = {"frames": {"images": True, "quality": 20}}
    with monkeypatch.context() as patched:  # as keys were made before the quality was no part of them
        patched.setattr(FramesOp, "addition_options", ())
        extract(folder, out=out, ops=OPS, options=poor)
    small = picture_bytes(out)
    for options in (poor, {}):
        assert extract(folder, out=out, ops=OPS, options=options).files_computed == 0
    assert extract(folder, out=out, ops=OPS, options=WITH).rows.keys() == {"frames"}
    assert picture_bytes(out) > small
    assert extract(folder, out=out, ops=OPS, options=WITH).files_computed == 0


def test_pictures_half_made_are_not_taken_for_rows_without_or_with(clips: Path, tmp_path: Path) -> None:
    from framemill.cluster.run.planning import plan_ops

    def asked(**given: Any) -> str:
        request = ExtractRequest(sources=(), output="out", ops=("frames",), **given)
        return plan_ops(request, 600.0).ops["frames"].content_key

    assert asked(options=WITH)[:16] != asked()[:16]
    assert asked() == plan_key()


def plan_key() -> str:
    from framemill.cluster.run.planning import plan_ops

    request = ExtractRequest(sources=(), output="out", ops=("frames",))
    return str(plan_ops(request, 600.0).ops["frames"].key["digest"])
