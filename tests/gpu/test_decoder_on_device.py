"""The decoder of this GPU is usable and tells what it decodes."""

from __future__ import annotations

import pytest

from framemill.actors.dali_device import decoder_problem, open_device_reader
from framemill.models import cuda
from framemill.models.nvdec import CODEC_NUMBERS, decoder_limits, library_problem


def test_a_clip_is_decoded_before_the_device_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoder_problem() == ""
    monkeypatch.setenv("FRAMEMILL_DECODER", "dali")
    reader, note = open_device_reader(2)
    assert reader is not None and cuda.find_gpus()[0].name in note and "tells no codecs" not in note


def test_the_driver_tells_what_its_chip_decodes() -> None:
    assert library_problem() == ""
    limits = decoder_limits()
    assert {"h264", "hevc"} <= limits.keys() <= CODEC_NUMBERS.keys()
    for name, each in limits.items():
        assert each.units >= 1 and each.least < each.most and each.hold(*each.least), name
    assert limits["h264"].hold(1920, 1088) and not limits["h264"].hold(1 << 20, 1088)
