"""Scenes by a network on Ray: the windows that reach into two pieces are run where these are merged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import rows_of
from tests.cluster.test_scene_methods import render
from tests.ops.shots.shot_networks import write_network

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with small_ray():
        yield


def test_a_divided_file_has_the_scenes_of_a_whole_one(tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "ops": ("scenes",),
        "options": {"scenes": {"method": "transnetv2"}},
        "models": {"shot_boundaries": str(write_network(tmp_path / "bright.onnx"))},
    }
    done = extract_on_ray(render(tmp_path / "clip.mp4"), out=divided(tmp_path / "cut", 3.0), **asked)
    assert done.exit_code == 0 and done.providers == {"shot_boundaries": "cpu"}
    rows = rows_of(tmp_path / "cut", "scenes")
    assert sorted(row["start_frame"] for row in rows) == [0, 62, 126, 200, 321]
