"""Groups of 64-bit hashes that differ in few bits, in less than the square of their number.

Multi-index hashing (Norouzi, Punjani, Fleet, "Fast Exact Search in Hamming Space with Multi-Index Hashing",
2014): the 64 bits are cut into bands. Two hashes that differ in at most r bits differ, in at least one band,
in at most that band's share of r; so looking up, for each band, all values within its share finds every pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt

from framemill.errors import UsageError
from framemill.ops.chunks import Int64Array

UInt64Array = npt.NDArray[np.uint64]

# Width of the bands: about as many values as there are hashes in a large corpus, so that a look-up finds
# one hash or none.
BANDS = (22, 21, 21)
# Above, unrelated pictures come together: of a million random hashes, 5000 pairs are within 10 bits and
# 130,000 within 12.
MAX_BITS = 12
# Candidates compared at once, and pairs that wait to be joined: 32 MB each.
_CANDIDATES = 1 << 20
_PAIRS = 1 << 20


def group_hashes(hashes: UInt64Array, max_bits: int) -> Int64Array:
    """Puts hashes into one group that are linked by steps of at most `max_bits` different bits.

    Args:
        hashes: uint64 [n], all different.
        max_bits: 0..`MAX_BITS`.

    Returns:
        int64 [n], for each hash the position of the first of its group.

    Raises:
        UsageError: `max_bits` is out of range.
    """
    if not 0 <= max_bits <= MAX_BITS:
        raise UsageError(f"the distance is {max_bits} bits; it must be 0 to {MAX_BITS}")
    groups = _Groups(len(hashes))
    for first, second in _near_pairs(hashes, max_bits):
        groups.add(first, second)
    return groups.finish()


class _Groups:
    """Union-find over arrays of pairs; a group is named by its smallest member."""

    def __init__(self, size: int) -> None:
        self._root = np.arange(size)
        self._waiting: list[tuple[Int64Array, Int64Array]] = []
        self._num_waiting = 0

    def add(self, first: Int64Array, second: Int64Array) -> None:
        self._waiting.append((first, second))
        self._num_waiting += len(first)
        if self._num_waiting >= _PAIRS:
            self.finish()

    def finish(self) -> Int64Array:
        """Joins what waits."""
        root = self._root
        first = np.concatenate([pair[0] for pair in self._waiting] or [np.zeros(0, np.int64)])
        second = np.concatenate([pair[1] for pair in self._waiting] or [np.zeros(0, np.int64)])
        self._waiting, self._num_waiting = [], 0
        while len(first):
            low = np.minimum(root[first], root[second])
            high = np.maximum(root[first], root[second])
            apart = low != high
            first, second = first[apart], second[apart]
            # Of several links from one root the last one wins; the others come again in the next round.
            root[high[apart]] = low[apart]
            while not np.array_equal(further := root[root], root):
                root[:] = further
        return root.copy()


def pairs_join(size: int, first: Int64Array, second: Int64Array) -> Int64Array:
    """For each of `size` things the first of those that the pairs link it with; int64 [size]."""
    groups = _Groups(size)
    groups.add(first, second)
    return groups.finish()


def _near_pairs(hashes: UInt64Array, max_bits: int) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Positions of pairs that differ in at most `max_bits` bits; some pairs come more than once."""
    # Shares of which one is kept by every such pair: they sum to max_bits - (number of bands - 1).
    total = max_bits - len(BANDS) + 1
    shares = [(total + extra) // len(BANDS) for extra in range(len(BANDS))]
    # The largest share goes to the widest band, where a look-up finds least.
    shares.sort(reverse=True)
    shift = 0
    for width, share in zip(BANDS, shares, strict=True):
        if share >= 0:
            yield from _pairs_of_band(hashes, max_bits, shift, width, share)
        shift += width


def _pairs_of_band(
    hashes: UInt64Array, max_bits: int, shift: int, width: int, share: int
) -> Iterator[tuple[Int64Array, Int64Array]]:
    keys = ((hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int32)
    order = np.argsort(keys, kind="stable").astype(np.int64)
    keys, values = keys[order], hashes[order]
    # Where the hashes of each value of the band begin.
    starts = np.zeros((1 << width) + 1, np.int64)
    np.cumsum(np.bincount(keys, minlength=1 << width), out=starts[1:])
    occupied = starts[1:] > starts[:-1]
    rows = np.arange(len(keys))
    yield from _close(values, order, rows, rows + 1, starts[keys + 1], max_bits)
    for top in range(width):
        # Each pair once: from the one whose highest different bit of the band is 0.
        rows = np.flatnonzero((keys >> top) & 1 == 0)
        from_keys = keys[rows]
        for lower in range(share):
            for bits in combinations(range(top), lower):
                there = from_keys ^ ((1 << top) | sum(1 << bit for bit in bits))
                hit = np.flatnonzero(occupied[there])
                there = there[hit]
                yield from _close(values, order, rows[hit], starts[there], starts[there + 1], max_bits)


def _close(
    values: UInt64Array,
    order: Int64Array,
    rows: Int64Array,
    starts: Int64Array,
    stops: Int64Array,
    max_bits: int,
) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Of each row with each of the rows `starts` to `stops`, those that are close, by original position."""
    ends = np.cumsum(stops - starts)
    at, done = 0, 0
    while at < len(rows):
        # At least one row; one row alone has no more candidates than there are hashes.
        until = max(int(np.searchsorted(ends, done + _CANDIDATES, "right")), at + 1)
        counts = stops[at:until] - starts[at:until]
        first = np.repeat(rows[at:until], counts)
        offset = np.repeat(starts[at:until] - (ends[at:until] - counts), counts)
        second = np.arange(done, done + len(first)) + offset
        near = np.flatnonzero(np.bitwise_count(values[first] ^ values[second]) <= max_bits)
        if len(near):
            yield order[first[near]], order[second[near]]
        at, done = until, int(ends[until - 1])
