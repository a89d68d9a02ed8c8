"""Pairs of vectors with a high cosine: those that were planted, and no others."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from framemill.cluster.corpus.near_vectors import near_pairs
from framemill.ops.chunks import Float32Array, Int64Array

PROJECT = Path(__file__).resolve().parents[3]
LEAST = 0.95


def planted(num: int, length: int, share: float = 0.05, groups: int = 0) -> tuple[Float32Array, Int64Array]:
    """Vectors of length 1, some of them at a cosine of about 0.98 to another one: int64 [m, 2], which.

    Args:
        groups: how many centres vectors lie around; 0 for vectors of all directions.
    """
    generator = np.random.default_rng(7)
    vectors = generator.standard_normal((num, length), np.float32)
    if groups:
        centres = generator.standard_normal((groups, length), np.float32)
        vectors = centres[generator.integers(0, groups, num)] + np.float32(0.8) * vectors
    count = int(share * num)
    first = generator.choice(num // 2, count, replace=False)
    second = num // 2 + generator.choice(num - num // 2, count, replace=False)
    for start in range(0, count, 10_000):
        one, other = first[start : start + 10_000], second[start : start + 10_000]
        noise = generator.standard_normal((len(one), length), np.float32)
        noise *= np.linalg.norm(vectors[one], axis=1, keepdims=True) / np.linalg.norm(
            noise, axis=1, keepdims=True
        )
        vectors[other] = vectors[one] + np.float32(0.2) * noise
    for start in range(0, num, 50_000):
        lot = vectors[start : start + 50_000]
        lot /= np.linalg.norm(lot, axis=1, keepdims=True)
    return vectors, np.stack([first, second], axis=1)


def found(vectors: Float32Array) -> Int64Array:
    """Pairs as one number each, sorted."""
    num = len(vectors)
    numbers = [np.minimum(a, b) * num + np.maximum(a, b) for a, b in near_pairs(vectors, LEAST)]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *numbers]))


def exact(vectors: Float32Array) -> Int64Array:
    first, second = np.nonzero(np.triu(vectors @ vectors.T >= LEAST, 1))
    return np.sort(first * len(vectors) + second)


def test_few_vectors_are_all_compared() -> None:
    vectors, _ = planted(500, 32, 0.2)
    assert np.array_equal(found(vectors), exact(vectors)) and len(found(vectors)) >= 100
    assert len(found(vectors[:1])) == 0 and len(found(vectors[:0])) == 0


@pytest.mark.parametrize("groups", [0, 40])
def test_pairs_are_found_and_nothing_else_is(groups: int) -> None:
    vectors, _ = planted(12_000, 64, groups=groups)
    mine, true = found(vectors), exact(vectors)
    assert np.isin(mine, true).all()
    assert np.isin(true, mine).mean() >= 0.98
    assert np.array_equal(mine, found(vectors))


def test_many_that_are_the_same_are_one_another_s() -> None:
    vectors = np.repeat(planted(40, 16)[0], 100, axis=0)
    pairs = found(vectors)
    assert len(pairs) >= 40 * 100 * 99 // 2


@pytest.mark.slow
def test_a_million_vectors_take_minutes_and_little_memory() -> None:
    code = "from tests.cluster.corpus.test_near_vectors import measure; measure()"
    started = time.process_time()
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    recall, cpu_seconds, megabytes = map(float, done.stdout.split())
    assert recall >= 0.98 and megabytes < 4000
    # On two cores under 5 minutes; of processor time, which other programs do not lengthen.
    assert cpu_seconds < 600 and time.process_time() >= started


def measure() -> None:
    """Prints recall, seconds of processor time and the most memory in MB of a million vectors of 512."""
    vectors, pairs = planted(1_000_000, 512)
    num = len(vectors)
    started = time.process_time()
    numbers = found(vectors)
    seconds = time.process_time() - started
    recall = np.isin(pairs.min(axis=1) * num + pairs.max(axis=1), numbers).mean()
    print(recall, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
