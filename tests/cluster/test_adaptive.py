"""Adaptive sampling and cascades through the main job: what is decoded, what is kept, what is said."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from framemill.cluster.request import ExtractRequest
from framemill.cluster.run.planning import plan_ops
from framemill.errors import UsageError
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.extraction import (
    RecordingReporter,
    extract,
    failures,
    num_runs,
    render_clip,
    rows_of,
    tables_of,
)

ASKED: dict[str, Any] = {
    "sample": "adaptive",
    "ops": ("media", "frames", "quality"),
    "options": {"sampling": {"budget": 14, "floor_seconds": 3.0}, "candidates": {"audit_share": 0.3}},
    "cascade": ("quality",),
}


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_clip(tmp_path_factory.mktemp("adaptive") / "long.mkv", seed=7, seconds=11.0)


@pytest.fixture(scope="module")
def whole(long_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert extract(long_clip, out=out, **ASKED).exit_code == 0
    return out


def test_frames_are_those_of_the_plan_and_tell_its_reasons(whole: Path) -> None:
    planned = rows_of(whole, "sampling")
    assert 8 <= len(planned) <= 14
    told = {(r["frame_index"], r["tier"], r["reason"]) for r in planned}
    assert {(r["frame_index"], r["tier"], r["reason"]) for r in rows_of(whole, "frames")} == told
    covered = sorted((r["start_frame"], r["end_frame"]) for r in rows_of(whole, "importance"))
    assert covered[0][0] == 0 and covered[-1][1] == 11 * 12


def test_a_cascade_looks_at_what_was_kept_and_audited(whole: Path) -> None:
    candidates = rows_of(whole, "candidates")
    looked = {r["frame_index"] for r in candidates if r["decision"] != "skipped"}
    assert {r["frame_index"] for r in rows_of(whole, "quality")} == looked
    assert {r["frame_index"] for r in rows_of(whole, "frames")} == {r["frame_index"] for r in candidates}
    (recall,) = rows_of(whole, "recall")
    assert recall["operation"] == "quality"
    assert recall["num_kept"] == sum(r["decision"] == "kept" for r in candidates) == recall["num_found"]
    assert recall["num_audited"] == sum(r["decision"] == "audited" for r in candidates)


def test_divided_and_undivided_give_the_same_rows(long_clip: Path, whole: Path, tmp_path: Path) -> None:
    assert extract(long_clip, out=divided(tmp_path / "divided"), **ASKED).exit_code == 0
    assert tables_of(tmp_path / "divided") == tables_of(whole)


def test_operations_added_later_see_the_same_frames(long_clip: Path, whole: Path, tmp_path: Path) -> None:
    for ops in (("media", "frames"), ("quality",)):
        cascade = tuple(op for op in ASKED["cascade"] if op in ops)
        options = dict(ASKED["options"])
        if not cascade:
            del options["candidates"]
        asked = {**ASKED, "ops": ops, "cascade": cascade, "options": options}
        assert extract(long_clip, out=tmp_path / "out", **asked).exit_code == 0
    assert tables_of(tmp_path / "out") == tables_of(whole)
    assert extract(long_clip, out=tmp_path / "out", **ASKED).files_cached == 1
    assert num_runs(tmp_path / "out") == 2


def test_another_budget_is_another_table(long_clip: Path, whole: Path) -> None:
    other = {**ASKED, "options": {**ASKED["options"], "sampling": {"budget": 15, "floor_seconds": 3.0}}}
    with pytest.raises(UsageError, match=r"'sampling' was made differently.*`replace`"):
        extract(long_clip, out=whole, **other)


def test_a_budget_below_the_floor_gives_way_and_a_message_says_so(long_clip: Path, tmp_path: Path) -> None:
    reporter = RecordingReporter()
    options = {"sampling": {"budget": 2, "floor_seconds": 1.0}}
    asked = {**ASKED, "cascade": (), "options": options}
    extract(long_clip, out=tmp_path / "out", reporter=reporter, **asked)
    taken = rows_of(tmp_path / "out", "sampling")
    assert len(taken) >= 11 and all(row["is_floor"] for row in taken)
    assert any("budget of 2 frames" in said and f"up to {len(taken)}" in said for said in reporter.said)


def test_the_recall_is_said(whole: Path, long_clip: Path) -> None:
    reporter = RecordingReporter()
    extract(long_clip, out=whole, reporter=reporter, **ASKED)
    assert any(said.startswith("quality looked at") and "95% confidence" in said for said in reporter.said)


def _one_shot(path: Path, num_frames: int, shade: int, sound: bool) -> Path:
    """A picture that never changes, and silence."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        track = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if track is not None:
            for number in range(num_frames * 1600 // 1024):
                quiet = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                quiet.sample_rate, quiet.pts, quiet.time_base = 16_000, number * 1024, Fraction(1, 16_000)
                container.mux(track.encode(quiet))
            container.mux(track.encode(None))
    return path


def test_files_with_little_in_them_give_less_and_say_why(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    _one_shot(videos / "two frames.mp4", 2, 128, sound=False)
    _one_shot(videos / "a second.mp4", 10, 128, sound=True)
    _one_shot(videos / "black and endless.mp4", 600, 0, sound=True)
    render_clip(videos / "sound.flac", seed=5, with_picture=False)
    out, reporter = tmp_path / "out", RecordingReporter()
    asked = {**ASKED, "options": {"sampling": {"budget": 40}}}
    assert extract(videos, out=out, reporter=reporter, **asked).exit_code == 0
    assert any("2 of 4 files took fewer than 40 frames" in said for said in reporter.said)
    names = {row["source_id"]: Path(row["uri"]).name for row in rows_of(out, "media")}
    counts = {
        name: sum(names[r["source_id"]] == name for r in rows_of(out, "frames")) for name in names.values()
    }
    assert 1 <= counts["two frames.mp4"] <= 2 and counts["sound.flac"] == 0
    assert 1 <= counts["a second.mp4"] <= 5
    assert counts["black and endless.mp4"] == 40
    assert {row["reason"].split(": ")[-1] for row in rows_of(out, "sampling")} == {"nothing stands out"}
    black = [r for r in rows_of(out, "candidates") if names[r["source_id"]] == "black and endless.mp4"]
    assert {row["reason"] for row in black} == {"too dark"}
    assert {row["decision"] for row in black} <= {"audited", "skipped"}


def test_a_sound_track_that_cannot_be_decoded_costs_only_itself(tmp_path: Path) -> None:
    clip = render_clip(tmp_path / "odd.mp4", seed=4)
    clip.write_bytes(clip.read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"free"))
    out = tmp_path / "out"
    assert extract(clip, out=out, **ASKED).exit_code == 3
    assert set(failures(out)) == {("odd.mp4", "audio_levels"), ("odd.mp4", "speech")}
    assert rows_of(out, "sampling") and rows_of(out, "quality")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"options": {"sampling": {"budget": 5}}}, "need `sample='adaptive'`"),
        ({"options": {"candidates": {"recall_target": 0.5}}}, "need `cascade`"),
        ({"cascade": ("quality",)}, "`cascade='quality'`: it does not run"),
        ({"cascade": ("frames",)}, "`cascade='frames'`: only operations that look at sampled frames"),
        ({"ops": ("audio_levels",), "cascade": ("audio_levels",)}, "only operations that look"),
        ({"cascade": ("qualitty",)}, "unknown operation 'qualitty'"),
        ({"sample": "adaptive:3"}, "adaptive"),
        ({"sample": "keyframes:0"}, "1 to 1000000 frames"),
        ({"sample": "adaptive", "options": {"sampling": {"budget": 0}}}, r"sampling\.budget is 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan_ops(ExtractRequest(sources=("x",), output="out", **asked), 600.0)


def test_what_comes_after_a_cascaded_operation_sees_its_frames() -> None:
    asked = ("faces", "emotions", "objects", "tracks")
    request = ExtractRequest(sources=("x",), output="out", ops=asked, cascade=("faces",), sample="adaptive")
    plan = plan_ops(request, 600.0)
    stages = plan.stages()
    where = {op: number for number, stage in enumerate(stages) for op in stage}
    assert where["sampling"] == 0 and where["objects"] == where["candidates"] == 1
    assert where["faces"] == where["emotions"] == where["tracks"] == 2
    assert "candidates" in plan.ops["emotions"].key["after"]
    assert "candidates" not in plan.ops["objects"].key["after"]
    assert [op for stage in stages for op in stage] != [] and sum(map(len, stages)) == len(plan.ops)


def test_every_shot_of_a_real_video_has_a_frame(media_dir: Path, tmp_path: Path) -> None:
    clip = media_dir / "video" / "testvideo.mp4"
    asked = {**ASKED, "ops": ("frames",), "cascade": (), "options": {"sampling": {"budget": 12}}}
    assert extract(clip, out=tmp_path / "out", **asked).exit_code == 0
    frames = [row["frame_index"] for row in rows_of(tmp_path / "out", "sampling")]
    assert len(frames) <= 12
    for start, end in ((0, 30), (30, 180), (180, 393)):  # its first cuts, as labelled
        assert any(start <= frame < end for frame in frames)
