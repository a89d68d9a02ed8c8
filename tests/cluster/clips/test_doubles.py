"""Of clips that look alike the best is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framemill.cluster.clips.doubles import REASON, drop_doubles, keep_best
from framemill.cluster.clips.selection import Planned, Selection, plan_clips
from framemill.cluster.results.dataset import Dataset
from framemill.errors import UsageError
from tests.cluster.results.hand_made import make_folder

HASHES = [int(n) for n in np.random.default_rng(3).integers(0, 1 << 62, 8)]


def scenes(*bounds: tuple[float, float]) -> list[dict[str, Any]]:
    return [
        {"scene_index": n, "start_seconds": a, "end_seconds": b, "start_frame": round(a * 10),
         "end_frame": round(b * 10), "transition": "cut" if n else "start"}
        for n, (a, b) in enumerate(bounds)
    ]  # fmt: skip


def frames(*pictures: int, sharpness: float = 100.0, contrast: float = 0.5) -> list[dict[str, Any]]:
    """A frame a second."""
    return [
        {"frame_index": n * 10, "pts_seconds": float(n), "phash": HASHES[each], "sharpness": sharpness,
         "contrast": contrast}
        for n, each in enumerate(pictures)
    ]  # fmt: skip


def media(width: int) -> list[dict[str, Any]]:
    return [{"uri": "", "width": width, "height": 100}]


def folder(tmp_path: Path, **more: Any) -> Dataset:
    """a: two shots. b: the same two in a larger picture. c: the first again, sharper, and two others."""
    tables = {
        "scenes": {
            "a": scenes((0, 3), (3, 6)),
            "b": scenes((0, 3), (3, 6)),
            "c": scenes((0, 3), (3, 6), (6, 9)),
        },
        "frames": {
            "a": frames(0, 0, 1, 2, 2, 3),
            "b": frames(0, 0, 1, 2, 2, 3),
            "c": frames(0, 0, 1, 4, 5, 6, 7, 7, 7, sharpness=200),
        },
        "media": {"a": media(100), "b": media(200), "c": media(100)},
        **more,
    }
    uris = {name: [f"/videos/{name}.mp4"] for name in "abc"}
    return make_folder(tmp_path / "out", tables, uris, durations=dict.fromkeys("abc", 9.0))


def kept(planned: Planned) -> dict[str, list[float]]:
    return {
        source: [each.start_seconds for each in own if not each.reason]
        for source, own in planned.clips.items()
    }


def test_of_the_same_pictures_the_largest_then_the_sharpest_is_kept(tmp_path: Path) -> None:
    dataset = folder(tmp_path)
    found = drop_doubles(dataset, plan_clips(dataset, Selection()), "hash")
    assert kept(found) == {"a": [], "b": [0, 3], "c": [3, 6]}
    assert {each.reason for own in found.clips.values() for each in own} == {"", REASON}
    without_b = Planned(
        {s: u for s, u in found.uris.items() if s != "b"},
        {s: own for s, own in plan_clips(dataset, Selection()).clips.items() if s != "b"},
        {},
    )
    assert kept(drop_doubles(dataset, without_b, "hash")) == {"a": [3], "c": [0, 3, 6]}


def test_clips_without_a_frame_that_tells_something_are_kept(tmp_path: Path) -> None:
    flat = {"frames": {name: frames(0, 0, 0, 0, 0, 0, contrast=0.0) for name in "abc"}}
    dataset = folder(tmp_path, **flat)
    found = drop_doubles(dataset, plan_clips(dataset, Selection()), "hash")
    assert all(not each.reason for own in found.clips.values() for each in own)


def test_vectors_find_clips_that_show_the_same(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    base = generator.standard_normal((4, 64))

    def vectors(*of: int, noise: float = 0.1) -> list[dict[str, Any]]:
        return [
            {"frame_index": n * 10, "pts_seconds": float(n),
             "vector": (base[each] + noise * generator.standard_normal(64)).tolist()}
            for n, each in enumerate(of)
        ]  # fmt: skip

    embedded = {
        "a": vectors(0, 0, 0, 1, 1, 1),
        "b": vectors(0, 0, 0, 2, 2, 2),
        "c": vectors(1, 1, 1, 3, 3, 3, 3, 3, 3),
    }  # fmt: skip
    dataset = folder(tmp_path, image_embeddings=embedded)
    found = drop_doubles(dataset, plan_clips(dataset, Selection()), "embedding")
    # The larger b keeps the first, the sharper c the second; within c two shots show the same.
    assert kept(found) == {"a": [], "b": [0, 3], "c": [0, 3]}


def test_what_is_needed_and_was_not_extracted_is_named(tmp_path: Path) -> None:
    dataset = folder(tmp_path)
    with pytest.raises(UsageError, match="--ops image_embeddings"):
        drop_doubles(dataset, plan_clips(dataset, Selection()), "embedding")
    with pytest.raises(UsageError, match="did you mean 'hash'"):
        drop_doubles(dataset, plan_clips(dataset, Selection()), "hashes")


@pytest.mark.parametrize("seed", range(50))
def test_what_is_dropped_is_like_something_better_that_is_kept(seed: int) -> None:
    generator = np.random.default_rng(seed)
    num = int(generator.integers(1, 30))
    first, second = generator.integers(0, num, (2, int(generator.integers(0, 60))))
    first, second = first[first != second], second[first != second]
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    order = generator.permutation(num).tolist()
    stays = keep_best(num, first, second, np.array(order))
    rank = {each: place for place, each in enumerate(order)}
    alike = {frozenset(pair) for pair in pairs}
    for one in range(num):
        better = [b for b in range(num) if rank[b] < rank[one] and frozenset((one, b)) in alike and stays[b]]
        assert stays[one] == (not better)
