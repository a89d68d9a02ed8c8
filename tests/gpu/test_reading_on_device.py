"""NVDEC gives the frames that PyAV gives, and what it cannot decode is read by PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framemill.actors import dali_rules
from framemill.actors.dali_copies import Copy
from framemill.actors.dali_reader import DaliDecoder
from framemill.actors.device_reader import read_shard_on_device
from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.models.arrays import is_on_host
from framemill.models.cuda import used_memory_bytes
from framemill.ops.chunks import Frames
from tests.actors.clips import write_clip
from tests.actors.hidden import UNEVEN, resized
from tests.actors.test_coded_range import BT709, FULL, NOTHING, SMPTE170M, STUDIO, Tags, tagged

NONE = np.zeros(0, np.int64)
SIZE = (160, 90)


@pytest.fixture(autouse=True)
def any_amount_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali_rules, "GPU_LEAST_PIXELS", 0)


def pictures(count: int) -> list[Any]:
    import cv2

    coarse = np.random.default_rng(5).integers(20, 236, (5, 7, 3), np.uint8)
    large = cv2.resize(coarse, (1280, 720), interpolation=cv2.INTER_CUBIC)
    return [large[3 * i : 3 * i + 360, 2 * i : 2 * i + 640].copy() for i in range(count)]


def views(chunks: Any, on_device: bool | None) -> dict[int, tuple[Any, Any]]:
    found = {}
    for chunk in chunks:
        assert isinstance(chunk, Frames)
        assert on_device is None or is_on_host(chunk.rgb(SIZE)) != on_device
        host = chunk.on_host()
        for row, frame in enumerate(host.frame_index.tolist()):
            found[frame] = (host.luma(SIZE)[row].astype(int), host.rgb(SIZE)[row].astype(int))
    return found


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"g": "12", "bf": "3"}),
        ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
        ("libx265", {"x265-params": "keyint=12:log-level=error"}),
        ("libvpx-vp9", {"g": "12", "b": "0", "crf": "10"}),
        ("libvpx", {"g": "12", "b": "4M"}),
        ("mpeg4", {"g": "12", "q": "2"}),
    ],
)
@pytest.mark.parametrize("wanted", [range(60), range(0, 60, 12), [5, 6, 31]], ids=["all", "keys", "few"])
def test_frames_are_those_of_pyav(tmp_path: Path, codec: str, options: dict[str, str], wanted: Any) -> None:
    path = str(write_clip(tmp_path / "clip.mkv", pictures(60), codec=codec, options=options))
    index = index_source(path)
    request = ReadRequest(np.array(list(wanted)), NONE, False, 1)
    expected = views(read_shard(path, index, request, ReadReport()), False)
    report = ReadReport()
    got = views(read_shard_on_device(path, index, request, report, DaliDecoder("gpu", 1 << 30)), True)
    assert report.decoder == "dali on the gpu"
    assert_same(expected, got)


def both(path: str, count: int) -> tuple[dict[int, Any], dict[int, Any], str]:
    """What PyAV and whoever reads it for the device give of a clip, and who that was."""
    index, report = index_source(path), ReadReport()
    request = ReadRequest(np.arange(count), NONE, False, 1)
    expected = views(read_shard(path, index, request, ReadReport()), False)
    decoder = DaliDecoder("gpu", 1 << 30)
    got = views(read_shard_on_device(path, index, request, report, decoder), None)
    return expected, got, report.decoder


def assert_same(expected: dict[int, Any], got: dict[int, Any]) -> None:
    assert list(got) == list(expected)
    for frame, (luma, rgb) in expected.items():
        assert np.abs(got[frame][0] - luma).mean() < 1 and np.abs(got[frame][1] - rgb).mean() < 3


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_decoders_of_pictures_that_are_cut_are_used_again(tmp_path: Path, codec: str) -> None:
    """360 rows of H.264 are coded as 368: without copies that show them all, each piece opens a decoder."""
    options = {"g": "6"} if codec == "libx264" else {"x265-params": "keyint=6:log-level=error"}
    path = str(write_clip(tmp_path / "clip.mp4", pictures(60), codec=codec, options=options))
    index, decoder = index_source(path), DaliDecoder("gpu", 1 << 30, kept_bytes=1 << 30)
    request = ReadRequest(np.arange(60), NONE, False, 1)
    expected = views(read_shard(path, index, request, ReadReport()), False)
    used = []
    for _ in range(12):
        report = ReadReport()
        got = views(read_shard_on_device(path, index, request, report, decoder), True)
        assert report.decoder == "dali on the gpu" and list(got) == list(expected)
        used.append(used_memory_bytes())
    for frame, (luma, rgb) in expected.items():
        assert np.abs(got[frame][0] - luma).mean() < 1 and np.abs(got[frame][1] - rgb).mean() < 3
    assert used[-1] - used[1] < 16 << 20, used


@pytest.mark.parametrize("name", UNEVEN)
def test_superframes_hidden_pictures_fields_and_packed_ones_are_read_by_pyav(
    name: str, tmp_path: Path
) -> None:
    expected, got, decoder = both(str(UNEVEN[name](tmp_path)), 30)
    assert decoder.startswith("pyav: some packets hold")
    assert_same(expected, got)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_pictures_of_other_sizes_on_the_way_are_read_by_pyav(codec: str, tmp_path: Path) -> None:
    expected, got, decoder = both(str(resized(tmp_path, codec, [(640, 360), (320, 180)])), 24)
    assert decoder.startswith("pyav: some packets hold")
    assert_same(expected, got)


def test_motion_jpeg_is_right_whoever_reads_it(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.avi", pictures(20), codec="mjpeg", pixel_format="yuvj420p")
    expected, got, _ = both(str(clip), 20)
    assert_same(expected, got)


@pytest.mark.parametrize(
    ("bitstream", "container", "reader"),
    [
        ((FULL, BT709), (FULL, BT709), "dali on the gpu"),
        ((FULL, BT709), (STUDIO, SMPTE170M), "dali on the gpu"),
        ((STUDIO, SMPTE170M), (FULL, BT709), "dali on the gpu"),
        (NOTHING, (FULL, BT709), "pyav: only the container says"),
    ],
)
def test_range_and_matrix_are_those_that_ffmpeg_takes(
    tmp_path: Path, bitstream: Tags, container: Tags, reader: str
) -> None:
    expected, got, decoder = both(str(tagged(tmp_path / "a.mp4", "libx264", bitstream, container)), 12)
    assert decoder.startswith(reader)
    assert_same(expected, got)


def test_ten_bits_are_read_by_pyav(tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / "clip.mp4", pictures(20), pixel_format="yuv420p10le"))
    index, report = index_source(path), ReadReport()
    request = ReadRequest(np.arange(20), NONE, False, 1)
    got = views(read_shard_on_device(path, index, request, report, DaliDecoder("gpu", 1 << 30)), False)
    assert len(got) == 20 and report.decoder.startswith("pyav: the device's colour conversion is for 8 bits")


def test_a_bad_copy_fails_alone(tmp_path: Path) -> None:
    good = write_clip(tmp_path / "clip.mkv", pictures(5)).read_bytes()
    numbers = np.array([0, 3], np.int32)
    copies = [
        Copy(content, numbers.astype(np.int64), numbers) for content in (good, b"no video at all", good)
    ]
    first, bad, last = DaliDecoder("gpu", 1 << 30).decode(copies)
    assert isinstance(bad, Exception) and first.shape == last.shape == (2, 360, 640, 3)
