"""The timecode of the first frame, wherever a container keeps it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from framemill.actors.indexing import index_source

NTSC = Fraction(30000, 1001)


def clip(
    path: Path, codec: str, rate: Fraction, tag: str = "", on_stream: bool = False, gop: str = ""
) -> str | None:
    """The start timecode of a clip that was written with a tag, or with a number in its first group."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, options={"gop_timecode": gop} if gop else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if tag:
            (stream if on_stream else out).metadata["timecode"] = tag
        for shade in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * shade, np.uint8))
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return index_source(str(path)).description.start_timecode


@pytest.mark.parametrize(
    ("name", "codec", "rate", "tag"),
    [
        ("track.mov", "mpeg4", NTSC, "01:00:00;02"),
        ("track.mov", "libx264", NTSC, "00:59:59:29"),
        ("track.mp4", "libx264", Fraction(25), "10:00:00:24"),
        ("tag.mxf", "mpeg2video", Fraction(25), "23:59:59:24"),
        ("tag.mxf", "mpeg2video", NTSC, "10:00:00;02"),
        ("tag.mkv", "mpeg4", Fraction(25), "05:06:07:08"),
    ],
)
def test_the_tag_of_track_or_container_is_told(
    tmp_path: Path, name: str, codec: str, rate: Fraction, tag: str
) -> None:
    assert clip(tmp_path / name, codec, rate, tag) == tag


@pytest.mark.parametrize(("rate", "tag"), [(Fraction(25), "01:02:03:04"), (NTSC, "00:10:00;07")])
@pytest.mark.parametrize("name", ["coded.mpg", "coded.ts"])
def test_what_the_first_group_of_pictures_says_is_told(
    tmp_path: Path, name: str, rate: Fraction, tag: str
) -> None:
    assert clip(tmp_path / name, "mpeg2video", rate, gop=tag) == tag


def test_the_track_s_own_tag_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "both.mkv"
    assert clip(path, "mpeg4", Fraction(25), "09:00:00:00", on_stream=True) == "09:00:00:00"


@pytest.mark.parametrize("tag", ["", "25:00:00:00", "00:61:00:00", "one hour", "01:00:00"])
def test_what_is_no_timecode_is_not_told(tmp_path: Path, tag: str) -> None:
    assert clip(tmp_path / "tag.mkv", "mpeg4", Fraction(25), tag) is None
