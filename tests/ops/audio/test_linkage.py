"""Average linkage against its own definition, written plainly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.ops.audio import linkage
from framemill.ops.audio.linkage import average_linkage

Vectors = npt.NDArray[np.float32]


def units(raw: npt.NDArray[np.float64]) -> Vectors:
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def people(seed: int, num_people: int, num_faces: int, noise: float) -> tuple[Vectors, npt.NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    who = generator.integers(0, num_people, num_faces)
    centres = units(generator.normal(size=(num_people, 64)))
    return units(centres[who] + generator.normal(size=(num_faces, 64)) * noise / 8), who


def plainly(vectors: Vectors, threshold: float) -> list[frozenset[int]]:
    """One pair at a time, over all pairs of members."""
    return by_similarity(vectors.astype(np.float64) @ vectors.T.astype(np.float64), threshold)


def by_similarity(alike: npt.NDArray[np.float64], threshold: float) -> list[frozenset[int]]:
    clusters = [[row] for row in range(len(alike))]
    while len(clusters) > 1:
        pairs = [(a, b) for a in range(len(clusters)) for b in range(a)]
        means = [alike[np.ix_(clusters[a], clusters[b])].mean() for a, b in pairs]
        best = int(np.argmax(means))
        if means[best] < threshold:
            break
        a, b = pairs[best]
        clusters[b] += clusters.pop(a)
    return sorted((frozenset(cluster) for cluster in clusters), key=min)


def as_sets(labels: npt.NDArray[np.int64]) -> list[frozenset[int]]:
    return [frozenset(np.flatnonzero(labels == number).tolist()) for number in range(labels.max() + 1)]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_faces=st.integers(1, 40),
    noise=st.floats(0.6, 3),
    threshold=st.floats(-0.2, 0.8),
)
def test_equals_one_pair_at_a_time(seed: int, num_faces: int, noise: float, threshold: float) -> None:
    vectors, _ = people(seed, 4, num_faces, noise)
    assert (vectors @ vectors.T)[np.triu_indices(num_faces, 1)].max(initial=0) < linkage.CERTAIN
    assert as_sets(average_linkage(vectors, threshold)) == plainly(vectors, threshold)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = people(1, 12, 300, 1.0)
    whole = average_linkage(vectors, 0.4)
    monkeypatch.setattr(linkage, "_ROWS", 7)
    monkeypatch.setattr(linkage, "_COLUMNS", 11)
    np.testing.assert_array_equal(average_linkage(vectors, 0.4), whole)


@pytest.mark.parametrize("threshold", [0.45, 0.95])
def test_many_equal_vectors_end_in_one_cluster_each(threshold: float) -> None:
    vectors, _ = people(2, 3, 3, 0.1)
    labels = average_linkage(vectors.repeat(400, axis=0), threshold)
    np.testing.assert_array_equal(labels, average_linkage(vectors, threshold).repeat(400))


def test_finds_the_people_that_were_made() -> None:
    vectors, who = people(3, 40, 2000, 0.8)
    labels = average_linkage(vectors, 0.45)
    assert len(set(labels.tolist())) == 40
    assert len(set(zip(labels.tolist(), who.tolist(), strict=True))) == 40


def test_numbers_are_in_the_order_of_first_appearance() -> None:
    vectors, _ = people(4, 6, 50, 0.5)
    labels = average_linkage(vectors, 0.4)
    firsts = [int(np.flatnonzero(labels == number)[0]) for number in range(labels.max() + 1)]
    assert firsts == sorted(firsts) and labels[0] == 0


def test_nothing_has_no_clusters() -> None:
    assert average_linkage(np.zeros((0, 8), np.float32), 0.5).shape == (0,)


def test_opposites_count_as_minus_one_whatever_their_vectors_say() -> None:
    generator = np.random.default_rng(5)
    for _ in range(20):
        vectors, _ = people(int(generator.integers(1000)), 3, 24, 1.2)
        pairs = np.stack([np.arange(0, 24, 2), np.arange(1, 24, 2)], axis=1)
        alike = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
        alike[pairs[:, 0], pairs[:, 1]] = alike[pairs[:, 1], pairs[:, 0]] = -1
        labels = average_linkage(vectors, 0.3, certain=linkage.EQUAL, opposites=pairs)
        assert as_sets(labels) == by_similarity(alike, 0.3)


def test_equal_vectors_with_opposites_end_in_one_cluster_each() -> None:
    vectors, _ = people(6, 2, 2, 1.0)
    pairs = np.stack([np.arange(0, 4000, 2), np.arange(1, 4000, 2)], axis=1)
    labels = average_linkage(np.tile(vectors, (2000, 1)), 0.3, certain=linkage.EQUAL, opposites=pairs)
    np.testing.assert_array_equal(labels, np.tile([0, 1], 2000))


def test_an_opposite_is_not_joined_through_a_third_that_equals_both() -> None:
    vectors = np.eye(1, 8, dtype=np.float32).repeat(3, axis=0)
    labels = average_linkage(vectors, 0.5, certain=linkage.EQUAL, opposites=np.array([[0, 1]]))
    assert labels[0] != labels[1] and labels[2] in labels[:2]


def test_means_weigh_by_the_number_of_their_vectors() -> None:
    vectors, _ = people(7, 5, 60, 1.0)
    parts = average_linkage(vectors, 0.8, certain=linkage.EQUAL)
    counts = np.bincount(parts).astype(np.float32)
    means = np.stack([vectors[parts == number].mean(axis=0) for number in range(len(counts))])
    joined = average_linkage(means, 0.3, certain=linkage.EQUAL, sizes=counts)[parts]
    assert as_sets(joined) == plainly(vectors, 0.3)
