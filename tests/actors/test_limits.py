"""What so many bytes can hold at most."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest

from framemill.actors.indexing import index_source
from framemill.actors.limits import (
    LEAST_CREDIBLE_SECONDS,
    LEAST_PACKETS,
    LEAST_PIXELS,
    LEAST_SECONDS,
    MOST_PACKETS,
    PIXELS_PER_BYTE,
    SECONDS_PER_BYTE,
    PictureAllowance,
    SoundAllowance,
    count_packets,
    credible_seconds,
    most_packets,
    most_pixels,
    most_seconds,
    size_of,
)
from framemill.actors.promises import last_end
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.safe_open import open_media
from framemill.actors.subtitles import subtitles_end
from framemill.actors.timeline import Timeline, find_timeline
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
    assert most_packets(1 << 40) == MOST_PACKETS


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
    assert credible_seconds(152 * 3600.0, 84_000) == 84.0
    assert credible_seconds(152 * 3600.0, 1_000) == LEAST_CREDIBLE_SECONDS
    assert credible_seconds(10.0, 1_000) == 10.0
    assert credible_seconds(7_200.0, 4 << 30) == 7_200.0


def test_no_more_pixels_are_decoded_than_the_bytes_can_hold() -> None:
    allowance = PictureAllowance(100_000)
    for _ in range(100_000 * PIXELS_PER_BYTE // (1 << 27)):
        allowance.spend(1 << 14, 1 << 13)
    with pytest.raises(LimitError, match="pixels in the pictures of a file of 100000 bytes"):
        allowance.spend(1 << 14, 1 << 13)
    assert most_pixels(0) == LEAST_PIXELS


def test_a_gif_of_a_screen_and_many_points_ends_at_its_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "points.gif"
    screen = struct.pack("<HHBBB", 800, 800, 0x80, 0, 0) + bytes(3) + b"\xff\xff\xff"
    point = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\0"
    path.write_bytes(b"GIF89a" + screen + (b"\x21\xf9\x04\0\x0a\0\0\0" + point) * 40 + b";")
    index = index_source(str(path))
    frames = np.arange(len(index.frames))
    asked = ReadRequest(frames, frames, False, 1)
    assert list(read_shard(str(path), index, asked, ReadReport()))
    monkeypatch.setattr("framemill.actors.limits.LEAST_PIXELS", 0)
    monkeypatch.setattr("framemill.actors.limits.PIXELS_PER_BYTE", 20 * 800 * 800 // path.stat().st_size)
    with pytest.raises(LimitError, match="scale the pictures down"):
        list(read_shard(str(path), index, asked, ReadReport()))


def test_a_black_picture_of_an_hour_is_within_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "black.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "51"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((1620, 1920), np.uint8), "yuv420p")
        for number in range(100):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert PIXELS_PER_BYTE * path.stat().st_size / 2 > 100 * 1920 * 1080


def test_subtitles_that_unpack_to_more_than_is_held_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "packed.mkv"
    path.write_bytes(packed_subtitles(b"x" * 50_000, 20))
    assert path.stat().st_size < 5_000
    index = index_source(str(path))
    nothing = np.zeros(0, np.int64)
    asked = ReadRequest(nothing, nothing, False, 1, subtitles=True)
    (first, *_) = read_shard(str(path), index, asked, ReadReport())
    assert len(first.cues[0].text) == 50_000
    monkeypatch.setattr("framemill.actors.limits.MOST_TEXT_BYTES", 900_000)
    with pytest.raises(LimitError, match="more than 900000 bytes of subtitles"):
        list(read_shard(str(path), index, asked, ReadReport()))


def packed_subtitles(text: bytes, count: int) -> bytes:
    """A Matroska file (RFC 9559) of one text track whose blocks are packed by zlib, a second each."""

    def element(kind: str, *content: bytes) -> bytes:
        data = b"".join(content)
        return bytes.fromhex(kind) + (len(data) | 1 << 28).to_bytes(4, "big") + data

    packing = element("6d80", element("6240", element("5034")))  # ContentCompression, by default zlib
    track = [
        element("d7", b"\1"),
        element("73c5", b"\1"),
        element("83", b"\x11"),
        element("86", b"S_TEXT/UTF8"),
    ]
    block = zlib.compress(text, 9)
    groups = (
        element(
            "a0", element("a1", b"\x81" + struct.pack(">hB", 1000 * number, 0) + block), element("9b", b"\1")
        )
        for number in range(count)
    )
    return element("1a45dfa3", element("4282", b"matroska")) + element(
        "18538067",
        element("1549a966", element("2ad7b1", b"\x0f\x42\x40")),
        element("1654ae6b", element("ae", *track, packing)),
        element("1f43b675", element("e7", b"\0"), *groups),
    )


def test_each_pass_over_the_packets_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines.srt"
    path.write_text("".join(f"{n}\n00:00:{n:02},000 --> 00:00:{n:02},500\nx\n\n" for n in range(50)))
    monkeypatch.setattr("framemill.actors.limits.LEAST_PACKETS", 20)
    monkeypatch.setattr("framemill.actors.limits.BYTES_PER_PACKET", 1 << 20)
    for read in (
        lambda: subtitles_end(str(path), [0]),
        lambda: last_end(str(path), [0], Timeline()),
        lambda: find_timeline(str(path), 0, []),
    ):
        with pytest.raises(LimitError, match="21 packets or more"):
            read()


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
