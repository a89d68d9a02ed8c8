"""Which voices are the same: clustering of short stretches by average linkage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import BoolArray, Float32Array, Int64Array

# Stretches compared at once: 4000 x 4000 x 4 bytes = 64 MB; three hours of two voices have about that many.
MAX_STRETCHES = 4_000


def group_voices(vectors: Float32Array, window: Int64Array, threshold: float) -> Int64Array:
    """Joins the two most similar groups again and again until none are as similar as `threshold`.

    Groups are as similar as their pairs of members are on average. Two stretches of one window count as
    opposite (-1): the segmentation told them apart. More than MAX_STRETCHES are grouped in consecutive lots,
    then the lots' groups by their mean vectors.

    Args:
        vectors: float32 [n, d], each of length 1.
        window: int64 [n], the window that each is from, ascending.
        threshold: cosine, -1..1.

    Returns:
        int64 [n], numbers from 0 in the order of first members.
    """
    if len(vectors) <= MAX_STRETCHES:
        apart = window[:, None] == window[None, :]
        return _numbered(_linkage(vectors @ vectors.T, apart, np.ones(len(vectors), np.float32), threshold))
    groups: list[Int64Array] = []
    means: list[Float32Array] = []
    sizes: list[Float32Array] = []
    num_groups = 0
    for start in range(0, len(vectors), MAX_STRETCHES):
        lot = slice(start, start + MAX_STRETCHES)
        found = group_voices(vectors[lot], window[lot], threshold)
        groups.append(found + num_groups)
        counts = np.bincount(found).astype(np.float32)
        num_groups += len(counts)
        totals = np.zeros((len(counts), vectors.shape[1]), np.float32)
        np.add.at(totals, found, vectors[lot])
        means.append(totals / counts[:, None])
        sizes.append(counts)
    centres = np.concatenate(means)
    nothing = np.zeros((len(centres), len(centres)), np.bool_)
    joined = _linkage(centres @ centres.T, nothing, np.concatenate(sizes), threshold)
    return _numbered(joined[np.concatenate(groups)])


def _linkage(similar: Float32Array, apart: BoolArray, sizes: Float32Array, threshold: float) -> Int64Array:
    """The lowest member of each one's group. Follows chains of nearest neighbours (Murtagh 1983)."""
    similar = np.where(apart, np.float32(-1), similar)
    np.fill_diagonal(similar, -np.inf)
    sizes = sizes.copy()
    num = len(similar)
    root = np.arange(num)
    active = np.ones(num, np.bool_)
    chain: list[int] = []
    while active.any():
        if not chain:
            chain = [int(active.argmax())]
        at = chain[-1]
        nearest = int(similar[at].argmax())
        if similar[at, nearest] < threshold:
            # It never gets a nearer one: averages only fall when others join.
            active[at] = False
            similar[at] = similar[:, at] = -np.inf
            chain.pop()
        elif len(chain) > 1 and similar[at, chain[-2]] >= similar[at, nearest]:
            other = chain[-2]
            del chain[-2:]
            low, high = min(at, other), max(at, other)
            share = sizes[low] / (sizes[low] + sizes[high])
            joint = share * similar[low] + (1 - share) * similar[high]
            similar[low] = similar[:, low] = joint
            similar[high] = similar[:, high] = -np.inf
            similar[low, low] = -np.inf
            sizes[low] += sizes[high]
            active[high] = False
            root[root == high] = low
        else:
            chain.append(nearest)
    return root


def _numbered(root: npt.NDArray[np.int64]) -> Int64Array:
    """Numbers without gaps, in the order of first appearance."""
    _, first, number = np.unique(root, return_index=True, return_inverse=True)
    rank: Int64Array = np.argsort(np.argsort(first))[number]
    return rank
