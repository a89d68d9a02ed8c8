"""Clustering of unit vectors by average linkage, without ever holding all pairs.

The operation `speakers` clusters voices with it, and `framemill.cluster.corpus.people` faces.
"""

from __future__ import annotations

import numpy as np

from framemill.ops.chunks import Float32Array, Int64Array

# Clusters at least this similar are joined to their nearest all at once. Frames of one shot give thousands
# of nearly equal vectors that all have the same nearest neighbour: joined pair by pair, each would take a
# round of its own.
CERTAIN = 0.9
# The same for exact linkage: only vectors that are equal but for rounding.
EQUAL = 1 - 1e-6
# Similarities held at once: 1024 x 8192 x 4 bytes = 32 MB.
_ROWS, _COLUMNS = 1024, 8192
# Products of the same two vectors may differ by this much between one block and another.
_ROUNDING = 1e-6


def average_linkage(
    vectors: Float32Array,
    threshold: float,
    *,
    certain: float = CERTAIN,
    sizes: Float32Array | None = None,
    opposites: Int64Array | None = None,
) -> Int64Array:
    """Joins the two most similar clusters again and again until none are as similar as `threshold`.

    The similarity of two clusters is the mean over their pairs of members, which is the dot product of their
    mean vectors. Joining every pair that is each other's nearest, round by round, gives the same clusters as
    one pair at a time (Murtagh, "A survey of recent advances in hierarchical clustering algorithms", 1983),
    with memory for the vectors alone.

    Args:
        vectors: float32 [n, d], each of length 1, or the mean of as many unit vectors as `sizes` says.
        threshold: cosine, -1..1.
        certain: least similarity at which clusters are joined to their nearest all at once.
        sizes: float32 [n], number of vectors that each row is the mean of; None for 1.
        opposites: int64 [k, 2], pairs of different rows whose similarity is -1 whatever their vectors are.

    Returns:
        int64 [n], cluster numbers from 0 without gaps, in the order of the clusters' first vectors. The same
        vectors in the same order give the same numbers.
    """
    member_of = np.arange(len(vectors))  # vector -> row of `sums`, or -1 once its cluster is final
    final = np.full(len(vectors), -1, np.int64)  # vector -> number of its cluster by the round it ended in
    counts = np.ones(len(vectors), np.float32) if sizes is None else sizes.astype(np.float32)
    sums = vectors.astype(np.float32) * counts[:, None]
    pairs = (
        np.zeros((0, 2), np.int64) if opposites is None else np.concatenate([opposites, opposites[:, ::-1]])
    )
    # By how much the sum of products over two clusters exceeds what it is with -1 for each such pair.
    excess = counts[pairs].prod(axis=1) + (sums[pairs[:, 0]] * sums[pairs[:, 1]]).sum(axis=1)
    nearest = np.zeros(len(vectors), np.int64)
    similarity = np.full(len(vectors), -np.inf, np.float32)  # to the nearest
    stale = np.ones(len(vectors), np.bool_)
    num_final = 0
    while len(sums):
        rows = np.flatnonzero(stale)
        penalty = excess / counts[pairs].prod(axis=1)
        nearest[rows], similarity[rows] = _nearest(sums / counts[:, None], rows, pairs, penalty)
        root = _join(nearest, similarity, threshold, certain, pairs)
        merged = root != np.arange(len(root))
        touched = np.zeros(len(root), np.bool_)
        touched[root[merged]] = touched[merged] = True
        # What has no neighbour within the threshold never gets one: averages only fall when others join.
        is_final = (similarity < threshold) & ~touched
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
        pairs = new_row[root[pairs]]
        between = (pairs >= 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])
        pairs, excess = pairs[between], excess[between]
        # Others keep their neighbour: a joined cluster is no nearer than the nearer of its two parts.
        moved = touched | is_final
        stale = (touched | moved[nearest])[kept]
        nearest, similarity = new_row[nearest[kept]], similarity[kept]
        sums, counts = sums[kept], counts[kept]
    return number_by_appearance(final)


def number_by_appearance(labels: Int64Array) -> Int64Array:
    """Labels renumbered from 0 without gaps in the order of their first appearance, int64 [n]."""
    _, first, number = np.unique(labels, return_index=True, return_inverse=True)
    rank: Int64Array = np.argsort(np.argsort(first))[number]
    return rank


def _nearest(
    means: Float32Array, rows: Int64Array, pairs: Int64Array, penalty: Float32Array
) -> tuple[Int64Array, Float32Array]:
    """Row of the most similar other cluster for each of `rows`, the first of equals, and the similarity.

    Args:
        pairs: int64 [k, 2], pairs of clusters whose similarity is less by `penalty`, float32 [k]; each pair
            stands there both ways round, and may come several times.
    """
    best = np.zeros(len(rows), np.int64)
    similarity = np.full(len(rows), -np.inf, np.float32)
    place = np.full(len(means), -1, np.int64)
    place[rows] = np.arange(len(rows))
    at = place[pairs[:, 0]]
    for start in range(0, len(rows), _ROWS):
        ours = rows[start : start + _ROWS]
        picked = np.ascontiguousarray(means[ours])
        in_rows = (at >= start) & (at < start + len(ours))
        for left in range(0, len(means), _COLUMNS):
            block = picked @ means[left : left + _COLUMNS].T
            here = np.flatnonzero(in_rows & (pairs[:, 1] >= left) & (pairs[:, 1] < left + _COLUMNS))
            np.subtract.at(block, (at[here] - start, pairs[here, 1] - left), penalty[here])
            self_at = np.flatnonzero((ours >= left) & (ours < left + _COLUMNS))
            block[self_at, ours[self_at] - left] = -np.inf
            column = block.argmax(axis=1)
            value = block[np.arange(len(ours)), column]
            better = value > similarity[start : start + _ROWS]
            best[start : start + _ROWS][better] = left + column[better]
            similarity[start : start + _ROWS][better] = value[better]
    return best, similarity


def _join(
    nearest: Int64Array, similarity: Float32Array, threshold: float, certain: float, pairs: Int64Array
) -> Int64Array:
    """Which clusters become one in this round: int64 [n], the lowest row of each one's new cluster."""
    own = np.arange(len(nearest))
    root = own.copy()
    close = np.flatnonzero(similarity >= max(threshold, certain))
    if len(close):
        for row in close.tolist():
            a, b = _root(root, row), _root(root, int(nearest[row]))
            root[max(a, b)] = min(a, b)
        root = np.array([_root(root, row) for row in own.tolist()], np.int64)
        # Opposites that have the same nearest must not be joined through it: there pairs go one by one.
        both = root[pairs]
        root = np.where(np.isin(root, both[both[:, 0] == both[:, 1]]), own, root)
        if (root != own).any():
            return root
    able = np.flatnonzero(similarity >= threshold)
    mutual = able[similarity[able] >= similarity[nearest[able]] - _ROUNDING]
    free = np.ones(len(root), np.bool_)
    # The most similar pair of all is mutual in any case, so each round joins at least one.
    for row in mutual[np.argsort(-similarity[mutual], kind="stable")].tolist():
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
