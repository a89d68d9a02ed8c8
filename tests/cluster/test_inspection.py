"""Looking before working: what files hold, and what a run would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.inspection import plan_sources, probe_sources
from framemill.cluster.request import ExtractRequest
from framemill.errors import UsageError
from tests.cluster.extraction import FPS, OPS, extract


def _plan(*sources: Path, out: Path, **asked: Any) -> dict[str, Any]:
    given = {"ops": OPS, **asked}
    return plan_sources(ExtractRequest(sources=tuple(map(str, sources)), output=str(out), **given))


def test_a_probe_tells_what_files_hold(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 50)
    found = {Path(row["uri"]).name: row for row in probe_sources([str(clips), str(tmp_path / "bad.mp4")])}
    assert (found["a.mp4"]["width"], found["a.mp4"]["height"]) == (128, 96)
    assert (found["a.mp4"]["num_frames"], found["a.mp4"]["num_key_frames"]) == (4 * FPS, 4)
    assert found["c.mkv"]["audio_codec"] is None or found["c.mkv"]["audio_codec"] == ""
    assert found["bad.mp4"]["status"] == "failed" and found["bad.mp4"]["message"]


def test_a_plan_is_what_the_run_then_does_and_does_nothing(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    planned = _plan(clips, out=out, ops=("media", "frames"))
    assert not out.exists()
    assert {file["action"] for file in planned["files"]} == {"extract"}
    summary = extract(clips, out=out, ops=("media", "frames"))
    assert planned["frames_wanted"] == summary.rows["frames"]
    assert planned["packets_to_decode"] == summary.frames
    after = _plan(clips, out=out, ops=("media", "frames"))
    assert (after["files_done"], after["frames_wanted"]) == (3, 0)
    further = _plan(clips, out=out)
    assert all(file["operations"] == ["scenes", "audio_levels"] for file in further["files"])
    assert further["packets_to_decode"] == (4 + 3 + 2) * FPS


def test_a_plan_for_scenes_by_a_network_needs_no_model(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    asked: dict[str, Any] = {"out": tmp_path / "out", "ops": ("scenes",)}
    planned = _plan(clips, **asked, options={"scenes": {"method": "transnetv2"}})
    by_changes = _plan(clips, **asked)
    assert planned["packets_to_decode"] == by_changes["packets_to_decode"] == (4 + 3 + 2) * FPS
    assert planned["seconds_expected"] > 5 * by_changes["seconds_expected"]


def test_a_plan_refuses_what_the_run_would_refuse(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        _plan(clips, out=tmp_path / "file")
    extract(clips / "a.mp4", out=tmp_path / "out", ops=("frames",))
    with pytest.raises(UsageError, match="`replace`"):
        _plan(clips, out=tmp_path / "out", ops=("frames",), sample="all")


def test_a_plan_says_how_long_it_takes_and_what_that_is_known_from(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = _plan(clips, out=out)
    assert before["seconds_expected"] > 0
    assert before["seconds_expected"] == pytest.approx(
        sum(file["seconds_expected"] for file in before["files"]), abs=0.1
    )
    assert "another machine" in before["expected_from"]
    more = _plan(clips, out=out, sample="all", ops=(*OPS, "text"))
    assert more["seconds_expected"] > before["seconds_expected"], "more frames and operations take longer"
    summary = extract(clips / "a.mp4", out=out)
    after = _plan(clips, out=out)
    assert after["expected_from"] == "1 earlier run here"
    assert {file["action"] for file in after["files"]} == {"nothing", "extract"}
    # Two files of about the same length are left: the run took the time of one.
    assert 0 < after["seconds_expected"] < 4 * summary.elapsed_seconds
    again = _plan(clips / "a.mp4", out=out)
    assert again["seconds_expected"] == 0
