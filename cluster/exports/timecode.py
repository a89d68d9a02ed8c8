"""SMPTE timecode (ST 12-1), with numbers dropped at 29.97 and 59.94 frames a second."""

from __future__ import annotations

from fractions import Fraction


def drops(rate: Fraction) -> bool:
    """Whether timecode of this rate leaves out numbers, so that it keeps step with the clock."""
    return rate in (Fraction(30000, 1001), Fraction(60000, 1001))


def timecode(frames: int, rate: Fraction) -> str:
    """`frames` >= 0 as HH:MM:SS:FF, or HH:MM:SS;FF where numbers are dropped; it begins anew after 24 h."""
    base = round(rate)
    if drops(rate):
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
    point = ";" if drops(rate) else ":"
    return f"{hour % 24:02}:{minute_of_hour:02}:{second:02}{point}{frame:0{len(str(base - 1))}}"
