"""Timecode against a slow count of its numbers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framemill.cluster.exports.timecode import clock_of, frames_at, nominal_rate, timecode

NTSC, DOUBLE = Fraction(30000, 1001), Fraction(60000, 1001)
FRAMES_A_DAY = {NTSC: 2_589_408, DOUBLE: 5_178_816}

rates = st.sampled_from([NTSC, DOUBLE, Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(120)])


def next_number(code: str, rate: Fraction) -> str:
    """The number behind a timecode, as ST 12-1 counts them: one by one, without those that are dropped."""
    hours, minutes, seconds, frame = (int(part) for part in code.replace(";", ":").split(":"))
    base, digits = round(rate), len(code) - 9
    frame += 1
    if frame == base:
        frame, seconds = 0, seconds + 1
    if seconds == 60:
        seconds, minutes = 0, minutes + 1
    if ";" in code and seconds == 0 and frame == 0 and minutes % 10:
        frame = base // 15
    if minutes == 60:
        minutes, hours = 0, (hours + 1) % 24
    return f"{hours:02}:{minutes:02}:{seconds:02}{code[8]}{frame:0{digits}}"


@pytest.mark.parametrize("rate", [NTSC, DOUBLE])
def test_eleven_minutes_are_numbered_as_one_counts_them(rate: Fraction) -> None:
    code = "00:00:00;00"
    for frames in range(11 * 60 * round(rate)):
        assert timecode(frames, rate) == code
        code = next_number(code, rate)


@given(rate=rates, frames=st.integers(0, 2_500_000), is_dropping=st.booleans())
def test_the_number_of_the_next_frame_is_the_next_number(
    rate: Fraction, frames: int, is_dropping: bool
) -> None:
    is_dropping = is_dropping and rate in FRAMES_A_DAY
    code = timecode(frames, rate, is_dropping)
    assert timecode(frames + 1, rate, is_dropping) == next_number(code, rate)


@given(rate=rates, frames=st.integers(0, 2_000_000), is_dropping=st.booleans())
def test_a_timecode_stands_for_the_frames_it_was_made_of(
    rate: Fraction, frames: int, is_dropping: bool
) -> None:
    is_dropping = is_dropping and rate in FRAMES_A_DAY
    assert frames_at(timecode(frames, rate, is_dropping), rate) == frames


@pytest.mark.parametrize("rate", [NTSC, DOUBLE])
def test_a_day_ends_with_its_last_number(rate: Fraction) -> None:
    last = f"23:59:59;{round(rate) - 1}"
    assert timecode(FRAMES_A_DAY[rate] - 1, rate) == last
    assert timecode(FRAMES_A_DAY[rate], rate) == "00:00:00;00"
    assert frames_at(last, rate) == FRAMES_A_DAY[rate] - 1


@pytest.mark.parametrize(
    ("code", "rate"),
    [
        ("00:01:00;00", NTSC), ("00:01:00;01", NTSC), ("00:09:00;03", DOUBLE), ("00:00:00:30", Fraction(30)),
        ("01:00:00:25", Fraction(25)), ("00:60:00:00", Fraction(25)), ("1:00:00:00", Fraction(25)),
    ],
)  # fmt: skip
def test_numbers_that_no_frame_has_stand_for_none(code: str, rate: Fraction) -> None:
    assert frames_at(code, rate) is None


def test_a_clock_begins_at_the_file_s_own_timecode_and_drops_as_it_does() -> None:
    assert clock_of(NTSC, "00:00:59;29").code(1800) == "00:01:00;02"
    plain = clock_of(NTSC, "00:00:59:29")
    assert plain.code(plain.start + 1) == "00:01:00:00" and plain.code(plain.hour) == "01:00:00:00"
    dropping = clock_of(NTSC, None)
    assert dropping.start == 0 and dropping.code(dropping.hour) == "01:00:00;00"
    assert clock_of(Fraction(25), "10:00:00;00").code(0) == "00:00:00:00"
    odd = clock_of(Fraction(25), "10:00:00:29")
    assert odd.start == 0 and "10:00:00:29" in odd.problem


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (29.9698, NTSC),
        (59.941, DOUBLE),
        (23.9761, Fraction(24000, 1001)),
        (30.0, Fraction(30)),
        (12.34, None),
    ],
)
def test_a_measured_rate_stands_for_that_of_timecode(fps: float, rate: Fraction | None) -> None:
    assert nominal_rate(fps) == rate
