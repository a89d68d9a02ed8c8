"""Shots exported to files, each read by the program or library that it is meant for."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import opentimelineio as otio
import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.exports.timecode import timecode
from tests.cluster.results.hand_made import make_folder

Capture = pytest.CaptureFixture[str]
NTSC = Fraction(30000, 1001)


def scene(index: int, first: int, end: int, rate: Fraction, how: str) -> dict[str, Any]:
    return {
        "scene_index": index, "start_frame": first, "end_frame": end, "transition": how,
        "start_seconds": float(first / rate), "end_seconds": float(end / rate),
    }  # fmt: skip


def make(root: Path, fps: float = float(NTSC), rate: Fraction = NTSC, **uris: list[str]) -> Path:
    """Sources with two shots, 1800 frames and 90; frame 5 of the first shows a dog and has a picture."""
    uris = uris or {"a": ["/clips/My talk: one.mp4"]}
    scenes = [scene(0, 0, 1800, rate, "start"), scene(1, 1800, 1890, rate, "dissolve")]
    frames = [
        {"frame_index": 5, "pts_seconds": 0.2, "sharpness": 1.0, "frame_score": 0.5, "image": b"\xff\xd8"}
    ]
    objects = [{"frame_index": 5, "pts_seconds": 0.2, "object_index": 0, "label": "dog"}]
    tables = {
        "scenes": scenes, "frames": frames, "objects": objects, "media": [{"uri": "", "fps": fps}],
    }  # fmt: skip
    make_folder(root / "out", {name: {key: rows for key in uris} for name, rows in tables.items()}, uris)
    return root / "out"


@pytest.mark.parametrize(
    ("frames", "rate", "expected"),
    [
        (0, NTSC, "00:00:00;00"),
        (1799, NTSC, "00:00:59;29"),
        (1800, NTSC, "00:01:00;02"),
        (17981, NTSC, "00:09:59;29"),
        (17982, NTSC, "00:10:00;00"),
        (107892, NTSC, "01:00:00;00"),
        (3600, Fraction(60000, 1001), "00:01:00;04"),
        (1800, Fraction(30), "00:01:00:00"),
        (24, Fraction(24000, 1001), "00:00:01:00"),
        (25 * 86400, Fraction(25), "00:00:00:00"),
    ],
)
def test_timecode_drops_numbers_where_the_rate_asks_for_it(
    frames: int, rate: Fraction, expected: str
) -> None:
    assert timecode(frames, rate) == expected


def test_timecode_is_what_opentimelineio_writes() -> None:
    for frame in (*range(0, 40_000, 7), 1_000_000):
        time = otio.opentime.RationalTime(frame, 30000 / 1001)
        assert timecode(frame, NTSC) == time.to_timecode(30000 / 1001, drop_frame=True), frame


@pytest.mark.parametrize(
    ("fps", "rate"), [(29.9698, NTSC), (25.0, Fraction(25)), (23.976, Fraction(24000, 1001))]
)
def test_an_edl_is_read_back_to_the_frame(tmp_path: Path, fps: float, rate: Fraction) -> None:
    root = make(tmp_path, fps, rate)
    assert main(["export", str(root), "--format", "edl", "-o", str(tmp_path / "edl")]) == 0
    text = (tmp_path / "edl" / "My_talk_one.edl").read_text()
    assert ("FCM: DROP FRAME" in text) == (rate == NTSC)
    assert "* FROM CLIP NAME: My talk: one.mp4" in text
    assert "* LOC: 01:00:00" in text and "GREEN   dog" in text
    timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=float(rate))
    clips = list(timeline.find_clips())
    assert [clip.source_range.start_time.to_frames() for clip in clips] == [0, 1800]
    assert [clip.source_range.duration.to_frames() for clip in clips] == [1800, 90]
    (reel,) = {line.split()[1] for line in text.splitlines() if line[:3].isdigit()}
    assert len(reel) == 8 and reel.isalnum()


def test_reels_differ_though_names_begin_alike(tmp_path: Path) -> None:
    root = make(tmp_path, a=["/x/interview_take_1.mp4"], b=["/x/interview_take_2.mp4"])
    assert main(["export", str(root), "--format", "edl", "-o", str(tmp_path / "edl")]) == 0
    reels = {path.read_text().splitlines()[3].split()[1] for path in (tmp_path / "edl").iterdir()}
    assert len(reels) == 2


def test_an_otio_timeline_has_the_shots_at_the_source_s_rate(tmp_path: Path) -> None:
    root = make(tmp_path)
    command = [
        "export",
        str(root),
        "--format",
        "otio",
        "--where",
        "scene_index = 1",
        "-o",
        str(tmp_path / "o"),
    ]
    assert main(command) == 0
    (clip,) = otio.adapters.read_from_file(str(tmp_path / "o" / "My_talk_one.otio")).find_clips()
    assert clip.source_range.start_time == otio.opentime.RationalTime(1800, 30000 / 1001)
    assert clip.source_range.duration.value == 90
    assert clip.media_reference.target_url == "file:///clips/My%20talk%3A%20one.mp4"
    assert clip.metadata["framemill"]["transition"] == "dissolve"


def test_the_csv_has_pyscenedetect_s_columns_and_ours(tmp_path: Path) -> None:
    root = make(tmp_path)
    assert main(["export", str(root), "--format", "shots-csv", "-o", str(tmp_path / "c")]) == 0
    first, second = csv.DictReader((tmp_path / "c" / "My_talk_one-shots.csv").open())
    assert (first["Scene Number"], first["Start Frame"], first["End Frame"]) == ("1", "1", "1800")
    assert (first["End Timecode"], first["Length (frames)"]) == ("00:01:00.060", "1800")
    assert (first["Still"], second["Still"]) == ("My_talk_one-001.jpg", "")
    assert (second["Start Frame"], second["Length (seconds)"]) == ("1801", "3.003")
    assert (second["Transition"], second["File"]) == ("dissolve", "/clips/My talk: one.mp4")


def test_stills_are_named_by_shot(tmp_path: Path) -> None:
    root = make(tmp_path)
    assert main(["export", str(root), "--format", "stills", "-o", str(tmp_path / "s")]) == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()} == {
        "My_talk_one-001.jpg": b"\xff\xd8"
    }


def test_a_suffix_stands_only_where_names_clash(tmp_path: Path) -> None:
    root = make(tmp_path, aaaaaaaaa=["/x/talk.mp4"], bbbbbbbbb=["/y/Talk.mov"], c=["/x/other.mp4"])
    assert main(["export", str(root), "--format", "edl", "-o", str(tmp_path / "e")]) == 0
    names = {path.name for path in (tmp_path / "e").iterdir()}
    assert names == {"talk-aaaaaaaa.edl", "Talk-bbbbbbbb.edl", "other.edl"}


def test_files_land_beside_their_sources(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    root = make(tmp_path, a=[str(tmp_path / "clips" / "talk.mp4")])
    assert main(["export", str(root), "--format", "edl", "--beside", "--name", "{stem}.cut"]) == 0
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["talk.cut.edl"]


def test_what_cannot_be_said_is_refused_with_the_reason(tmp_path: Path, capsys: Capture) -> None:
    odd = make(tmp_path / "odd", fps=12.34, rate=Fraction(1234, 100))
    target = str(tmp_path / "e")
    assert main(["export", str(odd), "--format", "edl", "-o", target]) == 2
    assert "12.340" in capsys.readouterr().err
    assert main(["export", str(odd), "--format", "otio", "-o", target]) == 0
    for name in ("../{stem}", "{nope}", ".{stem}", "{stem.__class__.nope}"):
        assert main(["export", str(odd), "--format", "otio", "-o", target, "--name", name]) == 2, name
    store = make(tmp_path / "store", a=["s3://bucket/talk.mp4"])
    assert main(["export", str(store), "--format", "edl", "--beside"]) == 2
    assert "object store" in capsys.readouterr().err
    assert main(["export", str(store), "--format", "srt", "-o", target, "--where", "true"]) == 2
    assert main(["export", str(store), "--format", "edl"]) == 2


def test_one_file_that_cannot_be_said_does_not_cost_the_others(tmp_path: Path, capsys: Capture) -> None:
    here = tmp_path / "talk.mp4"
    root = make(tmp_path, a=[str(here)], b=["s3://bucket/talk.mp4"])
    assert main(["export", str(root), "--format", "edl", "--beside", "--json"]) == 3
    shown = capsys.readouterr()
    assert [file["uri"] for file in json.loads(shown.out)] == [str(here)]
    assert "left out: s3://bucket/talk.mp4" in shown.err
