"""A device that fails again and again is left alone; one that fails at a broken file is not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from framemill.actors.dali_reader import DaliDecoder
from framemill.actors.device_trust import MOST_FILES, MOST_PIECES, DeviceTrust
from framemill.actors.trial_clip import GREY, trial_clip, trial_problem
from tests.actors.test_dali_reader import assert_alike, both, clip, needs_dali

PIECE_FRAMES = 12  # of one copy of a clip, whose key frames are as far apart


def test_files_in_a_row_end_it_and_a_success_between_them_does_not() -> None:
    trust = DeviceTrust()
    for _ in range(3):
        for number in range(MOST_FILES - 1):
            trust.failed(f"{number}.mp4", "no decoder")
        trust.succeeded()
    assert not trust.given_up and not trust.refusal("0.mp4")
    for number in range(MOST_FILES):
        trust.failed(f"{number}.mp4", "no decoder")
    assert trust.refusal("new.mp4") == trust.given_up != ""
    assert f"failed at {MOST_FILES} files in a row" in trust.given_up and "no decoder" in trust.given_up
    trust.succeeded()
    assert trust.given_up, "it is for good: what comes late began before"


def test_one_broken_file_is_no_fault_of_the_device() -> None:
    trust = DeviceTrust()
    for _ in range(10 * MOST_PIECES):
        trust.failed("broken.mp4", "bad data")
    assert "failed at 40 pieces of it" in trust.refusal("broken.mp4") and not trust.refusal("other.mp4")


@needs_dali
def test_a_device_that_fails_always_is_tried_a_few_times_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    decoder = DaliDecoder("cpu", decoded_bytes=PIECE_FRAMES * 192 * 128 * 3)

    def failing(copies: Any, stream: Any) -> list[Any]:
        tried.append(len(copies))
        raise RuntimeError("CUDA_ERROR_NO_DEVICE in the parser")

    monkeypatch.setattr(decoder, "_decode", failing)
    count = PIECE_FRAMES * (MOST_PIECES + 6)
    told = []
    for number in range(MOST_FILES + 2):
        path = clip(tmp_path / f"{number}.webm", count)
        expected, got, report = both(path, range(count), decoder)
        assert_alike(expected, dict(sorted(got.items())))
        assert (report.num_missing, report.cut_off) == (0, False)
        told.append(report.decoder)
    assert "the device failed at" in told[0] and "pieces of it in a row" in told[0]
    assert told[-1].startswith(f"pyav: the device failed at {MOST_FILES} files in a row")
    assert "CUDA_ERROR_NO_DEVICE" in told[-1]
    # The batch at work is finished: up to two calls for each piece, one with others and one alone.
    assert len(tried) <= 2 * MOST_FILES * (MOST_PIECES + 4)


@needs_dali
def test_an_engine_that_does_not_open_costs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(device: str, num_threads: int) -> Any:
        raise RuntimeError("no memory for another context")

    monkeypatch.setattr("framemill.actors.dali_reader._open_engine", refused)
    expected, got, report = both(clip(tmp_path / "clip.webm"), range(40), DaliDecoder("cpu"))
    assert_alike(expected, dict(sorted(got.items())))
    assert report.num_missing == 0 and "no memory for another context" in report.decoder


@needs_dali
def test_the_clip_that_is_tried_is_decoded_by_a_device_that_can() -> None:
    assert trial_problem(DaliDecoder("cpu").decode, "cpu") == ""
    problem = trial_problem(lambda copies: DaliDecoder("cpu").decode([trial_clip("gpu")]), "gpu")
    assert "Failed to create video decoder" in problem, "it has none for H.264, and the first cause is told"


@pytest.mark.parametrize(("device", "codec"), [("gpu", "h264"), ("cpu", "vp8")])
def test_the_clip_holds_the_pictures_that_are_expected_of_it(device: str, codec: str) -> None:
    copy = trial_clip(device)
    with av.open(io.BytesIO(copy.content)) as container:
        stream = container.streams.video[0]
        orders = [packet.pts for packet in container.demux(stream) if packet.size]
        assert stream.codec_context.name.startswith(codec)
    with av.open(io.BytesIO(copy.content)) as container:
        found = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    assert len(copy.numbers) == len(found) and np.abs(np.array(found) - GREY).max() < 2
    if device == "gpu":
        assert orders != sorted(orders), "it tells an order of presentation from one of decoding"
