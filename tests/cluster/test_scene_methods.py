"""Scenes by a network in whole runs: of files in one piece and in several, beside those of the other way."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from framemill.errors import UsageError
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.extraction import extract, rows_of
from tests.ops.shots.shot_networks import write_network

FPS = 25
# Frames that the network takes for the last ones of shots, since they are bright.
LAST = (61, 124, 125, 199, 320)
NUM_FRAMES = 430


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))


def render(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "20", "threads": "1"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt, video.gop_size = 96, 64, "yuv420p", FPS
        for index in range(NUM_FRAMES):
            pixels = np.full((64, 96, 3), 240 if index in LAST else 40, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def test_a_divided_file_has_the_scenes_of_a_whole_one_and_methods_do_not_mix(tmp_path: Path) -> None:
    clip = render(tmp_path / "clip.mp4")
    asked: dict[str, Any] = {
        "ops": ("scenes",),
        "options": {"scenes": {"method": "transnetv2"}},
        "models": {"shot_boundaries": str(write_network(tmp_path / "bright.onnx"))},
    }
    assert extract(clip, out=tmp_path / "whole", **asked).exit_code == 0
    rows = rows_of(tmp_path / "whole", "scenes")
    assert sorted(row["start_frame"] for row in rows) == [0, 62, 126, 200, 321]
    assert {row["transition"] for row in rows} == {"start", "cut"}
    assert extract(clip, out=divided(tmp_path / "cut", 3.0), **asked).exit_code == 0
    assert rows_of(tmp_path / "cut", "scenes") == rows
    with pytest.raises(UsageError, match=r"table 'scenes' was made differently: options is .*'transnetv2'"):
        extract(clip, out=tmp_path / "whole", ops=("scenes",))
    assert extract(clip, out=tmp_path / "whole", ops=("scenes",), replace=True).exit_code == 0
    assert rows_of(tmp_path / "whole", "scenes") != rows
