"""The stages of the common way, so that what Framemill is measured against does its work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import row_stages
from framemill.models.session import open_model
from framemill.ops.objects.objects import Objects, ObjectsOptions
from framemill.ops.pixels.boxes import overlaps
from tests.cluster.extraction import render_clip
from tests.ops.frames_stub import ArrayFrames
from tests.small_models import SMALL


def test_frames_and_sound_of_a_clip(tmp_path: Path) -> None:
    clip = render_clip(tmp_path / "clip.mp4", seed=1)
    row = row_stages.probe({"path": str(clip)})
    rows = list(row_stages.decode(row, 0.5))
    times = [one["time"] for one in rows]
    ticks = np.arange(0, row["num_frames"] / row["fps"], 0.5)
    assert len(times) == len(ticks)
    assert (np.abs(np.array(times) - ticks) < 1 / row["fps"] + 1e-6).all()
    assert {one["frame"].shape for one in rows} == {(row["height"], row["width"], 3)}
    measured = row_stages.measure_frames({"frame": [one["frame"] for one in rows]})
    assert measured["phash"].dtype == np.uint64
    assert ((measured["brightness"] > 0) & (measured["brightness"] < 1)).all()
    heard = row_stages.measure_levels(row_stages.read_sound(row))
    assert len(heard["rms_db"]) == pytest.approx(10 * row["duration_seconds"], abs=1)


def test_levels_of_a_sine_and_of_nothing() -> None:
    sine = np.sin(np.arange(row_stages.RATE) * 2 * np.pi * 100 / row_stages.RATE).astype(np.float32)
    told = row_stages.measure_levels({"samples": sine})
    assert told["rms_db"] == pytest.approx([-3.01] * 10, abs=0.01)
    assert told["peak_db"] == pytest.approx([0.0] * 10, abs=0.01)
    nothing = row_stages.measure_levels({"samples": np.empty(0, np.float32)})
    assert (nothing["rms_db"], nothing["peak_db"]) == ([], [])
    assert row_stages.find_speech(nothing)["speech"] == []


@pytest.mark.media
def test_objects_are_those_of_ours(media_dir: Path, models_dir: Path) -> None:
    weights = models_dir / "yolox_nano.onnx"
    rows = list(row_stages.decode({"path": str(media_dir / "video" / "car-detection.mp4")}, 2.0))
    frames = [row["frame"] for row in rows]
    found = row_stages.FindObjects(str(weights))({"frame": frames})["objects"].to_pylist()
    model, _ = open_model(SMALL["objects"], weights, threads=1)
    pictures = ArrayFrames(np.stack([frame[..., ::-1] for frame in frames]))
    ours = Objects(ObjectsOptions(), {"objects": model}).run(pictures, {}).to_pylist()
    clear = [row for row in ours if row["score"] > 0.35]
    assert len(clear) >= 5
    assert abs(len(ours) - sum(map(len, found))) <= 2, "some are on the edge"
    for row in clear:
        place = np.array(list(row["box"].values()), np.float32)
        others = np.array([one["box"] for one in found[row["frame_index"]]], np.float32)
        nearest = int(overlaps(place, others).argmax())
        assert overlaps(place, others)[nearest] > 0.9
        theirs = found[row["frame_index"]][nearest]
        assert theirs["label_index"] == row["label_index"]
        assert theirs["score"] == pytest.approx(row["score"], abs=0.05)
