"""Sound files joined from several: all is heard, once and in order, and none of it is called damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framemill.actors.sound_tags import is_header, tag_bytes
from tests.actors.clips import sine, write_sound
from tests.actors.greys import HERTZ, hertz_at, read_whole

# Ending, encoder, its format of samples, rate in hertz; of the second part another rate.
KINDS = {
    "mp3": ("libmp3lame", "fltp", 44_100),
    "aac": ("aac", "fltp", 44_100),
    "mp2": ("mp2", "s16", 48_000),
    "ac3": ("ac3", "fltp", 48_000),
    "flac": ("flac", "s16", 44_100),
    "opus": ("libopus", "flt", 48_000),
    "oga": ("flac", "s16", 44_100),
    "mka": ("flac", "s16", 44_100),
}


def joined(path: Path, lengths: Sequence[float], rates: Sequence[int]) -> Path:
    codec, sample_format, _ = KINDS[path.suffix[1:]]
    content = b""
    for number, (seconds, rate) in enumerate(zip(lengths, rates, strict=True)):
        part = path.with_name(f"part{number}{path.suffix}")
        tone = sine(seconds, rate, HERTZ[number])
        content += write_sound(part, tone, rate, codec=codec, sample_format=sample_format).read_bytes()
    path.write_bytes(content)
    return path


def check(path: Path, lengths: Sequence[float]) -> None:
    whole = read_whole(path)
    assert whole.shortfall == ""
    # Encoders begin before and end behind what they are given.
    assert sum(lengths) - 0.05 < len(whole.sound) / 16000 < sum(lengths) + 0.06 * len(lengths)
    assert whole.seconds == pytest.approx(len(whole.sound) / 16000, abs=0.06)
    start = 0.0
    for seconds, hertz in zip(lengths, HERTZ, strict=False):
        heard = [hertz_at(whole.sound, start + seconds * share) for share in (0.2, 0.5, 0.8)]
        assert heard == pytest.approx([hertz] * 3, abs=60)
        start += seconds


@pytest.mark.parametrize("ending", KINDS)
def test_joined_sound_is_heard_whole(ending: str, tmp_path: Path) -> None:
    lengths = (1.0, 2.0, 3.0, 1.5)
    check(joined(tmp_path / f"joined.{ending}", lengths, [KINDS[ending][2]] * 4), lengths)


@pytest.mark.parametrize("ending", ["mp3", "aac", "oga"])
def test_a_part_of_another_rate_leaves_no_hole(ending: str, tmp_path: Path) -> None:
    lengths = (2.0, 3.0, 2.0)
    check(joined(tmp_path / f"rates.{ending}", lengths, (44_100, 48_000, 44_100)), lengths)


def test_damage_between_frames_is_no_tag(tmp_path: Path) -> None:
    path = joined(tmp_path / "damaged.mp3", (2.0, 2.0), (44_100, 44_100))
    content = bytearray(path.read_bytes())
    at = len(content) // 4
    content[at : at + 3000] = np.random.default_rng(1).integers(0, 200, 3000, np.uint8).tobytes()
    path.write_bytes(content)
    assert "could not be decoded" in read_whole(path).shortfall


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"ID3\4\0\0\0\0\1\2rest", 140), (b"ID3\4\0\x10\0\0\0\1rest", 21), (b"TAG" + bytes(130), 128),
        (b"TAG" + bytes(125) + b"ID3\4\0\0\0\0\0\0", 138), (b"\xff\xfb\x90", 0), (b"ID3", 0), (b"", 0),
    ],
)  # fmt: skip
def test_tags_are_as_long_as_they_say(data: bytes, length: int) -> None:
    assert tag_bytes(data) == length


def test_a_frame_that_tells_of_the_others_holds_no_sound() -> None:
    assert is_header(b"\xff\xfb\x90\x64" + bytes(32) + b"Xing" + bytes(100))
    assert not is_header(b"\xff\xfb\x90\x64" + bytes(100) + b"Info")
