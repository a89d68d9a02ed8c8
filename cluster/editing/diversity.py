"""Similarity of pictures, and the choice of good ones that differ from each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import BoolArray, Float32Array, Float64Array, Int64Array

UInt64Array = npt.NDArray[np.uint64]

# Hashes that differ in at most so many of 64 bits are of twins: frames a second apart of a camera that
# stands still differ in 2 to 9 (measured); unrelated pictures differ in about 32.
TWIN_BITS, UNLIKE_BITS = 8, 24
# Cosines of picture vectors: frames a second apart of one shot have 0.91 to 1, of different shots 0.15 to 0.7
# (measured with mobilenet_v1_embed).
TWIN_COSINE, UNLIKE_COSINE = 0.95, 0.5
# Within one shot, frames at least so alike by hash and at most so many seconds apart show the same. The last
# are those of a camera that moves slowly, whose pictures look the same to a viewer.
SAME_WITHIN = ((0.0, 1.0), (0.5, 3.0), (0.75, 8.0))
# Least cosine of twins where the hashes are those of twins as well.
NEAR_COSINE = 0.9


def hash_likeness(hashes: UInt64Array, one: np.uint64) -> Float32Array:
    """How alike pictures are to another one by perceptual hash, float32 [n], 0 (unlike) to 1 (twins)."""
    bits = np.bitwise_count(hashes ^ one).astype(np.float32)
    likeness: Float32Array = np.clip((UNLIKE_BITS - bits) / np.float32(UNLIKE_BITS - TWIN_BITS), 0, 1)
    return likeness


def vector_likeness(vectors: Float32Array, one: Float32Array) -> Float32Array:
    """The same by vectors of length 1: float32 [n, d] against float32 [d]."""
    likeness: Float32Array = ((vectors @ one) - UNLIKE_COSINE) / (TWIN_COSINE - UNLIKE_COSINE)
    return np.clip(likeness, 0, 1).astype(np.float32, copy=False)


def picture_likeness(vectors: Float32Array, hashes: UInt64Array, row: int) -> Float32Array:
    """The same by both, of row `row` to all, float32 [n].

    Vectors describe the content, hashes the layout: where the hashes are those of twins, vectors need not be
    as close.
    """
    likeness = vector_likeness(vectors, vectors[row])
    near = (vectors @ vectors[row] >= NEAR_COSINE) & (hash_likeness(hashes, hashes[row]) >= 1)
    likeness[near] = 1
    return likeness


def close_in_time(seconds: Float64Array, shot: Int64Array, hashes: UInt64Array, row: int) -> BoolArray:
    """Which frames are twins of row `row` because little time lies between them in one shot, bool [n].

    A camera that moves over fine detail gives unlike hashes, although the pictures show the same.

    Args:
        shot: int64 [n], equal for frames of one shot.
    """
    gap = np.abs(seconds - seconds[row])
    likeness = hash_likeness(hashes, hashes[row])
    close: BoolArray = np.zeros(len(gap), np.bool_)
    for least, most in SAME_WITHIN:
        close |= (likeness >= least) & (gap < most)
    close &= shot == shot[row]
    return close


def pick_diverse(
    scores: Float64Array,
    likeness: Callable[[int], Float32Array],
    count: int,
    weight: float,
    usable: BoolArray | None = None,
) -> Int64Array:
    """Positions of up to `count` items, each the best one that is left: its score less its likeness to those
    picked before (maximal marginal relevance: Carbonell and Goldstein, SIGIR 1998). Twins are never picked.

    Args:
        scores: float64 [n], 0..1. likeness: of position i to all, float32 [n], 0 (unlike) to 1 (twins).
        weight: what full likeness takes off a score, >= 0.
        usable: bool [n], which may be picked; None for all.

    Returns:
        int64 [m], m <= count, in the order of picking; of equals the first.
    """
    closest = np.zeros(len(scores), np.float32)
    available = np.ones(len(scores), np.bool_) if usable is None else usable.copy()
    picked: list[int] = []
    while len(picked) < count and available.any():
        best = int(np.argmax(np.where(available, scores - weight * closest, -np.inf)))
        picked.append(best)
        np.maximum(closest, likeness(best), out=closest)
        available &= closest < 1
        available[best] = False
    return np.array(picked, np.int64)
