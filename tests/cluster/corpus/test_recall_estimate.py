"""The estimate of what a cascade missed, against brute force and against planted truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framemill.cluster.corpus.recall_estimate import estimate_recall
from framemill.ops.sampling.cascade import audit_draw


@given(st.integers(0, 40), st.integers(0, 25), st.data())
def test_the_interval_holds_what_brute_force_finds_likely(found: int, left: int, data: st.DataObject) -> None:
    audited = data.draw(st.integers(0, left))
    missed = data.draw(st.integers(0, audited))

    def chance(k: int, truth: int) -> float:
        return math.comb(truth, k) * math.comb(left - truth, audited - k) / math.comb(left, audited)

    def is_likely(truth: int) -> bool:
        most = sum(chance(k, truth) for k in range(missed + 1) if audited - k <= left - truth and k <= truth)
        least = sum(
            chance(k, truth) for k in range(missed, audited + 1) if audited - k <= left - truth and k <= truth
        )
        return most > 0.025 - 1e-12 and least > 0.025 - 1e-12  # ties are held

    likely = [truth for truth in range(missed, left - audited + missed + 1) if is_likely(truth)]
    got = estimate_recall(found, left, audited, missed)
    if found == 0 and likely[-1] == 0:
        assert (got.recall, got.low, got.high) == (None, None, None)
        return
    assert got.low == pytest.approx(found / (found + likely[-1]))
    assert got.high == pytest.approx(found / (found + likely[0]) if found + likely[0] else 1.0)
    if got.recall is not None and got.low is not None and got.high is not None:
        assert got.low - 1e-9 <= got.recall <= got.high + 1e-9


def test_what_is_just_as_unlikely_as_allowed_is_held() -> None:
    # 13 of 16 audited, none missed: two of the other three may be, with a chance of 14 / 560 = 0.025.
    got = estimate_recall(1, 16, 13, 0)
    assert got.low == pytest.approx(1 / 3) and got.high == 1.0


def test_everything_audited_leaves_no_doubt() -> None:
    got = estimate_recall(30, 70, 70, 10)
    assert (got.recall, got.low, got.high) == (0.75, 0.75, 0.75)
    sure = estimate_recall(30, 0, 0, 0)
    assert (sure.low, sure.high) == (1.0, 1.0)


def test_no_audit_leaves_every_doubt() -> None:
    got = estimate_recall(10, 90, 0, 0)
    assert (got.recall, got.low, got.high) == (None, 0.1, 1.0)


def test_large_counts_are_quick_and_close_to_the_normal_interval() -> None:
    got = estimate_recall(500_000, 1_000_000, 10_000, 1_000)
    assert got.recall == pytest.approx(500 / 600)
    share = 1.96 * math.sqrt(0.1 * 0.9 / 10_000)
    assert got.low == pytest.approx(500 / (500 + 1000 * (0.1 + share)), abs=0.001)
    assert got.high == pytest.approx(500 / (500 + 1000 * (0.1 - share)), abs=0.001)


@pytest.mark.parametrize(("num_missed", "num_found"), [(3, 60), (20, 80), (90, 150)])
def test_the_truth_is_inside_in_at_least_90_of_100_seeds(num_missed: int, num_found: int) -> None:
    """Frames left out, some of which were missed, audited as `candidates` does it under 100 content ids."""
    left_out = 400
    is_missed = np.zeros(left_out, bool)
    is_missed[np.random.default_rng(num_missed).choice(left_out, num_missed, replace=False)] = True
    truth = num_found / (num_found + num_missed)
    inside, told = 0, []
    for seed in range(100):
        audited = np.array([audit_draw(f"{seed:064x}", frame) < 0.1 for frame in range(left_out)])
        got = estimate_recall(num_found, left_out, int(audited.sum()), int((audited & is_missed).sum()))
        assert got.recall is not None and got.low is not None and got.high is not None
        inside += got.low <= truth <= got.high
        told.append(got.recall)
    assert inside >= 90
    assert float(np.mean(told)) == pytest.approx(truth, abs=0.03)


def test_counts_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="missed 3"):
        estimate_recall(1, 10, 2, 3)
