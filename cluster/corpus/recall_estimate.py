"""Estimate of the recall of a selection of frames, from a random sample of the frames left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A recall of 0 to 1 and its interval; all None where nothing was found anywhere."""

    recall: float | None
    low: float | None
    high: float | None


def estimate_recall(
    num_found: int, num_left_out: int, num_audited: int, num_missed: int, confidence: float = 0.95
) -> Estimate:
    """Recall = found / (found + missed), where only the missed of the audited are known.

    The point estimate weighs each miss by left out / audited (Horvitz and Thompson). The interval is that of
    Clopper and Pearson for a draw without replacement: it holds every number of misses among the left out
    for which the result of the audit is not too unlikely (hypergeometric tails of (1 - confidence) / 2). Its
    coverage is at least the confidence, mostly more.

    Args:
        num_found: kept frames in which something was found.
        num_left_out: frames that were not kept, audited ones among them.
        num_audited: frames drawn from those at random.
        num_missed: audited frames that show what no kept frame shows for them.

    Raises:
        ValueError: counts that contradict each other.
    """
    if not 0 <= num_missed <= num_audited <= num_left_out or num_found < 0:
        raise ValueError(
            f"found {num_found}, left out {num_left_out}, audited {num_audited}, missed {num_missed}: "
            "0 <= missed <= audited <= left out must hold"
        )
    # Slightly less, so that rounding does not exclude what is exactly as unlikely as allowed.
    tail = (1 - confidence) / 2 * (1 - 1e-9)
    first, last = num_missed, num_left_out - num_audited + num_missed

    def tail_probability(missed: int, at_most: bool) -> float:
        """Probability that the audit finds at most, or at least, as many misses as it found."""
        low, high = (0, num_missed) if at_most else (num_missed, min(num_audited, missed))
        return math.fsum(_hypergeometric(k, num_left_out, missed, num_audited) for k in range(low, high + 1))

    least = _first_true(first, last, lambda missed: tail_probability(missed, at_most=False) > tail)
    most = last - _first_true(
        0, last - first, lambda step: tail_probability(last - step, at_most=True) > tail
    )
    weighed = num_missed * num_left_out / num_audited if num_audited else 0.0
    if num_found == 0 and most == 0:
        return Estimate(None, None, None)
    return Estimate(
        num_found / (num_found + weighed) if num_audited and num_found + weighed else None,
        num_found / (num_found + most) if num_found + most else None,
        num_found / (num_found + least) if num_found + least else 1.0,
    )


def _first_true(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number in [low, high] for which it holds; it holds for all above that one, and for `high`."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _hypergeometric(k: int, population: int, marked: int, drawn: int) -> float:
    if not max(0, drawn + marked - population) <= k <= min(marked, drawn):
        return 0.0
    return math.exp(
        _log_choose(marked, k) + _log_choose(population - marked, drawn - k) - _log_choose(population, drawn)
    )


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
