"""The parts of the GPU's benchmarks that run on a host: DALI's variant for it stands in for the device."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness import Setting
from benchmarks.suite.gpu import least_frames, weigh
from framemill.actors import dali_device
from tests.actors.test_dali_reader import clip

needs_dali = pytest.mark.skipif(
    not dali_device._is_installed("nvidia.dali"), reason="DALI is not installed (extra `dali`)"
)


@needs_dali
def test_both_readers_are_weighed(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.webm", 9)
    setting = Setting(media=tmp_path, models=tmp_path, cache=tmp_path, runs=1, cores=1)
    found = weigh(path, setting, "cpu")
    assert list(found) == ["1", "2", "4", "8"]
    assert all(set(best) == {"device", "host"} and min(best.values()) > 0 for best in found.values())


@pytest.mark.parametrize(
    ("device", "least"), [([9, 9, 9], None), ([9, 9, 1], 16), ([1, 9, 1], 16), ([9, 1, 1], 4), ([1, 1, 1], 1)]
)
def test_from_where_on_a_device_pays(device: list[float], least: int | None) -> None:
    found = {str(n): {"device": d, "host": 5.0} for n, d in zip((1, 4, 16), device, strict=True)}
    assert least_frames(found) == least
