"""From stretches and shots to the clips of one source: pure functions, tested without media."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from framemill.errors import UsageError

MIN_SECONDS, MAX_SECONDS = 1.0, 60.0
# Fades and dissolves are known by one instant alone: so much around it may show two shots.
TRIM_SECONDS = 0.5
# Times are read from tables and added up: what differs by less is equal.
SAME_SECONDS = 1e-6
_SOFT = ("fade", "dissolve")


@dataclass(frozen=True, slots=True)
class Rules:
    """How clips are made of stretches.

    Attributes:
        min_seconds, max_seconds: of a clip; what is longer is split evenly, what is shorter is dropped.
        trim_seconds: taken off at both sides of fades and dissolves, >= 0.
        across_cuts: whether a clip may show several shots.
        max_per_source: clips of one source at most; None for all.

    Raises:
        UsageError: a value is out of range.
    """

    min_seconds: float = MIN_SECONDS
    max_seconds: float = MAX_SECONDS
    trim_seconds: float = TRIM_SECONDS
    across_cuts: bool = False
    max_per_source: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.min_seconds <= self.max_seconds < math.inf:
            raise UsageError(
                f"clips of {self.min_seconds:g} to {self.max_seconds:g} s cannot be made: the least must be "
                f"more than 0, and the most as much or more, such as {MIN_SECONDS:g} and {MAX_SECONDS:g}"
            )
        if not 0 <= self.trim_seconds < math.inf:
            raise UsageError(f"{self.trim_seconds:g} s cannot be trimmed; give 0 or more")
        if self.max_per_source is not None and self.max_per_source < 1:
            raise UsageError(f"at most {self.max_per_source} clips a source is none; give 1 or more")


@dataclass(frozen=True, slots=True)
class Shot:
    """A row of `scenes`, and what the filters say of it.

    Attributes:
        scene_index, start_seconds, end_seconds, start_frame, end_frame, transition: as in the table.
        broken: name of the first filter that it does not pass; "" where it passes all.
    """

    scene_index: int
    start_seconds: float
    end_seconds: float
    start_frame: int
    end_frame: int
    transition: str = "cut"
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a source, which may become a clip.

    Attributes:
        start_seconds, end_seconds: half-open, since the start of the presentation.
        start_frame, end_frame: the same in frames, 0-based; None where the times decide.
        scene_index: of the shot that holds its start; None where shots are not known.
        rank: 0 for the best of its source, where there is an order; None without.
        reason: why it is dropped; "" where it is kept.
    """

    start_seconds: float
    end_seconds: float
    start_frame: int | None = None
    end_frame: int | None = None
    scene_index: int | None = None
    rank: int | None = None
    reason: str = ""

    @property
    def seconds(self) -> float:
        return self.end_seconds - self.start_seconds


def strides(seconds: float, shots: Sequence[Shot], length: float, across_cuts: bool) -> list[Stretch]:
    """Stretches of one length side by side: in each shot from its start, or in the file from its own.

    Args:
        seconds: length of the source. length: of a stretch, > 0; the last of each shot may be shorter.
    """
    spans = [(0.0, seconds)]
    if not across_cuts:
        spans = [(shot.start_seconds, shot.end_seconds) for shot in shots]
    found = []
    for start, end in spans:
        for number in range(math.ceil((end - start) / length - SAME_SECONDS)):
            begin = start + number * length
            found.append(Stretch(begin, min(begin + length, end)))
    return found


def plan_source(stretches: Sequence[Stretch], shots: Sequence[Shot], rules: Rules) -> list[Stretch]:
    """The clips of one source in order of time: those to be cut, and those that a rule drops, with it.

    At most as many as `rules` allow is a rule of its own (`keep_most`): doubles go before.

    Args:
        stretches: what is asked for. shots: of the source, by time; none where they are not known, which
            counts as one shot without end.
    """
    found: list[Stretch] = []
    for stretch in stretches:
        for piece, broken in _pieces(stretch, shots, rules):
            if broken:
                found.append(replace(piece, reason=broken))
            else:
                found += _of_length(piece, rules)
    return sorted(found, key=lambda each: (each.start_seconds, each.end_seconds))


def keep_most(planned: Sequence[Stretch], most: int | None) -> list[Stretch]:
    """Of one source's clips in order of time as many as allowed: the best by rank, else spread evenly."""
    kept = [place for place, each in enumerate(planned) if not each.reason]
    if most is None or len(kept) <= most:
        return list(planned)
    ranks = [planned[place].rank for place in kept]
    if None not in ranks:
        chosen = sorted(kept, key=lambda place: (planned[place].rank or 0, place))[:most]
    else:
        chosen = [kept[(2 * number + 1) * len(kept) // (2 * most)] for number in range(most)]
    dropped = set(kept).difference(chosen)
    reason = f"more than {most} of a source"
    return [replace(each, reason=reason) if at in dropped else each for at, each in enumerate(planned)]


def _pieces(stretch: Stretch, shots: Sequence[Shot], rules: Rules) -> Iterator[tuple[Stretch, str]]:
    """The stretch cut at the shots that it touches, or as it is, and the filter that drops it."""
    touched = range(
        bisect_right(shots, stretch.start_seconds + SAME_SECONDS, key=lambda shot: shot.end_seconds),
        bisect_left(shots, stretch.end_seconds - SAME_SECONDS, key=lambda shot: shot.start_seconds),
    )
    if not touched:
        yield stretch, "no shot is known there" if shots else ""
        return
    if rules.across_cuts:
        broken = next((shots[place].broken for place in touched if shots[place].broken), "")
        first, last = shots[touched[0]], touched[-1]
        yield (
            replace(_trimmed(stretch, shots, touched[0], last, rules), scene_index=first.scene_index),
            broken,
        )
        return
    for place in touched:
        shot = shots[place]
        starts = stretch.start_seconds <= shot.start_seconds + SAME_SECONDS
        ends = stretch.end_seconds >= shot.end_seconds - SAME_SECONDS
        piece = replace(
            stretch,
            start_seconds=shot.start_seconds if starts else stretch.start_seconds,
            end_seconds=shot.end_seconds if ends else stretch.end_seconds,
            start_frame=shot.start_frame if starts else stretch.start_frame,
            end_frame=shot.end_frame if ends else stretch.end_frame,
            scene_index=shot.scene_index,
        )
        yield _trimmed(piece, shots, place, place, rules), shot.broken


def _trimmed(stretch: Stretch, shots: Sequence[Shot], first: int, last: int, rules: Rules) -> Stretch:
    """Without what lies next to a fade or dissolve with which the first shot begins or the last ends."""
    trim = rules.trim_seconds
    start, end = stretch.start_seconds, stretch.end_seconds
    if shots[first].transition in _SOFT:
        start = max(start, shots[first].start_seconds + trim)
    if last + 1 < len(shots) and shots[last + 1].transition in _SOFT:
        end = min(end, shots[last].end_seconds - trim)
    return replace(
        stretch,
        start_seconds=start,
        end_seconds=max(start, end),
        start_frame=stretch.start_frame if start == stretch.start_seconds else None,
        end_frame=stretch.end_frame if end == stretch.end_seconds else None,
    )


def _of_length(piece: Stretch, rules: Rules) -> Iterator[Stretch]:
    """The piece, split evenly where it is too long; dropped where it is too short."""
    if piece.seconds < rules.min_seconds - SAME_SECONDS:
        yield replace(piece, reason=f"shorter than {rules.min_seconds:g} s")
        return
    count = max(1, math.ceil(piece.seconds / rules.max_seconds - SAME_SECONDS))
    if piece.seconds / count >= rules.min_seconds - SAME_SECONDS:
        edges = [piece.start_seconds + piece.seconds * number / count for number in range(count)]
        edges.append(piece.end_seconds)
    else:  # even ones would be too short: as many as fit of the greatest length
        count -= 1
        edges = [piece.start_seconds + rules.max_seconds * number for number in range(count + 1)]
        rest = replace(piece, start_seconds=edges[-1], start_frame=None)
        yield replace(rest, reason=f"shorter than {rules.min_seconds:g} s")
    for number in range(count):
        yield replace(
            piece,
            start_seconds=edges[number],
            end_seconds=edges[number + 1],
            start_frame=piece.start_frame if number == 0 else None,
            end_frame=piece.end_frame if edges[number + 1] == piece.end_seconds else None,
        )
