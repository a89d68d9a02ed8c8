"""Adaptive sampling and a cascade on Ray: the rows of the local engine, whole or divided."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import extract, render_clip, tables_of
from tests.cluster.test_adaptive import ASKED

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with small_ray():
        yield


def test_the_rows_of_the_local_engine(clips: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a.mp4", "c.mkv"):
        shutil.copy(clips / name, videos)
    render_clip(videos / "long.mkv", seed=7, seconds=11.0)
    odd = render_clip(videos / "odd.mp4", seed=4)
    odd.write_bytes(odd.read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"free"))
    here = extract(videos, out=divided(tmp_path / "local"), **ASKED)
    there = extract_on_ray(videos, out=divided(tmp_path / "ray"), **ASKED)
    assert (there.exit_code, there.rows) == (here.exit_code, here.rows)
    assert tables_of(tmp_path / "ray") == tables_of(tmp_path / "local")
