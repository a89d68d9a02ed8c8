"""Which streams of files rows are made of: the choice, by default and by name, and what is known late."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from framemill.actors.indexing import index_source
from framemill.cluster.editing.source_pictures import SourcePictures, tracks_of
from framemill.cluster.results.dataset import Dataset
from framemill.errors import UsageError
from tests.actors.clips import moving, sine, sound_frames
from tests.actors.subtitled import write_subtitled
from tests.actors.test_stream_choice import ASKED, LARGE, SMALL, write
from tests.cluster.extraction import extract, rows_of

SUBTITLES = {"transcript": {"origin": "subtitles"}}
CUES = [(0.5, 1.5, "one"), (2.0, 4.0, "two")]


def test_rows_are_of_the_tracks_that_were_asked_for(tmp_path: Path) -> None:
    film = write(tmp_path / "film.mkv", ASKED)
    for name, size, rate, tracks in (
        ("plain", SMALL, 8000, {}),
        ("named", LARGE, 16000, {"video_track": "1", "audio_track": "de"}),
    ):
        out = tmp_path / name
        assert extract(film, out=out, **tracks).exit_code == 0
        (row,) = rows_of(out, "media")
        assert (row["width"], row["height"], row["sample_rate"]) == (*size, rate)
        assert len(rows_of(out, "audio_levels")) == 10
        dataset = Dataset.open(out, create=False)
        asked = tracks_of(dataset)
        assert (asked.video, asked.audio) == (tracks.get("video_track", ""), tracks.get("audio_track", ""))
        # Pictures that are shown later are those of the same track.
        (image,) = SourcePictures(dataset).fetch(row["source_id"], np.zeros(1, np.int64))
        assert image is not None
        with av.open(BytesIO(image)) as shown:
            assert (shown.streams.video[0].width, shown.streams.video[0].height) == size
    with pytest.raises(UsageError, match="tracks is"):
        extract(film, out=tmp_path / "named")
    assert extract(film, out=tmp_path / "named", video_track="1", audio_track="de").files_cached == 1


def test_a_track_that_is_missing_costs_its_own_tables_alone(tmp_path: Path) -> None:
    film = write(tmp_path / "film.mkv", ASKED)
    out = tmp_path / "out"
    assert extract(film, out=out, audio_track="ita").exit_code == 3
    assert len(rows_of(out, "scenes")) > 0 and not rows_of(out, "audio_levels")
    errors = rows_of(out, "errors")
    assert {row["operation"] for row in errors} >= {"audio_levels"} and "scenes" not in str(errors)
    assert all("no audio track 'ita'" in row["message"] for row in errors)


@pytest.mark.parametrize(("codec", "suffix"), [("subrip", "mkv"), ("mov_text", "mp4"), ("webvtt", "webm")])
def test_a_file_of_subtitles_alone_works_where_they_were_asked_for(
    tmp_path: Path, codec: str, suffix: str
) -> None:
    path = write_subtitled(tmp_path / f"t.{suffix}", [(codec, "eng", CUES)], with_sound=False)
    out = tmp_path / "out"
    assert extract(path, out=out, ops=("media", "transcript"), options=SUBTITLES).exit_code == 0
    rows = rows_of(out, "transcript")
    assert [row["text"] for row in rows] == ["one", "two"] and {row["stream_index"] for row in rows} == {0}
    assert [(row["start_seconds"], row["end_seconds"]) for row in rows] == [(0.5, 1.5), (2.0, 4.0)]
    (described,) = rows_of(out, "media")
    assert described["duration_seconds"] == pytest.approx(4.0) and described["status"] == "ok"
    assert described["streams"][0]["is_taken"]


def test_a_file_of_subtitles_alone_is_unsupported_where_they_were_not(tmp_path: Path) -> None:
    path = write_subtitled(tmp_path / "t.mkv", [("subrip", "eng", CUES)], with_sound=False)
    out = tmp_path / "out"
    assert extract(path, out=out, ops=("media", "frames", "audio_levels")).exit_code == 4
    (row,) = rows_of(out, "errors")
    assert row["status"] == "unsupported" and "only subtitles" in row["message"]


def test_a_picture_that_begins_late_is_described_too(tmp_path: Path) -> None:
    path = tmp_path / "late.ts"
    with av.open(str(path), "w", format="mpegts") as out:
        picture: Any = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        picture.codec_context.sample_aspect_ratio = Fraction(3, 2)
        sound: Any = out.add_stream("aac", rate=32_000, layout="mono")
        for piece in sound_frames((0.1 * sine(13.0, 32_000)).astype(np.float32), 32_000, "fltp", "mono"):
            out.mux(sound.encode(piece))
        out.mux(sound.encode(None))
        for number, pixels in enumerate(moving(25)):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = number + 12 * 25, Fraction(1, 25)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
    with av.open(str(path)) as container:
        assert not container.streams.video[0].codec_context.width, (
            "a player that opens the file knows no more"
        )
    index = index_source(str(path))
    assert (index.description.video_codec, index.display_width, index.display_height) == ("h264", 144, 64)
    assert len(index.frames) == 25 and index.frames.pts_seconds[0] == pytest.approx(12.0, abs=0.1)


def write_late(path: Path, late_seconds: int, rate: int) -> Path:
    """A transport stream whose sound begins long after its picture."""
    with av.open(str(path), "w", format="mpegts") as out:
        picture: Any = out.add_stream("mpeg2video", rate=25)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        sound: Any = out.add_stream("aac", rate=rate, layout="mono")
        for number, pixels in enumerate(moving(25 * (late_seconds + 2))):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        tone = (0.1 * sine(2.0, rate)).astype(np.float32)
        for piece in sound_frames(tone, rate, "fltp", "mono", late_seconds * rate):
            out.mux(sound.encode(piece))
        out.mux(sound.encode(None))
    return path


def test_sound_that_begins_late_is_described_and_keeps_its_times(tmp_path: Path) -> None:
    path = write_late(tmp_path / "late.ts", 9, 32_000)
    with av.open(str(path)) as container:
        assert not container.streams.audio[0].rate, "a player that opens the file knows no more"
    out = tmp_path / "out"
    assert extract(path, out=out, ops=("media", "audio_levels")).exit_code == 0
    (row,) = rows_of(out, "media")
    assert (row["audio_codec"], row["sample_rate"], row["num_channels"]) == ("aac", 32_000, 1)
    first = min(level["start_seconds"] for level in rows_of(out, "audio_levels"))
    assert first == pytest.approx(9.0, abs=0.1)
