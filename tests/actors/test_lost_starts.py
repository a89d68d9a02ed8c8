"""Recordings that begin in the middle: what leans on what was cut off is no frame, all else is delivered."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import pytest

from framemill.actors.indexing import index_and_keep, index_source
from framemill.actors.pyav_frames import PyavFrames
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.ops.chunks import Int64Array

NUM_PICTURES, STEP = 60, 3


@pytest.fixture(scope="module")
def packets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Open groups of 12 pictures, as .mp4 and as .ts; picture N has luma 20 + 3N."""
    folder = tmp_path_factory.mktemp("whole")
    for ending in ("ts", "mp4"):  # transport streams repeat the parameters of the stream in each group
        write(folder / f"whole.{ending}")
    return folder


def write(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=1:bframes=3:qp=10"}
        for number in range(NUM_PICTURES):
            planes = np.full((72, 64), 128, np.uint8)
            planes[:48] = 20 + STEP * number
            picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def cut(folder: Path, path: Path, first: int, shift_seconds: float = 0.0) -> Path:
    """The packets from number `first` on, earlier by so many seconds."""
    options = {"avoid_negative_ts": "disabled"}
    source = folder / ("whole.ts" if path.suffix == ".ts" else "whole.mp4")
    with av.open(str(source)) as whole, av.open(str(path), "w", options=options) as out:
        stream = out.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(whole.demux(video=0)):
            if packet.size and number >= first and packet.pts is not None and packet.dts is not None:
                ticks = round(shift_seconds / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, stream
                out.mux(packet)
    return path


def levels_of_plain_decode(path: Path) -> list[int]:
    """Which pictures PyAV gives of the file, by their luma."""
    found = []
    with av.open(str(path)) as container, contextlib.suppress(av.error.FFmpegError):
        for frame in container.decode(video=0):
            found.append(round((float(frame.to_ndarray()[:48].mean()) - 20) / STEP))
    return found


def levels_delivered(path: Path, keep: bool) -> list[int]:
    index, container = index_and_keep(str(path)) if keep else (index_source(str(path)), None)
    every: Int64Array = np.arange(len(index.frames))
    report = ReadReport()
    chunks = list(read_shard(str(path), index, ReadRequest(every, every[:0], False, 1), report, container))
    assert report.num_missing == 0 and all(isinstance(chunk, PyavFrames) for chunk in chunks)
    lumas = np.concatenate([chunk.luma().mean((1, 2)) for chunk in chunks if isinstance(chunk, PyavFrames)])
    return [round((16 + 219 * float(luma) / 255 - 20) / STEP) for luma in lumas]


@pytest.mark.parametrize("keep", [False, True], ids=["opened anew", "kept open"])
@pytest.mark.parametrize("first", [0, 1, 5, 12, 13, 20])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_what_can_be_shown_of_a_recording_that_begins_anywhere(
    packets: Path, tmp_path: Path, ending: str, first: int, keep: bool
) -> None:
    path = cut(packets, tmp_path / f"cut.{ending}", first)
    expected = levels_of_plain_decode(path)
    assert expected and levels_delivered(path, keep) == expected


@pytest.mark.parametrize("keep", [False, True], ids=["opened anew", "kept open"])
def test_pictures_before_time_0_of_matroska_are_read(packets: Path, tmp_path: Path, keep: bool) -> None:
    path = cut(packets, tmp_path / "early.mkv", 0, shift_seconds=1.0)
    assert levels_delivered(path, keep) == list(range(NUM_PICTURES))


def test_a_length_in_ticks_in_the_header_of_ivf_is_no_count(tmp_path: Path) -> None:
    path = tmp_path / "ticks.ivf"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    data[24:28] = (51_200).to_bytes(4, "little")
    path.write_bytes(data)
    index = index_source(str(path))
    assert len(index.frames) == 4 and index.description.num_frames_promised is None
