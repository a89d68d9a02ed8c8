"""Editability: windows, captions and leads, against answers found by trying every place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.ops.frames.editability import Editability, best_window, caption_room, steady_around
from framemill.ops.operation import NoOptions
from framemill.ops.shots.scenes import Scenes
from framemill.ops.shots.stretches import Stretches
from tests.ops.objects.object_tables import objects_table
from tests.ops.stand_ins import shard

SIZE = (320, 180)


def scenes(*edges: int, fps: float = 10.0) -> pa.Table:
    rows = [(i, a / fps, b / fps, a, b, "cut", 1.0) for i, (a, b) in enumerate(pairwise(edges))]
    return pa.table([list(values) for values in zip(*rows, strict=True)], schema=Scenes.schema)


def stretches(*parts: tuple[int, int, str], fps: float = 10.0) -> pa.Table:
    rows = [
        dict(zip(Stretches.schema.names, (a / fps, b / fps, a, b, kind, 0.0, 0.0), strict=True))
        for a, b, kind in parts
    ]
    return pa.Table.from_pylist(rows, schema=Stretches.schema)


PLACES = st.tuples(st.integers(0, 300), st.integers(0, 160), st.integers(1, 200), st.integers(1, 100))


@settings(max_examples=40, deadline=None)
@given(places=st.lists(PLACES, min_size=1, max_size=5), shape=st.sampled_from([9 / 16, 1.0, 2.5]))
def test_the_best_window_is_no_worse_than_any(places: list[tuple[int, int, int, int]], shape: float) -> None:
    edges = np.array([(x, y, min(x + w, 320), min(y + h, 180)) for x, y, w, h in places], np.float32)
    weights = np.linspace(0.9, 0.4, len(edges)).astype(np.float32)
    kept, left = best_window(edges, weights, SIZE, shape)
    wide, high = min(320.0, 180 * shape), min(180.0, 320 / shape)
    top = (180 - high) / 2

    def share(place: float) -> float:
        inside = np.minimum(edges[:, 2:], [place + wide, top + high]) - np.maximum(edges[:, :2], [place, top])
        areas = (edges[:, 2:] - edges[:, :2]).prod(axis=1)
        return float((np.maximum(inside, 0).prod(axis=1) * weights).sum() / (areas * weights).sum())

    assert 0 <= left <= 320 - wide + 1e-6
    assert kept == pytest.approx(share(left), abs=1e-5)
    assert kept >= max(share(place) for place in np.linspace(0, 320 - wide, 60)) - 1e-5


def test_windows_without_objects_stand_in_the_middle() -> None:
    none = np.zeros((0, 4), np.float32)
    assert best_window(none, np.zeros(0, np.float32), SIZE, 1.0) == (1.0, 70.0)
    narrow = np.array([[150, 0, 170, 180]], np.float32)
    assert best_window(narrow, np.ones(1, np.float32), SIZE, 9 / 16) == (1.0, (320 - 101.25) / 2)


def test_captions_need_a_free_lower_third() -> None:
    assert caption_room(np.zeros((0, 4), np.float32), SIZE) == 1
    assert caption_room(np.array([[0, 0, 320, 119]], np.float32), SIZE) == 1
    twice = np.array([[0, 100, 160, 180], [0, 120, 160, 180]], np.float32)
    assert caption_room(twice, SIZE) == pytest.approx(0.5)
    assert caption_room(np.array([[0, 0, 320, 180]], np.float32), SIZE) == 0


def test_leads_end_at_cuts_and_where_the_camera_trembles() -> None:
    index = np.array([0, 5, 12, 22, 28, 35])
    kinds = stretches((0, 10, "static"), (10, 20, "moving"), (20, 25, "shaky"), (25, 40, "frozen"))
    before, after = steady_around(index, index / 10, scenes(0, 10, 40), kinds)
    assert before.tolist() == pytest.approx([0, 0.5, 0.2, 0, 0.3, 1.0])
    assert after.tolist() == pytest.approx([1.0, 0.5, 0.8, 0, 1.2, 0.5])


def test_frames_outside_every_scene_have_no_lead() -> None:
    index = np.array([3])
    nowhere = steady_around(index, index / 10, Scenes.schema.empty_table(), Stretches.schema.empty_table())
    assert [values.tolist() for values in nowhere] == [[0.0], [0.0]]


def test_a_row_for_every_sampled_frame() -> None:
    frames = pa.table({"frame_index": np.array([8, 0]), "pts_seconds": np.array([0.8, 0.0])})
    objects = objects_table([(0, "person", 0.9, (0, 90, 40, 180)), (0, "car", 0.5, (100, 60, 140, 100))])
    upstream = {
        "frames": frames,
        "objects": objects,
        "scenes": scenes(0, 20),
        "stretches": stretches((0, 20, "static")),
    }
    table = Editability(NoOptions(), {}).combine(upstream, shard(20, *SIZE, 2.0))
    assert table.schema.equals(Editability.schema, check_metadata=True)
    first, second = table.to_pylist()
    assert (first["frame_index"], second["frame_index"]) == (0, 8)
    assert first["num_cut_off"] == 1 and second["num_cut_off"] == 0
    assert first["crop_1x1"] == pytest.approx(1) and first["crop_1x1_x"] == 0
    assert first["crop_9x16"] < 1 and second["crop_9x16"] == 1
    assert first["caption_room"] == pytest.approx(1 - 40 / 320, abs=0.01) and second["caption_room"] == 1
    assert (second["lead_in_seconds"], second["lead_out_seconds"]) == (0.8, pytest.approx(1.2))
