"""The index of a divided source is made once for the shards that one actor works on."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from framemill.cluster.engines.ray.indexes import KEPT, KeptIndexes


def test_one_makes_it_and_the_others_wait() -> None:
    there: dict[str, int] = {}
    made: list[str] = []

    def make(uri: str, path: str) -> None:
        if uri not in there:
            made.append(uri)
            time.sleep(0.02)
            there[uri] = len(made)

    kept = KeptIndexes(make, there.__delitem__)
    together = threading.Barrier(8)

    def work(number: int) -> bool:
        together.wait()
        with kept.using("film", "/film"):
            return "film" in there

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert made == ["film"]


def test_the_oldest_that_nobody_uses_is_forgotten() -> None:
    there: dict[str, str] = {}
    kept = KeptIndexes(there.setdefault, there.__delitem__)  # type: ignore[arg-type]
    with kept.using("in use", "/"):
        for number in range(3 * KEPT):
            with kept.using(str(number), "/"):
                assert "in use" in there and str(number) in there
        assert sorted(there) == sorted(["in use", *map(str, range(2 * KEPT, 3 * KEPT))])
    with kept.using("another", "/"):
        pass
    assert "in use" in there or len(there) == KEPT


def test_a_failure_leaves_nothing_behind() -> None:
    def make(uri: str, path: str) -> None:
        raise ValueError(path)

    kept = KeptIndexes(make, lambda uri: None)
    for _ in range(2):
        with pytest.raises(ValueError, match="/broken"), kept.using("uri", "/broken"):
            raise AssertionError("the body must not run")
