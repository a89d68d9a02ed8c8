"""What stands before and behind a device's decoder, with one that stands in for it."""

from __future__ import annotations

import gc
import re
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from framemill.actors import dali_rules, device_check, packet_track
from framemill.actors.dali_frames import DaliFrames
from framemill.actors.dali_reader import DaliDecoder
from framemill.actors.device_check import late_piece, late_row
from framemill.actors.device_reader import DeviceDecoder, read_shard_on_device
from framemill.actors.indexing import index_source
from framemill.actors.pieces import Piece, plan_pieces
from framemill.actors.plan import Sampling, plan_decode, sample_frames
from framemill.actors.pyav_reader import ReadReport, ReadRequest
from tests.actors.clips import write_clip
from tests.actors.device_stand_in import StandIn
from tests.actors.hidden import UNEVEN, resized, vp9_superframes
from tests.actors.kinds import KINDS
from tests.actors.test_dali_reader import NONE, assert_alike, both, clip, collect, needs_dali, smooth


@pytest.fixture(autouse=True)
def any_amount_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali_rules, "GPU_LEAST_PIXELS", 0)


def h264(path: Path, count: int = 60, **options: str) -> Path:
    return write_clip(path, smooth(count), options={"g": "12", "bf": "3", "crf": "8", **options})


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("wanted", [range(60), range(0, 60, 7), [0, 1, 58, 59]], ids=["all", "some", "few"])
def test_any_decoder_gives_what_pyav_gives(tmp_path: Path, ending: str, wanted: Any) -> None:
    expected, got, report = both(h264(tmp_path / f"clip.{ending}"), wanted, StandIn())
    assert report.decoder == "stand-in on the gpu"
    assert (report.num_missing, report.cut_off, report.num_decoded) == (0, False, len(expected))
    assert_alike(expected, got)


@pytest.mark.parametrize("after", [1, 5, 11])
@pytest.mark.parametrize("wanted", [range(60), range(0, 60, 4)], ids=["all", "some"])
def test_a_picture_too_many_is_noticed_before_anything_is_handed_on(
    tmp_path: Path, after: int, wanted: Any
) -> None:
    expected, got, report = both(h264(tmp_path / "clip.mp4"), wanted, StandIn(extra_after=after))
    assert report.decoder.startswith("pyav: the device gives the picture of frame ")
    assert report.num_decoded >= len(expected) and report.num_missing == 0
    assert list(got) == list(expected)
    for frame, views in expected.items():
        np.testing.assert_array_equal(got[frame]["rgb"], views["rgb"])


def test_a_picture_too_many_is_noticed_in_a_file_of_one_group(tmp_path: Path) -> None:
    path = h264(tmp_path / "clip.mp4", g="60", **{"x264-params": "scenecut=0"})
    expected, got, report = both(path, range(60), StandIn(extra_after=9, part=20))
    assert report.decoder.startswith("pyav: the device gives the picture of frame ")
    assert list(got) == list(expected) and report.num_missing == 0


def test_a_wrong_range_is_noticed(tmp_path: Path) -> None:
    path = h264(tmp_path / "clip.mp4")
    expected, got, report = both(path, range(60), StandIn(full_range=True))
    assert report.decoder.startswith("pyav: frame ") and "differs from that of the CPU" in report.decoder
    np.testing.assert_array_equal(got[30]["rgb"], expected[30]["rgb"])


def test_still_pictures_are_trusted_though_neighbours_are_alike(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "still.mp4", smooth(1) * 40, options={"g": "12"})
    _, got, report = both(path, range(40), StandIn())
    assert report.decoder == "stand-in on the gpu" and len(got) == 40


def test_a_file_whose_late_piece_fails_is_held_against_pyav_at_its_first(tmp_path: Path) -> None:
    path = h264(tmp_path / "clip.mp4")
    decoder = StandIn(failing=[59])
    expected, got, report = both(path, range(60), decoder)
    assert_alike(expected, got)
    assert report.decoder.startswith("pyav for ") and "CUDA_ERROR_INVALID_VALUE" in report.decoder
    assert report.num_missing == 0
    shifted = both(path, range(60), StandIn(failing=[59], extra_after=3))[2]
    assert shifted.decoder.startswith("pyav: the device gives the picture of frame ")


@pytest.mark.parametrize("name", UNEVEN)
def test_packets_that_hold_more_or_less_than_a_picture_are_read_by_pyav(name: str, tmp_path: Path) -> None:
    decoder = StandIn()
    expected, got, report = both(UNEVEN[name](tmp_path), range(30), decoder)
    assert report.decoder.startswith("pyav: some packets hold ") and decoder.num_packets == 0
    assert list(got) == list(expected) == list(range(30))


@pytest.mark.parametrize("name", ["vp9_superframes", "fields_in_pairs"])
def test_packets_that_no_index_saw_are_looked_at_when_they_are_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = UNEVEN[name](tmp_path)
    index = replace(index_source(str(path)), is_uneven=False)
    monkeypatch.setattr(packet_track, "range_reader_of", lambda container: True)
    monkeypatch.setattr(packet_track, "raise_failure", lambda container: None)
    request, report = ReadRequest(np.arange(30), NONE, False, 1), ReadReport()
    got = collect(read_shard_on_device(str(path), index, request, report, StandIn()))
    assert list(got) == list(range(30)) and report.num_missing == 0
    assert re.fullmatch(r"pyav: packet \d+ holds more or less than one picture", report.decoder)


@needs_dali
def test_superframes_never_reach_dali(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = DaliDecoder("cpu")
    monkeypatch.setattr(decoder, "decode_pieces", lambda *given: pytest.fail("it was asked"))
    path = vp9_superframes(tmp_path, smooth(40))
    expected, got, report = both(path, range(40), decoder)
    assert report.decoder.startswith("pyav: some packets hold")
    assert list(got) == list(expected)


@pytest.mark.parametrize("policy", [Sampling("every", 0.5), Sampling("keyframes"), Sampling("all")])
@pytest.mark.parametrize("kind", ["b_frames", "long_gops"])
def test_no_packet_is_decoded_twice_but_for_the_check(kind: str, policy: Sampling, tmp_path: Path) -> None:
    path = KINDS[kind](tmp_path)
    index = index_source(str(path))
    wanted = sample_frames(index.frames, policy)
    decoder = StandIn()
    request, report = ReadRequest(wanted, NONE, False, 1), ReadReport()
    got = collect(read_shard_on_device(str(path), index, request, report, decoder))
    assert list(got) == wanted.tolist() and report.decoder == "stand-in on the gpu"
    least = int(plan_decode(index.packets, wanted).needed.sum())
    pieces = plan_pieces(index.packets, index.frames, wanted, 16)
    checked = len(pieces[late_piece(pieces)].packets) if len(decoder.num_pieces) > 1 else 0
    assert decoder.num_packets - checked <= 1.05 * least


def test_the_frame_to_check_is_late_and_not_far_from_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_source(str(h264(tmp_path / "clip.mp4", bf="0", **{"x264-params": "scenecut=0"})))
    assert late_row(index, np.arange(60)) == 59
    monkeypatch.setattr(device_check, "MOST_PACKETS", 5)
    assert late_row(index, np.arange(60)) == 53  # 48 is a key
    assert late_row(index, np.array([7, 8, 20, 23])) == 0


def test_the_piece_to_check_is_late_and_long() -> None:
    pieces = [Piece(np.arange(length), np.arange(1)) for length in (9, 3, 5, 5, 1)]
    assert late_piece(pieces) == 3 and late_piece(pieces[:1]) == 0 and late_piece(pieces[:3]) == 2


def test_what_pyav_cannot_decode_is_not_taken_from_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_check, "read_shard", lambda *given: iter(()))
    path = clip(tmp_path / "clip.webm", 10)
    report = both(path, range(10), StandIn())[2]
    assert report.decoder.endswith("comes from the device alone")


@needs_dali
def test_pictures_of_another_size_between_are_read_by_pyav(tmp_path: Path) -> None:
    path = resized(tmp_path, "libvpx-vp9", [(192, 128), (128, 96), (192, 128)])
    expected, got, report = both(path, range(36), DaliDecoder("cpu"))
    assert report.decoder.startswith("pyav: some packets hold") and report.num_missing == 0
    np.testing.assert_array_equal(got[18]["rgb"], expected[18]["rgb"])


@needs_dali
def test_dali_is_a_decoder_of_the_seam() -> None:
    decoder: DeviceDecoder = DaliDecoder("cpu", decoded_bytes=400 * 192 * 128 * 3)
    assert decoder.most_frames(192, 128) == 64 and decoder.most_frames(1920, 1080) == 1


class Stream:
    """A stream of a device that notes what it is told."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told = name, told

    def record(self) -> str:
        self.told.append(f"{self.name} has work")
        return self.name

    def wait_event(self, event: str) -> None:
        self.told.append(f"{self.name} waits for {event}")


def test_pictures_go_back_when_what_other_threads_asked_of_them_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    streams = {threading.get_ident(): Stream("main", told)}

    def current() -> Stream:
        return streams.setdefault(threading.get_ident(), Stream("worker", told))

    cuda = SimpleNamespace(get_current_stream=current)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    at = (np.arange(2), np.arange(2) / 25, np.ones(2, bool), (192, 128), 0, "bt709", False)
    frames = DaliFrames(np.stack(smooth(2)), *at, Stream("dali", told))
    frames.rgb((96, 64))
    thread = threading.Thread(target=frames.luma, args=((96, 64),))
    thread.start()
    thread.join()
    del thread  # which holds them, too
    assert set(told) == {"main has work", "worker has work"}
    told.clear()
    del frames
    gc.collect()
    assert sorted(told) == ["dali waits for main", "dali waits for worker"]
    DaliFrames(np.stack(smooth(2)), *at).rgb((96, 64))  # on the host nothing has to wait
    assert len(told) == 2
