"""What a decode gave, against what the file promised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from framemill.errors import CorruptError

if TYPE_CHECKING:
    from framemill.actors.indexing import SourceIndex
    from framemill.actors.pyav_reader import ReadReport

# Two lengths nearer than this are the same: codecs work in frames of some 20 ms, and pad the last one.
SAME_SECONDS = 0.05


class LossKind(StrEnum):
    """What a partial source lacks; of several, the first of these, which explains the others best."""

    CUT_SHORT = "cut_short"  # it ends before what its container states, or cannot be read to its end
    DAMAGED_PICTURES = "damaged_pictures"
    MISSING_SOUND = "missing_sound"
    DAMAGED_SUBTITLES = "damaged_subtitles"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why there is less of a source, or of a piece of it, than was promised.

    Attributes:
        kind: for counts. message: in words for a person.
    """

    kind: LossKind
    message: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one decode gave, or several together.

    Attributes:
        num_lost: frames asked for that did not come.
        num_damaged: those but for ones before the first key frame, and what the decoder called damaged.
        duration_seconds: length of the whole source by what was decoded; None where the sound, which may
            last longer than stated, was not.
        sample_rate, num_channels: of the sound decoded; 0 without.
    """

    num_lost: int = 0
    num_damaged: int = 0
    duration_seconds: float | None = None
    sample_rate: int = 0
    num_channels: int = 0


def measure(index: SourceIndex, report: ReadReport) -> Delivered:
    """What came of one read that went to its end."""
    duration = None
    if report.sound_end_seconds is not None:
        heard = max(report.sound_end_seconds, index.frames.end_seconds)
        duration = index.duration_seconds if abs(heard - index.duration_seconds) < SAME_SECONDS else heard
    return Delivered(
        num_lost=report.num_missing,
        num_damaged=report.num_missing - report.num_leading + report.num_damaged,
        duration_seconds=duration,
        sample_rate=report.sample_rate,
        num_channels=report.num_channels,
    )


def add_up(parts: Iterable[Delivered]) -> Delivered:
    """What the pieces of a source gave together."""
    every = list(parts)
    lengths = [part.duration_seconds for part in every if part.duration_seconds is not None]
    return Delivered(
        num_lost=sum(part.num_lost for part in every),
        num_damaged=sum(part.num_damaged for part in every),
        duration_seconds=max(lengths) if lengths else None,
        sample_rate=max((part.sample_rate for part in every), default=0),
        num_channels=max((part.num_channels for part in every), default=0),
    )


def update(before: Delivered | None, now: Delivered) -> Delivered:
    """What a piece gave that was decoded again for further operations."""
    if before is None:
        return now
    return Delivered(
        num_lost=max(before.num_lost, now.num_lost),
        num_damaged=max(before.num_damaged, now.num_damaged),
        duration_seconds=now.duration_seconds or before.duration_seconds,
        sample_rate=now.sample_rate or before.sample_rate,
        num_channels=now.num_channels or before.num_channels,
    )


def stated_shortfall(index: SourceIndex) -> Shortfall | None:
    """Why the file holds less than its container states, by its packets and its outermost boxes; else None.

    It is known without decoding, so that it does not depend on what is asked for.
    """
    if index.missing_seconds:
        message = f"the container promises {index.missing_seconds:.2f} seconds more than the file holds"
    elif index.missing_bytes:
        message = f"the file ends {index.missing_bytes} bytes before the end that it states: it was cut off"
    else:
        return None
    return Shortfall(LossKind.CUT_SHORT, message)


def find_shortfall(
    index: SourceIndex, num_wanted: int, with_sound: bool, is_whole: bool, report: ReadReport
) -> Shortfall | None:
    """Why less came of a read than the packets of the file promise, or None.

    Args:
        num_wanted: frames that were asked for. with_sound: whether the sound was.
        is_whole: whether the piece that was read is the whole source.

    Raises:
        CorruptError: nothing came at all.
    """
    if num_wanted and not report.num_decoded and not report.sound_seconds and is_whole:
        raise CorruptError(
            f"none of the {num_wanted} frames asked for could be decoded: damaged or encrypted"
        )
    if with_sound and not num_wanted and report.num_sound_lost and not report.sound_seconds:
        raise CorruptError("no packet of the sound could be decoded: damaged or encrypted")
    lost = report.num_missing - report.num_leading
    if report.cut_off:
        message = "reading ended in an error before the end of the file"
        if lost:
            message += f": {lost} of {num_wanted} frames did not come"
        return Shortfall(LossKind.CUT_SHORT, message)
    if lost:
        message = f"{lost} of {num_wanted} frames could not be decoded"
        return Shortfall(LossKind.DAMAGED_PICTURES, message)
    if report.num_damaged:
        return Shortfall(LossKind.DAMAGED_PICTURES, f"{report.num_damaged} pictures are damaged")
    promised = index.sound_seconds if with_sound else 0.0
    if promised and report.sound_seconds < promised - max(0.5, 0.05 * promised):
        message = f"{report.sound_seconds:.2f} of {promised:.2f} seconds of sound could be decoded"
        return Shortfall(LossKind.MISSING_SOUND, message)
    if report.num_sound_lost:
        message = f"{report.num_sound_lost} packets of sound could not be decoded; silence stands for them"
        return Shortfall(LossKind.MISSING_SOUND, message)
    if report.num_text_lost:
        message = f"{report.num_text_lost} subtitles are damaged: they are missing, or end too early"
        return Shortfall(LossKind.DAMAGED_SUBTITLES, message)
    return None
