"""Embeddings of shots from those of frames, whose means are written down."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import framemill
from framemill.ops import load_op
from framemill.ops.frames.clip_embeddings import ClipEmbeddings
from framemill.ops.frames.embeddings import VECTORS
from tests.ops.stand_ins import shard


def embeddings_of(frames: dict[int, list[float]], edges: list[int]) -> pa.Table:
    shots = [
        {"scene_index": n, "start_seconds": a / 10, "end_seconds": b / 10, "start_frame": a, "end_frame": b,
         "transition": "cut", "score": 1.0}
        for n, (a, b) in enumerate(pairwise(edges))
    ]  # fmt: skip
    rows = [{"frame_index": n, "pts_seconds": n / 10, "vector": vector} for n, vector in frames.items()]
    op = ClipEmbeddings(ClipEmbeddings.Options(), {})
    op.model_names = {VECTORS: "a-model"}
    table = op.combine(
        {
            "scenes": pa.Table.from_pylist(shots, load_op("scenes").schema),
            VECTORS: pa.Table.from_pylist(rows, load_op(VECTORS).schema),
        },
        shard(edges[-1], 160, 90, edges[-1] / 10),
    )
    assert table.schema.equals(ClipEmbeddings.schema, check_metadata=True)
    table.validate(full=True)
    return table


def test_a_shot_has_the_mean_of_its_frames_with_length_one() -> None:
    # Frame 10 is the first of the second shot; the third has none, and rows come in any order.
    frames = {10: [0.0, 0.0, 1.0], 0: [1.0, 0.0, 0.0], 9: [0.0, 1.0, 0.0], 35: [0.6, 0.8, 0.0]}
    rows = embeddings_of(frames, [0, 10, 20, 30, 40]).to_pylist()
    assert [(row["scene_index"], row["num_frames"]) for row in rows] == [(0, 2), (1, 1), (3, 1)]
    assert [(row["start_seconds"], row["end_seconds"]) for row in rows] == [(0, 1), (1, 2), (3, 4)]
    assert rows[0]["vector"] == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    assert rows[1]["vector"] == pytest.approx([0, 0, 1]) and rows[2]["vector"] == pytest.approx([0.6, 0.8, 0])
    assert {row["model"] for row in rows} == {"a-model"}


def test_where_no_frame_was_looked_at_there_is_no_row() -> None:
    assert embeddings_of({}, [0, 10]).num_rows == 0


@pytest.mark.media
@pytest.mark.slow
def test_real_shots_name_the_model_of_their_frames_and_have_the_mean_of_its_vectors(
    media_dir: Path, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    clip, name = media_dir / "video" / "video_big_buck_bunny.mp4", "mobilenet_v1_embed"
    ops, models = ["frames", "scenes", "clip_embeddings"], {VECTORS: name}
    framemill.extract(clip, tmp_path / "out", ops=ops, models=models, sample="every:1")
    results = framemill.open(tmp_path / "out")
    shots = results.table("clip_embeddings").to_pylist()
    assert {row["model"] for row in shots} == {name}
    bounds = {row["scene_index"]: row for row in results.table("scenes").to_pylist()}
    frames = results.table(VECTORS).to_pylist()
    for shot in shots:
        bound = bounds[shot["scene_index"]]
        own = [
            frame["vector"]
            for frame in frames
            if bound["start_frame"] <= frame["frame_index"] < bound["end_frame"]
        ]
        mean = np.mean(own, axis=0)
        assert len(own) == shot["num_frames"] >= 1
        assert shot["vector"] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
