"""What so many bytes can hold at most."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from framemill.actors.limits import (
    LEAST_PACKETS,
    LEAST_SECONDS,
    SECONDS_PER_BYTE,
    SoundAllowance,
    count_packets,
    credible_seconds,
    most_seconds,
    size_of,
)
from framemill.actors.safe_open import open_media
from framemill.errors import LimitError
from framemill.ops.chunks import Audio


def _chunks(seconds: float, rate: int) -> list[Audio]:
    step = np.zeros(rate, np.float32)
    return [Audio(number * rate, step, rate) for number in range(round(seconds))]


def test_no_more_packets_are_read_than_the_bytes_can_hold() -> None:
    assert len(list(count_packets(range(25_000), 100_000))) == 25_000
    with pytest.raises(LimitError, match="25001 packets or more in a file of 100000 bytes"):
        list(count_packets(range(20_000_000), 100_000))
    assert len(list(count_packets(range(LEAST_PACKETS), 0))) == LEAST_PACKETS


def test_no_more_sound_is_read_than_the_bytes_can_hold() -> None:
    assert most_seconds(0) == LEAST_SECONDS
    for rates in ((100,), (100, 200)):
        allowance = SoundAllowance(50_000)
        # Sound at two rates is the same sound.
        for rate in rates:
            assert len(list(allowance.check(_chunks(5_000, rate)))) == 5_000
        with pytest.raises(LimitError, match="more than 5000 seconds of sound in a file of 50000 bytes"):
            list(allowance.check(_chunks(1, rates[0])))


def test_a_deadline_goes_by_the_shorter_of_what_is_declared_and_what_the_bytes_hold() -> None:
    assert credible_seconds(152 * 3600.0, 84_000) == 8_400.0
    assert credible_seconds(7_200.0, 4 << 30) == 7_200.0


def test_digital_silence_in_the_most_frugal_codecs_is_within_the_limit(tmp_path: Path) -> None:
    for name, codec, rate in (
        ("a.flac", "flac", 8_000),
        ("a.opus", "libopus", 48_000),
        ("a.m4a", "aac", 8_000),
    ):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=rate)
            stream.layout = "mono"
            for number in range(300):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, rate), np.int16), "s16", "mono")
                frame.sample_rate, frame.pts = rate, number * rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        num_bytes = (tmp_path / name).stat().st_size
        assert SECONDS_PER_BYTE * num_bytes > 2 * 300, (name, num_bytes)


def test_the_size_is_that_of_the_file_however_it_was_opened(tmp_path: Path) -> None:
    data = (
        b"RIFF"
        + struct.pack("<I", 36 + 1000)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    )
    data += b"data" + struct.pack("<I", 1000) + bytes(1000)
    (tmp_path / "a.wav").write_bytes(data)
    for source in (str(tmp_path / "a.wav"), io.BytesIO(data)):
        with open_media(source) as container:
            assert size_of(container) == len(data)
