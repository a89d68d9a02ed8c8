"""The cheap look: near duplicates and useless frames are left out, and a sample of them is audited."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framemill.errors import UsageError
from framemill.ops.sampling.candidate_choice import ALIKE, LEAST_DOUBT, LOW, MOST_DOUBT, NEW, choose
from framemill.ops.sampling.cascade import AUDITED, KEPT, SKIPPED, Candidates, CandidatesOptions, audit_draw
from tests.ops.stand_ins import shard


def frames_table(hashes: list[int], scores: list[float] | None = None, **changed: list[float]) -> pa.Table:
    num = len(hashes)
    columns: dict[str, object] = {
        "frame_index": list(range(0, 10 * num, 10)),
        "pts_seconds": [k / 2 for k in range(num)],
        "sharpness": [200.0] * num,
        "brightness": [0.5] * num,
        "contrast": [0.2] * num,
        "entropy": [6.0] * num,
        "colourfulness": [40.0] * num,
        "frame_score": scores or [0.8] * num,
        "phash": pa.array(hashes, pa.uint64()),
    }
    return pa.table({**columns, **changed})


def decide(table: pa.Table, source_id: str = "a" * 64, **options: float) -> pa.Table:
    op = Candidates(CandidatesOptions(**options), {})  # type: ignore[arg-type]
    info = replace(shard(10 * table.num_rows or 1, 64, 36, 9.0), source_id=source_id)
    return op.combine({"frames": table}, info)


ALL_BITS = 2**64 - 1


def test_of_frames_that_look_alike_the_best_stands_for_the_others() -> None:
    hashes = [0, 1, 3, ALL_BITS, ALL_BITS]
    rows = decide(frames_table(hashes, [0.5, 0.9, 0.4, 0.7, 0.7]), audit_share=0.0, recall_target=0.6)
    assert rows["decision"].to_pylist() == [SKIPPED, KEPT, SKIPPED, KEPT, SKIPPED]
    assert rows["stand_in_frame"].to_pylist() == [10, 10, 10, 30, 30]
    assert rows["reason"].to_pylist() == [ALIKE, NEW, ALIKE, NEW, ALIKE]


def test_what_shows_nothing_is_left_out_for_that_reason() -> None:
    rows = decide(
        frames_table(
            [0, 2**16 - 1, 2**32 - 1, 2**48 - 1, ALL_BITS],
            brightness=[0.01, 0.99, 0.5, 0.5, 0.5],
            contrast=[0.2, 0.2, 0.001, 0.2, 0.2],
            sharpness=[200.0, 200.0, 200.0, 5.0, 200.0],
        ),
        audit_share=0.0,
    )
    assert rows["reason"].to_pylist() == ["too dark", "too bright", "flat", "blurred", NEW]
    assert rows["stand_in_frame"].to_pylist() == [None, None, None, None, 40]


def test_what_the_hash_does_not_see_is_seen_in_the_measures() -> None:
    rng = np.random.default_rng(2)
    entropy = (6.0 + rng.normal(0, 0.01, 18)).tolist()
    entropy[7] += 0.3  # somebody at the back of the hall
    rows = decide(frames_table([7] * 18, entropy=entropy), audit_share=0.0, recall_target=0.3)
    kept = [k for k, decision in enumerate(rows["decision"].to_pylist()) if decision == KEPT]
    assert 7 in kept and len(kept) == 2
    blind = decide(
        frames_table([7] * 18, entropy=entropy), audit_share=0.0, recall_target=0.3, max_change=1e6
    )
    assert blind["decision"].to_pylist()[7] != KEPT


def test_a_frame_stands_for_others_only_near_by() -> None:
    still = frames_table([7] * 60)
    near = decide(still, audit_share=0.0, recall_target=0.3)
    frames, stand_in = (np.array(near[name].to_pylist(), float) for name in ("frame_index", "stand_in_frame"))
    apart = np.abs(frames - stand_in) / 20  # frames 10 apart are half a second apart
    assert np.nanmax(apart) <= 10.0 and near["decision"].to_pylist().count(KEPT) >= 2
    far = decide(still, audit_share=0.0, max_group_seconds=3600.0, recall_target=0.1)
    assert far["decision"].to_pylist().count(KEPT) == 1


def test_more_is_kept_until_enough_is_expected_to_be_found() -> None:
    still = frames_table([7] * 100)
    for target in (0.5, 0.8, 0.95):
        rows = decide(still, audit_share=0.0, recall_target=target, max_group_seconds=3600.0)
        kept = rows["decision"].to_pylist().count(KEPT)
        assert kept / (kept + LEAST_DOUBT * (100 - kept)) >= target - 0.02
        assert kept / (kept + MOST_DOUBT * (100 - kept)) <= target + 0.02
    everything = decide(still, audit_share=0.0, recall_target=1.0)
    assert everything["decision"].to_pylist().count(KEPT) == 100


def test_a_lower_target_keeps_fewer_the_best_ones() -> None:
    spread = [int(h) for h in np.random.default_rng(1).integers(0, 2**63, 40)]
    scores = [0.1 + 0.02 * k for k in range(40)]
    table = frames_table(spread, scores)
    kept = [
        decide(table, audit_share=0.0, recall_target=target)["decision"].to_pylist().count(KEPT)
        for target in (0.3, 0.6, 0.95, 1.0)
    ]
    assert kept == sorted(kept) and kept[0] < kept[-1] == 40
    low = decide(table, audit_share=0.0, recall_target=0.5)
    assert {
        r for r, d in zip(low["reason"].to_pylist(), low["decision"].to_pylist(), strict=True) if d == SKIPPED
    } == {LOW}


@given(
    st.lists(st.integers(0, ALL_BITS), min_size=1, max_size=60),
    st.integers(0, 64),
    st.floats(0.01, 1.0),
    st.integers(0, 2**32),
)
def test_what_a_choice_owes(hashes: list[int], distance: int, target: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    num = len(hashes)
    measures = {
        "pts_seconds": np.cumsum(rng.uniform(0.1, 3, num)),
        "sharpness": rng.uniform(0, 500, num),
        "brightness": rng.random(num),
        "contrast": rng.uniform(0, 0.3, num),
        "entropy": rng.uniform(0, 8, num),
        "colourfulness": rng.uniform(0, 110, num),
        "frame_score": rng.random(num),
    }
    choice = choose(
        measures,
        np.array(hashes, np.uint64),
        recall_target=target,
        max_distance=distance,
        max_change=4.0,
        max_group_seconds=10.0,
    )
    kept = np.flatnonzero(choice.is_kept)
    assert ((choice.score >= 0) & (choice.score <= 1)).all()
    assert (choice.stand_in[kept] == kept).all(), "a kept frame stands for itself"
    stood = choice.stand_in[choice.stand_in >= 0]
    assert choice.is_kept[stood].all(), "only kept frames stand for others"
    away = np.flatnonzero(choice.stand_in >= 0)
    apart = [int(hashes[i] ^ hashes[j]).bit_count() for i, j in zip(away, choice.stand_in[away], strict=True)]
    assert max(apart, default=0) <= distance, "a stand-in looks alike"
    assert len(choice.reasons) == num and all(choice.reasons)


def test_the_audit_is_a_fair_draw_by_content() -> None:
    draws = np.array([audit_draw("s" * 64, frame) for frame in range(20_000)])
    assert draws.min() >= 0 and draws.max() < 1
    assert (draws < 0.1).mean() == pytest.approx(0.1, abs=0.01)
    assert audit_draw("x", 5) == audit_draw("x", 5) != audit_draw("y", 5)
    table = frames_table([7] * 200)
    few = {"audit_share": 0.3, "recall_target": 0.3}
    one, other = (decide(table, source_id=name, **few) for name in ("a", "b"))
    assert one.equals(decide(table, source_id="a", **few))
    assert one["decision"] != other["decision"]
    assert 30 < one["decision"].to_pylist().count(AUDITED) < 90


@pytest.mark.parametrize(
    "wrong",
    [{"recall_target": 0.0}, {"recall_target": 1.1}, {"audit_share": -0.1}, {"max_distance": 65}],
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=rf"candidates\.{next(iter(wrong))}"):
        CandidatesOptions(**wrong)  # type: ignore[arg-type]
