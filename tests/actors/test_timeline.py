"""Joined files, whose clock starts anew: all comes once, in the order of the file, sound with picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from framemill.actors.indexing import index_source
from framemill.actors.timeline import Shift, Timeline, is_restart
from tests.actors.clips import moving, sine, write_clip
from tests.actors.reading import read

CODECS = {"ts": ("libx264", "yuv420p"), "mkv": ("libx264", "yuv420p"), "mpg": ("mpeg2video", "yuv420p")}


def clip(path: Path, count: int, seed: int, sound_seconds: float = 0.0) -> Path:
    """Pictures with B-frames, and a click every half a second where sound is asked for."""
    codec, pixel_format = CODECS[path.suffix[1:]]
    tone = None
    if sound_seconds:
        tone = sine(sound_seconds, 48000) * (np.arange(round(sound_seconds * 48000)) % 24000 < 2400)
    return write_clip(
        path,
        moving(count, seed=seed),
        codec=codec,
        pixel_format=pixel_format,
        options={"g": "12", "bf": "2"},
        tone=tone,
    )


def joined(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


@pytest.mark.parametrize("ending", ["ts", "mkv", "mpg"])
def test_joined_files_give_the_pictures_of_both_in_order(ending: str, tmp_path: Path) -> None:
    first = clip(tmp_path / f"first.{ending}", 30, seed=1)
    second = clip(tmp_path / f"second.{ending}", 40, seed=2)
    path = joined(tmp_path / f"both.{ending}", first, second)
    expected = []
    for part in (first, second):
        alone = index_source(str(part))
        heard = read(part, alone, np.arange(len(alone.frames)))
        expected += [heard.digests[i] for i in range(len(alone.frames))]
    index = index_source(str(path))
    heard = read(path, index, np.arange(len(index.frames)))
    assert [heard.digests[i] for i in heard.order] == expected
    assert heard.order == list(range(70)) and heard.report.num_missing == 0
    assert np.all(np.diff(index.frames.pts_seconds) > 0)
    assert index.duration_seconds == pytest.approx(2.8, abs=0.1)
    assert index.missing_seconds == 0


@pytest.mark.parametrize(("ending", "parts"), [("ts", 3), ("mkv", 2)])
def test_sound_of_a_later_part_stays_with_its_pictures(ending: str, parts: int, tmp_path: Path) -> None:
    part = clip(tmp_path / f"part.{ending}", 50, seed=1, sound_seconds=2.0)
    path = joined(tmp_path / f"joined.{ending}", *[part] * parts)
    index = index_source(str(path))
    heard = read(path, index, np.arange(len(index.frames)), with_sound=True)
    samples = np.concatenate([chunk.samples for chunk in heard.sound])
    start = heard.sound[0].start_sample / 16000
    loud = np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).max(1) > 0.25
    clicks = start + np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]])) / 100
    pictures = index.frames.pts_seconds
    assert len(pictures) == 50 * parts
    # The first click of each part comes with its first picture.
    for number in range(0, 50 * parts, 50):
        assert np.abs(clicks - pictures[number]).min() < 0.06, "picture and sound belong together"
    assert len(clicks) == pytest.approx(4 * parts, abs=1)


def test_any_frames_of_a_joined_file_are_those_of_reading_all(tmp_path: Path) -> None:
    first = clip(tmp_path / "first.mkv", 30, seed=1)
    path = joined(tmp_path / "both.mkv", first, clip(tmp_path / "second.mkv", 200, seed=2))
    index = index_source(str(path))
    everything = read(path, index, np.arange(len(index.frames)))
    some = [3, 29, 30, 31, 215, 229]
    assert read(path, index, some).digests == {i: everything.digests[i] for i in some}


def test_a_clock_that_overflows_is_no_restart() -> None:
    base = Fraction(1, 90_000)
    assert not is_restart((1 << 33) - 100, 3500, base, "mpegts")
    assert is_restart((1 << 33) - 100, 3500, base, "matroska,webm")
    assert is_restart(3600 * 90_000, 0, base, "mpegts")
    # FFmpeg takes a time before the first one for an overflow, and adds one.
    assert is_restart(3600 * 90_000, 1 << 33, base, "mpegts")


@pytest.mark.parametrize("step", [0, 1, 3600, -3600, 90_000 * 3600])
def test_ordinary_steps_are_no_restart(step: int) -> None:
    assert not is_restart(10**6, 10**6 + step, Fraction(1, 90_000), "mpegts")
    assert not is_restart(None, step, Fraction(1, 90_000), "mpegts")


def test_an_ordinary_file_is_read_as_its_times_are(tmp_path: Path) -> None:
    assert index_source(str(clip(tmp_path / "one.ts", 30, seed=1))).timeline == Timeline()


def test_offsets_hold_from_their_packet_on() -> None:
    timeline = Timeline({1: ((0, Fraction(0)), (2, Fraction(3)), (4, Fraction(-1, 2)))})
    assert [timeline.ticks(1, n, Fraction(1, 10)) for n in range(6)] == [0, 0, 30, 30, -5, -5]
    assert timeline.ticks(0, 3, Fraction(1, 10)) == 0


def test_packets_without_data_are_not_counted() -> None:
    class Stream:
        index, time_base = 0, Fraction(1)

    class Packet:
        def __init__(self, size: int) -> None:
            self.size, self.pts, self.dts = size, 5, None

    shift = Shift(Timeline({0: ((1, Fraction(10)),)}), Stream())
    packets = [Packet(8), Packet(0), Packet(8)]
    for packet in packets:
        shift.apply(packet)
    assert [packet.pts for packet in packets] == [5, 5, 15]
