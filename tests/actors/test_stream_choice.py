"""Which streams of a file are taken, by its flags or by what was asked for, and how they are described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from framemill.actors.indexing import index_source
from framemill.actors.stream_choice import Tracks
from framemill.errors import UnsupportedError

NONE, DEFAULT, COMMENT = Disposition(0), Disposition.default, Disposition.comment


@dataclass(frozen=True)
class Film:
    """A picture track of so many grey pictures."""

    count: int
    size: tuple[int, int]
    flags: Disposition = NONE
    language: str = ""
    codec: str = "mpeg4"


@dataclass(frozen=True)
class Sound:
    """A second of a sound track at a rate that tells it from others."""

    rate: int
    flags: Disposition = NONE
    language: str = ""


def write(path: Path, tracks: Sequence[Film | Sound]) -> Path:
    """A file of these tracks, in this order."""
    with av.open(str(path), "w") as out:
        streams: list[Any] = []
        for track in tracks:
            if isinstance(track, Film):
                stream: Any = out.add_stream(track.codec, rate=10)
                stream.width, stream.height = track.size
                stream.pix_fmt = "yuvj420p" if track.codec == "mjpeg" else "yuv420p"
            else:
                stream = out.add_stream("pcm_s16le", rate=track.rate, layout="mono", format="s16")
            stream.disposition = track.flags
            if track.language:
                stream.metadata["language"] = track.language
            streams.append(stream)
        for track, stream in zip(tracks, streams, strict=True):
            if isinstance(track, Film):
                for number in range(track.count):
                    picture = av.VideoFrame.from_ndarray(
                        np.full((track.size[1], track.size[0], 3), 10 * number % 256, np.uint8), "rgb24"
                    ).reformat(format=stream.pix_fmt)
                    picture.pts = number
                    out.mux(stream.encode(picture))
            else:
                samples = np.zeros((1, track.rate), np.int16)
                sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                sound.sample_rate, sound.pts, sound.time_base = track.rate, 0, Fraction(1, track.rate)
                out.mux(stream.encode(sound))
            out.mux(stream.encode(None))
    return path


SMALL, LARGE = (64, 48), (128, 96)


@pytest.mark.parametrize(
    ("films", "taken"),
    [
        pytest.param([Film(1, LARGE, codec="mjpeg"), Film(5, SMALL, DEFAULT)], 1, id="cover-before-film"),
        pytest.param([Film(1, LARGE), Film(5, SMALL)], 1, id="nothing-flagged"),
        pytest.param([Film(1, LARGE, DEFAULT), Film(5, SMALL, DEFAULT)], 1, id="both-flagged"),
        pytest.param([Film(5, SMALL), Film(5, LARGE, DEFAULT)], 1, id="default-second"),
        pytest.param([Film(5, SMALL, DEFAULT), Film(5, LARGE)], 0, id="default-though-smaller"),
        pytest.param([Film(5, SMALL), Film(5, LARGE)], 1, id="larger"),
        pytest.param([Film(5, SMALL), Film(5, SMALL)], 0, id="equal"),
        pytest.param([Film(1, SMALL)], 0, id="one-picture-alone"),
    ],
)
def test_the_picture_is_the_track_that_players_take(tmp_path: Path, films: list[Film], taken: int) -> None:
    index = index_source(str(write(tmp_path / "f.mkv", films)))
    assert index.video_stream == taken and len(index.frames) == films[taken].count
    assert (index.display_width, index.display_height) == films[taken].size
    assert [stream.is_taken for stream in index.description.streams] == [
        number == taken for number in range(len(films))
    ]


def test_tracks_of_containers_that_count_pictures_need_no_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "f.mp4", [Film(1, LARGE, DEFAULT), Film(5, SMALL, DEFAULT)])

    def opened(path: str) -> None:
        raise AssertionError("opened again")

    monkeypatch.setattr("framemill.actors.stream_choice.open_media", opened)
    assert index_source(str(path)).video_stream == 1


@pytest.mark.parametrize(
    ("sounds", "taken"),
    [
        pytest.param([Sound(8000, COMMENT), Sound(16000, DEFAULT)], 1, id="commentary-before-default"),
        pytest.param([Sound(8000, COMMENT), Sound(16000)], 1, id="commentary-before-plain"),
        pytest.param([Sound(8000, Disposition.visual_impaired), Sound(16000)], 1, id="described"),
        pytest.param([Sound(8000, Disposition.hearing_impaired), Sound(16000)], 1, id="for-the-deaf"),
        pytest.param([Sound(8000), Sound(16000)], 0, id="the-first"),
        pytest.param([Sound(8000, COMMENT | DEFAULT)], 0, id="alone"),
    ],
)
def test_the_sound_is_the_track_that_players_take(tmp_path: Path, sounds: list[Sound], taken: int) -> None:
    index = index_source(str(write(tmp_path / "f.mkv", sounds)))
    assert index.audio_stream == taken and index.description.sample_rate == sounds[taken].rate


ASKED = [Film(10, SMALL, DEFAULT, "eng"), Film(10, LARGE, language="ger"),
         Sound(8000, DEFAULT, "eng"), Sound(16000, language="ger"), Sound(22050, COMMENT, "fre")]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "video", "audio"),
    [
        (Tracks(), 0, 2), (Tracks(video="1"), 1, 2), (Tracks(audio="3"), 0, 3), (Tracks("1", "4"), 1, 4),
        (Tracks("ger", "ger"), 1, 3), (Tracks("de", "DEU"), 1, 3), (Tracks(audio="fr"), 0, 4),
        (Tracks("en", "eng"), 0, 2),
    ],
)  # fmt: skip
def test_tracks_are_asked_for_by_index_or_language(
    tmp_path: Path, asked: Tracks, video: int, audio: int
) -> None:
    index = index_source(str(write(tmp_path / "f.mkv", ASKED)), asked)
    assert (index.video_stream, index.audio_stream) == (video, audio)
    assert {stream.index for stream in index.description.streams if stream.is_taken} == {video, audio}


def test_of_several_tracks_in_a_language_players_take_one_too(tmp_path: Path) -> None:
    tracks = [
        Film(3, SMALL, language="eng"),
        Film(3, LARGE, language="eng"),
        Film(3, SMALL, DEFAULT, "ger"),
        Sound(8000, COMMENT, "eng"),
        Sound(16000, language="eng"),
        Sound(22050, DEFAULT, "ger"),
    ]
    index = index_source(str(write(tmp_path / "f.mkv", tracks)), Tracks("en", "en"))
    assert (index.video_stream, index.audio_stream) == (1, 4)


def test_a_track_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = str(write(tmp_path / "f.mkv", ASKED))
    index = index_source(path, Tracks(audio="ita"))
    assert index.audio_stream == -1 and index.video_stream == 0
    assert "no audio track 'ita'; there are 2 (eng), 3 (ger), 4 (fre)" in index.sound_problem
    assert "no video track '2'" in index_source(path, Tracks(video="2")).picture_problem
    with pytest.raises(UnsupportedError, match=r"no video track '9'.*no audio track '0'"):
        index_source(path, Tracks("9", "0"))


def test_a_file_without_sound_lacks_no_track_of_it(tmp_path: Path) -> None:
    index = index_source(str(write(tmp_path / "f.mkv", ASKED[:2])), Tracks(audio="ger"))
    assert index.sound_problem == "" and index.audio_stream == -1


def test_flags_are_described(tmp_path: Path) -> None:
    flags = [
        DEFAULT, Disposition.forced, Disposition.hearing_impaired, COMMENT, NONE,
    ]  # fmt: skip
    path = write(tmp_path / "f.mkv", [Sound(8000, flag) for flag in flags])
    described = index_source(str(path)).description.streams
    names = ("is_default", "is_forced", "is_hearing_impaired", "is_commentary")
    assert [[getattr(stream, name) for name in names] for stream in described] == [
        [flag is expected for expected in (DEFAULT, *flags[1:4])] for flag in flags
    ]
