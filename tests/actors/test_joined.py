"""Files joined from three and more: all that decodes comes once, in order, pictures with their sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from framemill.actors.segments import find_segments
from tests.actors.greys import HERTZ, RATE, Part, hertz_at, luma_of, read_whole, write_joined

JOINS = {
    "three": (Part(25, 1.0), Part(30, 1.2), Part(20, 0.8)),
    "four without sound": (Part(25), Part(30), Part(20), Part(10)),
    "a single picture first": (Part(1, 0.04), Part(30, 1.2), Part(20, 0.8)),
    "a single picture between": (Part(30, 1.2), Part(1, 0.04), Part(20, 0.8)),
    "sound longer than picture": (Part(25, 2.0), Part(30, 2.0), Part(20, 2.0)),
    "sound shorter than picture": (Part(25, 0.5), Part(30, 0.5), Part(20, 0.5)),
    "the first without sound": (Part(25), Part(30, 1.2), Part(20, 0.8)),
    "the second without sound": (Part(25, 1.0), Part(30), Part(20, 0.8)),
    "the clock begins later each time": (Part(25, 1.0, 10), Part(30, 1.2, 100), Part(20, 0.8, 500)),
    "the clock begins shortly before the end": (Part(25, 1.0), Part(30, 1.2, 0.9), Part(20, 0.8, 1.9)),
    "the clock begins at the same time": (Part(25, 1.0, 5), Part(25, 1.0, 5), Part(25, 1.0, 5)),
}


@pytest.mark.parametrize("kind", JOINS)
@pytest.mark.parametrize(
    "ending",
    ["ts", "mkv", pytest.param("mpg", marks=pytest.mark.slow), pytest.param("webm", marks=pytest.mark.slow)],
)
def test_joined_files_give_all_they_hold_once_and_in_order(ending: str, kind: str, tmp_path: Path) -> None:
    parts = JOINS[kind]
    whole = read_whole(write_joined(tmp_path / f"joined.{ending}", parts))
    count = sum(part.num_frames for part in parts)
    assert whole.luma == pytest.approx([luma_of(n) for n in range(count)], abs=1.5)
    assert np.all(np.diff(whole.index.frames.pts_seconds) > 0)
    assert whole.shortfall == "" and whole.heard.report.num_missing == 0
    # Encoders of sound add some milliseconds to each part, and all of it is delivered.
    length = sum(part.seconds for part in parts)
    assert length - 0.05 < whole.seconds < length + 0.05 * (len(parts) + 1)
    first = 0
    for part, hertz in zip(parts, HERTZ, strict=False):
        start = float(whole.index.frames.pts_seconds[first])
        first += part.num_frames
        if part.seconds < 0.3:
            continue
        length = part.sound_seconds or part.seconds
        heard = [hertz_at(whole.sound, start + length * share) for share in (0.2, 0.5, 0.9)]
        assert heard == pytest.approx([hertz if part.sound_seconds else 0] * 3, abs=60)


def test_a_leap_within_a_recording_is_kept(tmp_path: Path) -> None:
    # Nine packets are left out of the counters' round, as where reception failed.
    path = write_joined(tmp_path / "gap.ts", (Part(25, 1.0), Part(25, 1.0, 100)))
    at = len((tmp_path / "part0.ts").read_bytes())
    content = bytearray(path.read_bytes())
    for start in range(at, len(content), 188):
        content[start + 3] = content[start + 3] & 0xF0 | (content[start + 3] + 9) & 15
    path.write_bytes(content)
    whole = read_whole(path)
    assert whole.index.frames.pts_seconds[25] == pytest.approx(100, abs=0.1)
    assert whole.luma == pytest.approx([luma_of(n) for n in range(50)], abs=1.5)


def test_one_matroska_file_is_not_looked_into(tmp_path: Path) -> None:
    path = write_joined(tmp_path / "one.mkv", (Part(5, 0.2),))
    with open(path, "rb") as file:
        assert find_segments(file, path.stat().st_size) == []
    twice = write_joined(tmp_path / "two.mkv", (Part(5, 0.2), Part(6)))
    with open(twice, "rb") as file:
        found = find_segments(file, twice.stat().st_size)
    assert [segment.num_tracks for segment in found] == [2, 1]


def test_a_joined_matroska_file_that_is_cut_lacks_what_was_cut(tmp_path: Path) -> None:
    path = write_joined(tmp_path / "cut.mkv", (Part(25, 1.0), Part(30, 1.2), Part(20, 0.8)))
    path.write_bytes(path.read_bytes()[:-1000])
    whole = read_whole(path)
    assert whole.index.missing_bytes == 1000 and "1000 bytes" in whole.shortfall
    assert len(whole.luma) > 55


@pytest.mark.parametrize("count", [8, 40, 400])
def test_bytes_that_are_no_matroska_hold_no_segments(count: int, tmp_path: Path) -> None:
    path = tmp_path / "noise.mkv"
    noise = np.random.default_rng(count).integers(0, 256, count, np.uint8).tobytes()
    path.write_bytes(b"\x1a\x45\xdf\xa3\x84" + noise)
    with open(path, "rb") as file:
        assert len(find_segments(file, path.stat().st_size)) < 2


def test_times_are_those_of_frames_at_the_seams(tmp_path: Path) -> None:
    whole = read_whole(write_joined(tmp_path / "plain.mkv", (Part(25), Part(30), Part(20))))
    assert np.diff(whole.index.frames.pts_seconds) == pytest.approx(1 / RATE, abs=0.002)
