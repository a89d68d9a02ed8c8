"""Clustering of unit vectors by average linkage, without ever holding all pairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

# Clusters at least this similar are joined to their nearest all at once. Frames of one shot give thousands
# of nearly equal vectors that all point at the same neighbour, and pair by pair there would be no end.
CERTAIN = 0.9
# Similarities held at once: 1024 x 8192 x 4 bytes = 32 MB.
_ROWS, _COLUMNS = 1024, 8192
# Products of the same two vectors may differ by this much between one block and another.
_ROUNDING = 1e-6


def average_linkage(vectors: Float32Array, threshold: float) -> Int64Array:
    """Joins the two most similar clusters again and again until none are as similar as `threshold`.

    Clusters are as similar as their pairs of members are on average, which is the dot product of their mean
    vectors. Joining every pair that is each other's nearest, round by round, gives the same clusters as one
    pair at a time (Murtagh, "A survey of recent advances in hierarchical clustering algorithms", 1983),
    with memory for the vectors alone.

    Args:
        vectors: float32 [n, d], each of length 1.
        threshold: -1..1.

    Returns:
        int64 [n], numbers from 0 without gaps, in the order of the clusters' first vectors. The same
        vectors in the same order give the same numbers.
    """
    member_of = np.arange(len(vectors))  # vector -> row of `sums`, or -1 once its cluster is final
    final = np.full(len(vectors), -1, np.int64)  # vector -> a first guess at its number
    sums, counts = vectors.astype(np.float32), np.ones(len(vectors), np.float32)
    nearest = np.zeros(len(vectors), np.int64)
    alike = np.full(len(vectors), -np.inf, np.float32)
    stale = np.ones(len(vectors), np.bool_)
    num_final = 0
    while len(sums):
        means = sums / counts[:, None]
        rows = np.flatnonzero(stale)
        nearest[rows], alike[rows] = _nearest(means, rows)
        root = _join(nearest, alike, threshold)
        merged = root != np.arange(len(root))
        touched = np.zeros(len(root), np.bool_)
        touched[root[merged]] = touched[merged] = True
        # What has no neighbour within the threshold never gets one: averages only fall when others join.
        is_final = (alike < threshold) & ~touched
        numbers = np.cumsum(is_final) - 1 + num_final
        num_final += int(is_final.sum())
        inside = np.flatnonzero(member_of >= 0)
        at = root[member_of[inside]]
        final[inside[is_final[at]]] = numbers[at[is_final[at]]]
        np.add.at(sums, root[merged], sums[merged])
        np.add.at(counts, root[merged], counts[merged])
        kept = np.flatnonzero(~merged & ~is_final)
        new_row = np.full(len(root), -1, np.int64)
        new_row[kept] = np.arange(len(kept))
        member_of[inside] = new_row[at]
        # Others keep their neighbour: a joined cluster is no nearer than the nearer of its two parts.
        moved = touched | is_final
        stale = (touched | moved[nearest])[kept]
        nearest, alike = new_row[nearest[kept]], alike[kept]
        sums, counts = sums[kept], counts[kept]
    _, first, number = np.unique(final, return_index=True, return_inverse=True)
    rank: Int64Array = np.argsort(np.argsort(first))[number]
    return rank


def _nearest(means: Float32Array, rows: Int64Array) -> tuple[Int64Array, Float32Array]:
    """Row of the most similar other cluster for each of `rows`, the first of equals, and how similar."""
    best = np.zeros(len(rows), np.int64)
    alike = np.full(len(rows), -np.inf, np.float32)
    for start in range(0, len(rows), _ROWS):
        ours = rows[start : start + _ROWS]
        picked = np.ascontiguousarray(means[ours])
        for left in range(0, len(means), _COLUMNS):
            block = picked @ means[left : left + _COLUMNS].T
            self_at = np.flatnonzero((ours >= left) & (ours < left + _COLUMNS))
            block[self_at, ours[self_at] - left] = -np.inf
            column = block.argmax(axis=1)
            value = block[np.arange(len(ours)), column]
            better = value > alike[start : start + _ROWS]
            best[start : start + _ROWS][better] = left + column[better]
            alike[start : start + _ROWS][better] = value[better]
    return best, alike


def _join(nearest: Int64Array, alike: Float32Array, threshold: float) -> Int64Array:
    """Which clusters become one in this round: int64 [n], the lowest row of each one's new cluster."""
    root = np.arange(len(nearest))
    close = np.flatnonzero(alike >= max(threshold, CERTAIN))
    if len(close):
        for row in close.tolist():
            a, b = _root(root, row), _root(root, int(nearest[row]))
            root[max(a, b)] = min(a, b)
        return np.array([_root(root, row) for row in range(len(root))], np.int64)
    able = np.flatnonzero(alike >= threshold)
    if not len(able):
        return root
    mutual = able[alike[able] >= alike[nearest[able]] - _ROUNDING]
    free = np.ones(len(root), np.bool_)
    # The most similar pair of all is mutual in any case, so each round joins at least one.
    for row in mutual[np.argsort(-alike[mutual], kind="stable")].tolist():
        other = int(nearest[row])
        if free[row] and free[other]:
            free[row] = free[other] = False
            root[max(row, other)] = min(row, other)
    return root


def _root(root: Int64Array, row: int) -> int:
    while root[row] != row:
        root[row] = root[root[row]]
        row = int(root[row])
    return row
