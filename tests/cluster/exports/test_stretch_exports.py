"""Highlights and what queries give as files of editing programs, in the source's own timecode."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import opentimelineio as otio
import pytest

from framemill.cluster.exports.formats import export_shots
from framemill.errors import UsageError
from tests.actors.clips import write_clip
from tests.cluster.exports.test_shot_exports import NTSC, scene
from tests.cluster.extraction import extract
from tests.cluster.results.hand_made import make_folder

QUERY = "SELECT source_id, start_seconds, end_seconds, 'a=b; c' AS name FROM scenes"


def media(start: str | None, rate: Fraction, **more: Any) -> dict[str, Any]:
    return {
        "uri": "", "fps": float(rate), "start_timecode": start, "num_frames": 2000, "width": 640,
        "height": 360, "duration_seconds": float(2000 / rate), "audio_codec": "aac", **more,
    }  # fmt: skip


def make(
    root: Path, start: str | None = None, rate: Fraction = NTSC, uri: str = "/clips/talk.mp4", **more: Any
) -> Path:
    """A file with two shots and two highlights, the better one behind."""
    scenes = [scene(0, 0, 1800, rate, "start"), scene(1, 1800, 1890, rate, "dissolve")]
    highlights = [
        {
            "rank": 0,
            "start_seconds": 10.01,
            "end_seconds": 12.012,
            "score": 0.9,
            "reasons": ["a face", "loud"],
        },
        {"rank": 1, "start_seconds": 1.001, "end_seconds": 2.002, "score": 0.5, "reasons": ["loud"]},
    ]
    frames = [
        {"frame_index": at, "pts_seconds": float(at / rate), "frame_score": score, "image": image}
        for at, score, image in ((305, 0.1, b"no"), (310, 0.9, b"\xff\xd8best"), (40, 0.5, None))
    ]
    tables = {
        "scenes": scenes, "highlights": highlights, "frames": frames, "media": [media(start, rate, **more)],
    }  # fmt: skip
    make_folder(root / "out", {name: {"a": rows} for name, rows in tables.items()}, {"a": [uri]})
    return root / "out"


def write(root: Path, form: str, **how: Any) -> str:
    """The one file that an export makes."""
    (made,), refused = export_shots(root, form, root.parent / form, **how)
    assert not refused
    return Path(made.path).read_text()


@pytest.mark.parametrize(
    ("start", "rate", "mode", "first", "second"),
    [
        ("01:00:00;02", NTSC, "DROP FRAME", "01:00:00;02 01:01:00;04", "01:01:00;04 01:01:03;04"),
        ("00:59:59:29", NTSC, "NON-DROP FRAME", "00:59:59:29 01:00:59:29", "01:00:59:29 01:01:02:29"),
        (None, NTSC, "DROP FRAME", "00:00:00;00 00:01:00;02", "00:01:00;02 00:01:03;02"),
        (
            "09:59:00;58", Fraction(60000, 1001), "DROP FRAME",
            "09:59:00;58 09:59:30;58", "09:59:30;58 09:59:32;28",
        ),
        ("10:00:00:00", Fraction(25), "NON-DROP FRAME", "10:00:00:00 10:01:12:00", "10:01:12:00 10:01:15:15"),
    ],
)  # fmt: skip
def test_an_edl_counts_in_the_source_s_own_timecode(
    tmp_path: Path, start: str | None, rate: Fraction, mode: str, first: str, second: str
) -> None:
    text = write(make(tmp_path, start, rate), "edl")
    assert f"\nFCM: {mode}\n" in text
    events = [line.split(maxsplit=4)[4] for line in text.splitlines() if line[:3].isdigit()]
    assert [event[:23] for event in events] == [first, second]
    assert events[0][24:35] == f"01:00:00{first[8]}00"
    clips = list(otio.adapters.read_from_string(text, "cmx_3600", rate=float(rate)).find_clips())
    assert [clip.source_range.duration.to_frames() for clip in clips] == [1800, 90]


def test_otio_and_csv_begin_at_the_start_timecode(tmp_path: Path) -> None:
    root = make(tmp_path, "01:00:00;00")
    clips = list(otio.adapters.read_from_string(write(root, "otio"), "otio_json").find_clips())
    assert [clip.source_range.start_time.to_frames() for clip in clips] == [107_892, 109_692]
    assert clips[0].available_range().start_time.to_frames() == 107_892
    assert clips[0].available_range().duration.to_frames() == 2000
    assert clips[1].source_range.start_time.to_timecode(30000 / 1001, drop_frame=True) == "01:01:00;02"
    _, second = csv.DictReader(write(root, "shots-csv").splitlines())
    assert (second["Source In"], second["Source Out"]) == ("01:01:00;02", "01:01:03;02")
    assert second["Start Timecode"] == "00:01:00.060"


def seconds(text: str | None) -> Fraction:
    assert text and text.endswith("s")
    return Fraction(text[:-1])


def test_fcpxml_has_exact_times_and_markers(tmp_path: Path) -> None:
    root = ET.fromstring(write(make(tmp_path, "01:00:00;00"), "fcpxml", of="highlights"))
    form = root.find("resources/format")
    asset = root.find("resources/asset")
    sequence = root.find("library/event/project/sequence")
    assert form is not None and asset is not None and sequence is not None
    assert form.get("frameDuration") == "1001/30000s" and sequence.get("tcFormat") == "DF"
    assert seconds(asset.get("start")) == 107_892 / NTSC and seconds(asset.get("duration")) == 2000 / NTSC
    early, late = sequence.findall("spine/asset-clip")
    assert seconds(early.get("start")) == (107_892 + 30) / NTSC
    assert seconds(late.get("offset")) == seconds(early.get("duration")) == 30 / NTSC
    assert [clip.find("marker").get("value") for clip in (early, late)] == ["loud", "a face, loud"]  # type: ignore[union-attr]
    assert late.find("marker").get("start") == late.get("start")  # type: ignore[union-attr]
    assert early.get("srcEnable") == "all" and asset.get("hasAudio") == "1"


def test_highlights_come_in_order_of_time_and_keep_their_rank(tmp_path: Path) -> None:
    root = make(tmp_path)
    text = write(root, "edl", of="highlights")
    assert text.index("GREEN   loud") < text.index("GREEN   a face, loud")
    (made, *_), _ = export_shots(root, "edl", tmp_path / "n", of="highlights")
    assert "no frames were given" in made.notes[0]
    text = write(root, "edl", of="highlights", where="score > 0.8")
    (event,) = [line for line in text.splitlines() if line[:3].isdigit()]
    assert event.split()[4:6] == ["00:00:10;00", "00:00:12;00"]


def test_frames_of_a_query_are_taken_where_it_gives_them(tmp_path: Path) -> None:
    root = make(tmp_path, rate=Fraction(25))
    query = (
        "SELECT uri, 1.0 AS start_seconds, 2::DECIMAL(4, 1) AS end_seconds, 7 AS start_frame, 9 AS end_frame"
    )
    given = write(root, "edl", of=f"{query} FROM sources -- exact")
    assert "00:00:00:07 00:00:00:09" in given
    varies = make(tmp_path / "varies", rate=Fraction(25), is_variable_rate=True)
    (made,), _ = export_shots(varies, "edl", tmp_path / "v", of=f"{query} FROM sources;")
    assert "00:00:01:00 00:00:02:00" in Path(made.path).read_text()
    assert "its rate varies" in made.notes[0]


def test_a_query_lacks_columns_or_gives_what_is_no_stretch(tmp_path: Path) -> None:
    root = make(tmp_path)
    for query, says in (
        ("SELECT score FROM highlights", "source_id (or uri), start_seconds, end_seconds"),
        ("SELECT source_id, start_seconds FROM highlights", "lacks end_seconds"),
        ("SELECT 'b' AS source_id, 1 AS start_seconds, 2 AS end_seconds", "no file"),
        ("SELECT 'a' AS source_id, 3 AS start_seconds, 2 AS end_seconds", "from 3 to 2 s"),
        ("SELECT 'a' AS source_id, NULL AS start_seconds, 2 AS end_seconds", "None as start_seconds"),
        ("SELECT 'a' AS source_id, '0:01' AS start_seconds, 2 AS end_seconds", "'0:01' as start_seconds"),
        ("highlight", "highlights"),
        ("DROP TABLE scenes", "syntax error"),
    ):
        with pytest.raises(UsageError) as told:
            export_shots(root, "edl", tmp_path / "no", of=query)
        assert says in str(told.value), query
    assert not (tmp_path / "no").exists()


def test_the_file_s_own_name_is_no_marker(tmp_path: Path) -> None:
    assert "LOC" not in write(make(tmp_path), "edl", of="SELECT * FROM shots")
    assert "GREEN   a=b; c" in write(make(tmp_path / "named"), "edl", of=QUERY)


def test_a_start_timecode_that_the_rate_does_not_have_is_told(tmp_path: Path) -> None:
    (made,), _ = export_shots(make(tmp_path, "01:00:00:29", Fraction(25)), "edl", tmp_path / "e")
    assert "01:00:00:29" in made.notes[0] and "00:00:00:00 00:01:12:00" in Path(made.path).read_text()


def parse_metadata(text: str) -> list[dict[str, str]]:
    """The chapters of FFmpeg's metadata format, by its documented grammar: a backslash escapes = ; # \\."""
    head, *lines = text.split("\n")
    assert head == ";FFMETADATA1" and lines.pop() == ""
    chapters: list[dict[str, str]] = []
    for line in lines:
        if line == "[CHAPTER]":
            chapters.append({})
            continue
        key, value = line.split("=", 1)
        bare = value.replace(r"\\", "").replace(r"\=", "").replace(r"\;", "").replace(r"\#", "")
        assert not set(bare) & set("=;#\\"), line
        chapters[-1][key] = value.replace(r"\=", "=").replace(r"\;", ";").replace(r"\#", "#")
    return chapters


def test_chapters_are_named_by_what_is_known_and_escaped(tmp_path: Path) -> None:
    root = make(tmp_path)
    assert [chapter["title"] for chapter in parse_metadata(write(root, "chapters"))] == ["Shot 1", "Shot 2"]
    chapters = parse_metadata(write(root, "chapters", of="highlights"))
    assert [chapter["title"] for chapter in chapters] == ["loud", "a face, loud"]
    assert [(one["TIMEBASE"], one["START"], one["END"]) for one in chapters] == [
        ("1/1000", "1001", "2002"), ("1/1000", "10010", "12012"),
    ]  # fmt: skip
    text = write(root, "chapters", of=QUERY)
    assert parse_metadata(text)[0]["title"] == "a=b; c"
    target = tmp_path / "read.ffmetadata"
    target.write_text(text)
    with av.open(str(target), format="ffmetadata") as container:
        read = container.chapters()
    assert [one["metadata"]["title"] for one in read] == ["a=b; c"] * 2
    assert [one["end"] * one["time_base"] for one in read] == [Fraction("60.060"), Fraction("63.063")]


def test_chapters_that_overlap_are_refused(tmp_path: Path) -> None:
    query = "SELECT source_id, unnest([0, 5]) AS start_seconds, 10 AS end_seconds FROM scenes"
    with pytest.raises(UsageError, match="goes on when the next begins at"):
        export_shots(make(tmp_path), "chapters", tmp_path / "c", of=query)


def test_stills_of_highlights_are_the_best_sampled_frames(tmp_path: Path) -> None:
    (made,), _ = export_shots(make(tmp_path), "stills", tmp_path / "s", of="highlights")
    assert Path(made.path).name == "talk-001.jpg" and Path(made.path).read_bytes() == b"\xff\xd8best"
    assert made.notes[0].startswith("1 of 2 have no picture: /clips/talk.mp4 is not there any more")


def test_stills_that_the_tables_lack_are_decoded(tmp_path: Path) -> None:
    shades = [np.full((48, 64, 3), 12 * shade, np.uint8) for shade in range(20)]
    clip = write_clip(tmp_path / "talk.mp4", shades)
    assert extract(clip, out=tmp_path / "out", ops=("media",)).exit_code == 0
    query = "SELECT source_id, 0.4 AS start_seconds, 0.56 AS end_seconds FROM media"
    (made,), _ = export_shots(tmp_path / "out", "stills", tmp_path / "s", of=query)
    picture = cv2.imread(made.path)
    assert picture.shape == (48, 64, 3) and abs(int(picture.mean()) - 12 * 12) < 6
    clip.unlink()
    with pytest.raises(UsageError, match="not there any more"):
        export_shots(tmp_path / "out", "stills", tmp_path / "s", of=query)
