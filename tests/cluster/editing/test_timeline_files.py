"""Timelines as editing programs read them."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree

import opentimelineio as otio
import pytest

from framemill.cluster.editing.timeline import Clip, Timeline
from framemill.cluster.editing.timeline_files import write_timeline
from framemill.errors import SetupError, UsageError

NAMES = ("one.mp4", "it's \u00e9 & <two>.mov", "line\nbreak.mkv")


def timeline(fps: int = 30, music: bool = True) -> Timeline:
    clips = tuple(
        Clip(f"/videos/{NAMES[number % 3]}", 7 * number, 40 + number, 400, 640, 360, number % 3 == 0)
        for number in range(7)
    )
    return Timeline("cut", fps, 1280, 720, clips, "/music/so'ng.ogg" if music else "", 250 if music else 0)


def path_of(url: str) -> str:
    return unquote(urlparse(url).path)


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
def test_otio_comes_back_whole(tmp_path: Path, fps: int) -> None:
    made = timeline(fps)
    write_timeline(made, str(tmp_path / "cut.otio"))
    read = otio.adapters.read_from_file(str(tmp_path / "cut.otio"))
    assert read.duration() == otio.opentime.RationalTime(made.num_frames, fps)
    pictures, music = read.tracks
    assert (pictures.kind, music.kind) == ("Video", "Audio")
    for clip, wanted in zip(pictures, made.clips, strict=True):
        assert path_of(clip.media_reference.target_url) == wanted.uri
        assert clip.source_range.start_time.value == wanted.start_frame
        assert clip.source_range.duration.value == wanted.num_frames
        used, available = clip.source_range, clip.available_range()
        assert available.start_time <= used.start_time
        assert used.end_time_exclusive() <= available.end_time_exclusive()
    assert music[0].source_range.duration.value == 250


@pytest.mark.parametrize("ending", ["otio", "edl", "fcpxml"])
def test_files_in_a_store_are_named_by_their_address(tmp_path: Path, ending: str) -> None:
    made = Timeline(
        "cut", 30, 64, 64, (Clip("s3://bucket/a b\n.mp4", 0, 40, 400, 64, 64, True),), "gs://m/x.ogg", 90
    )
    write_timeline(made, str(tmp_path / f"cut.{ending}"))
    text = (tmp_path / f"cut.{ending}").read_text()
    assert "s3://bucket/a%20b%0A.mp4" in text and "gs://m/x.ogg" in text


def test_edl_comes_back_with_its_times_and_its_files(tmp_path: Path) -> None:
    made = timeline()
    write_timeline(made, str(tmp_path / "cut.edl"))
    text = (tmp_path / "cut.edl").read_text()
    events = [line for line in text.splitlines() if line[:3].isdigit()]
    assert len(events) == 7 and len({line.split()[1] for line in events}) == 3
    assert all(len(line.split()[1]) == 8 for line in events)
    assert "* MUSIC: file:///music/so" in text
    read = otio.adapters.read_from_file(str(tmp_path / "cut.edl"), rate=30)
    clips = list(read.find_clips())
    for clip, wanted in zip(clips, made.clips, strict=True):
        assert clip.source_range.start_time.to_frames() == wanted.start_frame
        assert clip.source_range.duration.to_frames() == wanted.num_frames
        assert path_of(clip.media_reference.target_url) == wanted.uri


def seconds(text: str) -> Fraction:
    assert text.endswith("s")
    return Fraction(text[:-1])


@pytest.mark.parametrize("fps", [24, 30, 50])
def test_fcpxml_is_well_formed_and_adds_up(tmp_path: Path, fps: int) -> None:
    made = timeline(fps)
    write_timeline(made, str(tmp_path / "cut.fcpxml"))
    root = ElementTree.parse(tmp_path / "cut.fcpxml").getroot()
    assert root.get("version") == "1.10" and [child.tag for child in root] == ["resources", "library"]
    resources = {element.get("id"): element for element in root.iterfind("resources/*")}
    assert len(resources) == len(list(root.iterfind("resources/*")))
    sequence = root.find("library/event/project/sequence")
    assert sequence is not None and seconds(sequence.get("duration", "")) == Fraction(made.num_frames, fps)
    at = Fraction(0)
    clips = sequence.findall("spine/asset-clip")
    for clip, wanted in zip(clips, made.clips, strict=True):
        asset = resources[clip.get("ref")]
        assert path_of(asset.find("media-rep").get("src", "")) == wanted.uri
        assert resources[clip.get("format")].tag == "format"
        assert resources[asset.get("format")].get("width") == "640"
        assert asset.get("hasAudio") == ("1" if wanted.has_sound else None)
        offset, start, length = (seconds(clip.get(name, "")) for name in ("offset", "start", "duration"))
        assert (offset, start, length) == (
            at,
            Fraction(wanted.start_frame, fps),
            Fraction(wanted.num_frames, fps),
        )
        assert start + length <= seconds(asset.get("duration", ""))
        at += length
    music = clips[0].findall("asset-clip")
    assert (
        len(music) == 1 and music[0].get("lane") == "-1" and music[0].get("offset") == clips[0].get("start")
    )
    assert path_of(resources[music[0].get("ref")].find("media-rep").get("src", "")) == made.music


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="must end in"):
        write_timeline(timeline(), str(tmp_path / "cut.aaf"))
    with pytest.raises(UsageError, match="make it first"):
        write_timeline(timeline(), str(tmp_path / "no" / "cut.otio"))
    with pytest.raises(UsageError, match="no clips"):
        write_timeline(Timeline("cut", 30, 640, 360, ()), str(tmp_path / "cut.otio"))
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(SetupError, match="edit"):
        write_timeline(timeline(), str(tmp_path / "cut.otio"))
    write_timeline(timeline(music=False), str(tmp_path / "cut.fcpxml"))
    assert [path.name for path in tmp_path.iterdir()] == ["cut.fcpxml"]


# Element -> its attributes and its children as far as they are used here, from Apple's DTD of FCPXML 1.10.
GRAMMAR: dict[str, tuple[set[str], set[str]]] = {
    "fcpxml": ({"version"}, {"resources", "library"}),
    "resources": (set(), {"asset", "format"}),
    "format": ({"id", "name", "frameDuration", "width", "height"}, set()),
    "asset": (
        {
            "id", "name", "start", "duration", "format",
            "hasVideo", "hasAudio", "videoSources", "audioSources",
        },
        {"media-rep"},
    ),
    "media-rep": ({"kind", "src"}, set()),
    "library": ({"location"}, {"event"}),
    "event": ({"name"}, {"project"}),
    "project": ({"name"}, {"sequence"}),
    "sequence": ({"format", "duration", "tcStart", "tcFormat", "audioLayout", "audioRate"}, {"spine"}),
    "spine": (set(), {"asset-clip"}),
    "asset-clip": (
        {
            "ref", "lane", "offset", "name", "start", "duration", "format", "tcFormat",
            "srcEnable", "audioRole",
        },
        {"asset-clip"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("music", [True, False])
def test_fcpxml_keeps_to_the_grammar(tmp_path: Path, music: bool) -> None:
    write_timeline(timeline(music=music), str(tmp_path / "cut.fcpxml"))
    for element in ElementTree.parse(tmp_path / "cut.fcpxml").iter():
        attributes, children = GRAMMAR[element.tag]
        assert set(element.attrib) <= attributes and {child.tag for child in element} <= children
