from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from framemill.cluster.corpus.near_hashes import BANDS, MAX_BITS, group_hashes, pairs_join
from framemill.errors import UsageError

UInt64Array = npt.NDArray[np.uint64]


def by_definition(hashes: UInt64Array, max_bits: int) -> npt.NDArray[np.int64]:
    near = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= max_bits
    group = np.arange(len(hashes))
    while True:
        smaller = np.array([group[row].min() for row in near])
        if np.array_equal(smaller, group):
            return group
        group = smaller


def flipped(hashes: UInt64Array, num_bits: int, rng: np.random.Generator) -> UInt64Array:
    out = hashes.copy()
    for row in range(len(out)):
        for bit in rng.choice(64, num_bits, replace=False):
            out[row] ^= np.uint64(1) << np.uint64(bit)
    return out


@pytest.mark.parametrize("max_bits", [0, 1, 2, 3, 4, 6, 10])
def test_every_pair_within_reach_is_found(max_bits: int) -> None:
    rng = np.random.default_rng(max_bits)
    base = rng.integers(0, 2**64, 120, dtype=np.uint64)
    near = [flipped(base, max(0, max_bits + more), rng) for more in (-2, -1, 0, 1)]
    chain = np.cumsum(np.full(9, 1 << 40, np.uint64), dtype=np.uint64)
    hashes = rng.permutation(np.unique(np.concatenate([base, *near, chain])))
    expected = by_definition(hashes, max_bits)
    np.testing.assert_array_equal(group_hashes(hashes, max_bits), expected)
    assert max_bits == 0 or len(np.unique(expected)) < len(hashes)


def test_one_bit_in_any_place_is_found() -> None:
    assert sum(BANDS) == 64
    # Each differs from 0 in one bit, and from the others in two.
    hashes = np.append(np.uint64(0), np.uint64(1) << np.arange(64, dtype=np.uint64))
    assert group_hashes(hashes, 1).tolist() == [0] * 65
    assert group_hashes(hashes, 0).tolist() == list(range(65))


def test_few_hashes_are_no_special_case() -> None:
    assert group_hashes(np.zeros(0, np.uint64), 10).tolist() == []
    assert group_hashes(np.array([7], np.uint64), 10).tolist() == [0]


@pytest.mark.parametrize("max_bits", [-1, MAX_BITS + 1])
def test_a_distance_out_of_range_is_refused(max_bits: int) -> None:
    with pytest.raises(UsageError, match="it must be 0 to 12"):
        group_hashes(np.zeros(1, np.uint64), max_bits)


def test_links_join_whatever_their_order() -> None:
    first, second = np.array([5, 1, 4, 3, 2]), np.array([4, 0, 3, 2, 1])
    assert pairs_join(7, first, second).tolist() == [0, 0, 0, 0, 0, 0, 6]
