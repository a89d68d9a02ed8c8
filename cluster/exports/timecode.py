"""SMPTE timecode (ST 12-1), with numbers dropped at 29.97 and 59.94 frames a second."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

# Rates that timecode is made for; measured means differ from them in the last digits.
_RATES = tuple(Fraction(n * 1000, d) for n in (24, 30, 48, 60, 120) for d in (1000, 1001))
_RATES += tuple(Fraction(n) for n in (25, 50, 100))
_RATE_TOLERANCE = 3e-4  # 29.97 and 30 differ by three times as much
_TIMECODE = re.compile(r"([0-9]{2}):([0-5][0-9]):([0-5][0-9])([:;])([0-9]{2,3})")


def nominal_rate(fps: float) -> Fraction | None:
    """The rate of timecode, or the whole number, that a measured mean stands for; None if there is none."""
    nearest = min((*_RATES, Fraction(max(round(fps), 1))), key=lambda rate: abs(float(rate) - fps))
    return nearest if abs(float(nearest) / fps - 1) <= _RATE_TOLERANCE else None


def drops(rate: Fraction) -> bool:
    """Whether timecode of this rate can leave out numbers, so that it keeps step with the clock."""
    return rate in (Fraction(30000, 1001), Fraction(60000, 1001))


def timecode(frames: int, rate: Fraction, is_dropping: bool | None = None) -> str:
    """`frames` >= 0 as HH:MM:SS:FF, or HH:MM:SS;FF where numbers are dropped; it begins anew after 24 h.

    Args:
        is_dropping: whether numbers are dropped; None where `drops` says so.
    """
    base = round(rate)
    is_dropping = drops(rate) if is_dropping is None else is_dropping
    if is_dropping:
        # The first 2 (of 30) or 4 (of 60) numbers of each minute are left out, but of every tenth.
        left_out = base // 15
        minute, ten_minutes = base * 60 - left_out, base * 600 - 9 * left_out
        tens, rest = divmod(frames, ten_minutes)
        frames += 9 * left_out * tens
        if rest >= left_out:
            frames += left_out * ((rest - left_out) // minute)
    seconds, frame = divmod(frames, base)
    minutes, second = divmod(seconds, 60)
    hour, minute_of_hour = divmod(minutes, 60)
    point = ";" if is_dropping else ":"
    return f"{hour % 24:02}:{minute_of_hour:02}:{second:02}{point}{frame:0{len(str(base - 1))}}"


def frames_at(text: str, rate: Fraction) -> int | None:
    """The number of frames that a timecode stands for; None where none has it at this rate.

    Numbers are dropped where it has a `;` and the rate can drop any.
    """
    found = _TIMECODE.fullmatch(text)
    base = round(rate)
    if found is None or int(found[5]) >= base:
        return None
    minutes = int(found[1]) * 60 + int(found[2])
    frames = (minutes * 60 + int(found[3])) * base + int(found[5])
    if found[4] == ";" and drops(rate):
        left_out = base // 15
        if minutes % 10 and found[3] == "00" and int(found[5]) < left_out:
            return None
        frames -= left_out * (minutes - minutes // 10)
    return frames


@dataclass(frozen=True, slots=True)
class Clock:
    """How the frames of one file are numbered.

    Attributes:
        rate: frames a second, as timecode counts them. is_dropping: whether numbers are dropped.
        start: number of the file's first frame. problem: why its own timecode was not taken; "" where it was,
            or it has none.
    """

    rate: Fraction
    is_dropping: bool
    start: int
    problem: str = ""

    def code(self, frames: int) -> str:
        """The timecode of a number of frames >= 0."""
        return timecode(frames, self.rate, self.is_dropping)

    @property
    def hour(self) -> int:
        """The number of frames at 01:00:00:00."""
        return frames_at(f"01:00:00{';' if self.is_dropping else ':'}00", self.rate) or 0


def clock_of(rate: Fraction, start_timecode: str | None) -> Clock:
    """The numbers of a file's frames; without a start timecode from 0, dropped where `drops` says so."""
    if not start_timecode:
        return Clock(rate, drops(rate), 0)
    start = frames_at(start_timecode, rate)
    if start is None:
        problem = f"its start timecode {start_timecode} has no place at {float(rate):.3f} frames a second"
        return Clock(rate, drops(rate), 0, problem)
    return Clock(rate, drops(rate) and ";" in start_timecode, start)
