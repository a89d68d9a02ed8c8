"""Faces, emotions and embeddings: rows from known answers, and real weights on real clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from framemill.actors.indexing import index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.errors import ModelError, UsageError
from framemill.models.registry import resolve
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.ops.chunks import Frames
from framemill.ops.faces.alignment import TEMPLATE, similarities
from framemill.ops.faces.crops import crop_squares, square_around
from framemill.ops.faces.embeddings import FaceEmbeddings
from framemill.ops.faces.emotions import Emotions
from framemill.ops.faces.faces import Faces, FacesOptions
from framemill.ops.faces.rows import read_faces
from framemill.ops.pixels.boxes import BOX
from tests.ops.faces.face_stand_ins import FACE_STAND_INS, YunetRunner
from tests.ops.frames_stub import ArrayFrames
from tests.small_models import NAMES, SMALL

HEAD_POSE = "gif/head-pose-face-detection-female-and-male.gif"
# With these models: pairs of one person lie above the first, of two people below the second.
SAME_PERSON, OTHER_PERSON = 0.6, 0.4

Vectors = npt.NDArray[np.float32]


def stand_in(kind: type[Any], **options: Any) -> Any:
    loaded = {role: Model(SMALL[role], FACE_STAND_INS[role]()) for role in kind.models}
    return kind(kind.Options(**options), loaded)


@cache
def real(kind: type[Any], models_dir: Path, *choices: tuple[str, str]) -> Any:
    loaded = {}
    for role in kind.models:
        entry = resolve(role, dict(choices).get(role, NAMES.get(role, "")))
        loaded[role], _ = open_model(entry, models_dir / entry.file_name, 2, "cpu")
    return kind(kind.Options(), loaded)


def frames_of(path: Path, step: int = 1) -> Iterator[Frames]:
    index = index_source(str(path))
    none = np.zeros(0, np.int64)
    at = np.arange(0, len(index.frames), step, dtype=np.int64)
    request = ReadRequest(frames=at, signals=none, with_sound=False, threads=1)
    for chunk in read_shard(str(path), index, request, ReadReport()):
        assert isinstance(chunk, Frames)
        yield chunk


def grey(count: int, width: int = 640, height: int = 360) -> ArrayFrames:
    return ArrayFrames(np.full((count, height, width, 3), 150, np.uint8))


def vectors_by_side(faces: pa.Table, embeddings: pa.Table, middle: float) -> tuple[Vectors, Vectors]:
    """The vectors of the two people of the head-pose clip: one stays left, one right."""
    vectors = np.stack(embeddings["vector"].to_numpy())
    left = np.array([box["x1"] < middle for box in faces["box"].to_pylist()])
    return vectors[left], vectors[~left]


def pairs(vectors: Vectors) -> npt.NDArray[np.float32]:
    alike: npt.NDArray[np.float32] = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return alike


def test_boxes_come_back_in_display_pixels() -> None:
    rows = stand_in(Faces).run(grey(2), {}).to_pylist()
    assert [(row["frame_index"], row["face_index"]) for row in rows] == [(0, 0), (1, 0)]
    # UltraFace's demo stretches frames to 320 x 240 pixels: 2 display pixels across and 1.5 down for each.
    assert rows[0]["box"] == pytest.approx({"x0": 256, "y0": 108, "x1": 384, "y1": 180})
    assert rows[0]["landmarks"] is None


def test_yunet_gives_landmarks_one_picture_at_a_time() -> None:
    runner = YunetRunner()
    op = Faces(FacesOptions(), {"faces": Model(resolve("faces", "yunet_2022mar"), runner)})
    rows = op.run(grey(3), {}).to_pylist()
    assert runner.num_calls == 3 and len(rows) == 3
    assert rows[0]["score"] == pytest.approx(0.9)
    # Four display pixels for each of the model's; the nose lies a tenth of 64 below (80, 48).
    assert rows[0]["landmarks"][2] == pytest.approx({"x": 320, "y": 4 * 54.4})
    assert len(rows[0]["landmarks"]) == 5


def test_a_frame_without_faces_has_no_row() -> None:
    faces = stand_in(Faces, score=1.0).run(grey(2), {})
    assert faces.num_rows == 0
    for kind in (Emotions, FaceEmbeddings):
        table = stand_in(kind).run(grey(2), {"faces": faces})
        assert table.num_rows == 0 and table.schema.equals(kind.schema, check_metadata=True)


@pytest.mark.parametrize("options", [{"score": -0.1}, {"nms": 2}, {"max_faces": 0}])
def test_wrong_options_are_usage_errors(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"faces\.{next(iter(options))} is"):
        FacesOptions(**options)


def test_rows_follow_their_faces_whatever_the_order_upstream() -> None:
    frames = ArrayFrames(np.arange(8, dtype=np.uint8).repeat(90 * 160 * 3).reshape(8, 90, 160, 3) * 30)
    faces = stand_in(Faces, score=0.0).run(frames, {})
    shuffled = faces.take(np.random.default_rng(1).permutation(faces.num_rows))
    for kind in (Emotions, FaceEmbeddings):
        op = stand_in(kind)
        assert op.run(frames, {"faces": shuffled}).equals(op.run(frames, {"faces": faces}))


def test_colour_classifiers_give_logits_of_planes(tmp_path: Path) -> None:
    """A tiny network of that contract: [n, 3, 112, 112] of -1..1 to logits, here mean red, green and blue."""
    nodes = [helper.make_node("ReduceMean", ["data", "sides"], ["label"], keepdims=0)]
    graph = helper.make_graph(
        nodes,
        "fer",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("label", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.array([2, 3]), "sides")],
    )
    path = tmp_path / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    entry = replace(resolve("emotions", "emotion_mobilefacenet"), labels=("red", "green", "blue"))
    model, _ = open_model(entry, path, 1, "cpu")
    pixels = np.zeros((2, 360, 640, 3), np.uint8)
    pixels[0], pixels[1] = (255, 0, 0), (0, 0, 255)
    boxes = pa.array([dict(zip(("x0", "y0", "x1", "y1"), (100.0, 100, 200, 200), strict=True))] * 2, BOX)
    faces = pa.table(
        [[0, 1], [0.0, 0.04], [0, 0], [0.9, 0.9], boxes, pa.nulls(2, Faces.schema.field("landmarks").type)],
        schema=Faces.schema,
    )
    rows = Emotions(None, {"emotions": model}).run(ArrayFrames(pixels), {"faces": faces})
    assert rows["label"].to_pylist() == ["red", "blue"]
    odds = np.exp(1) / (np.exp(1) + 2 * np.exp(-1))
    np.testing.assert_allclose(rows["score"].to_numpy(), odds, rtol=1e-5)
    assert sum(dict(rows["probabilities"][0].as_py()).values()) == pytest.approx(1)


def test_emotion_models_with_other_labels_are_refused() -> None:
    entry = replace(SMALL["emotions"], labels=("glad", "cross"))
    op = Emotions(Emotions.Options(), {"emotions": Model(entry, FACE_STAND_INS["emotions"]())})
    with pytest.raises(ModelError, match=r"2 labels ask for one output \[1, 2\]"):
        op.run(grey(1), {"faces": stand_in(Faces).run(grey(1), {})})


@pytest.mark.parametrize(("kind", "role"), [(Emotions, "emotions"), (FaceEmbeddings, "face_embeddings")])
def test_models_of_other_families_are_refused(kind: type[Any], role: str) -> None:
    loaded = {name: Model(SMALL[name], FACE_STAND_INS[name]()) for name in kind.models}
    loaded[role] = Model(replace(SMALL[role], family="yolox"), loaded[role].runner)
    with pytest.raises(ModelError, match=f"{role}: model .* is of family 'yolox'"):
        kind(kind.Options(), loaded)


def test_similarities_undo_a_turn_a_zoom_and_a_shift() -> None:
    generator = np.random.default_rng(3)
    angles, zooms = generator.uniform(-3, 3, 20), generator.uniform(0.3, 4, 20)
    turns = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], axis=1)
    moved = np.einsum("mij,kj->mki", (turns * zooms[:, None]).reshape(-1, 2, 2), TEMPLATE)
    moved += generator.uniform(-500, 500, (20, 1, 2))
    matrices = similarities(moved, TEMPLATE)
    back = np.einsum("mij,mkj->mki", matrices[:, :, :2], moved) + matrices[:, None, :, 2]
    np.testing.assert_allclose(back, np.broadcast_to(TEMPLATE, back.shape), atol=1e-9)


def test_similarities_are_the_best_fit_of_points_that_do_not_fit() -> None:
    points = TEMPLATE[None] + np.random.default_rng(4).normal(0, 5, (1, 5, 2))
    (best,) = similarities(points, TEMPLATE)

    def error(matrix: npt.NDArray[np.float64]) -> float:
        return float(((points[0] @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE) ** 2).sum())

    for nudge in np.eye(4) * 1e-3:
        scale, turn, x, y = nudge
        assert error(best + np.array([[scale, -turn, x], [turn, scale, y]])) > error(best)


def test_large_faces_are_averaged_and_small_ones_keep_their_pixels() -> None:
    checks = np.indices((512, 512)).sum(axis=0) % 2 * 255
    frames = ArrayFrames(checks.astype(np.uint8)[None, :, :, None].repeat(3, axis=3))
    squares = np.array([[0, 0, 512, 512], [8, 8, 136, 136]], np.float32)
    large, small = crop_squares(frames, np.array([0, 0]), squares, 128)
    assert np.ptp(large) <= 1 and abs(int(large[0, 0, 0]) - 128) <= 1
    np.testing.assert_array_equal(small, frames.pixels[0, 8:136, 8:136])


def test_faces_of_the_head_pose_clip_and_none_among_cars(media_dir: Path, models_dir: Path) -> None:
    op = real(Faces, models_dir)
    found = num_frames = 0
    for frames in frames_of(media_dir / HEAD_POSE):
        rows = op.run(frames, {})
        num_frames += len(frames)
        found += len(set(rows["frame_index"].to_pylist()))
    assert found >= 0.9 * num_frames == 0.9 * 56
    for frames in frames_of(media_dir / "video" / "car-detection.mp4", step=10):
        assert op.run(frames, {}).num_rows == 0


@pytest.mark.parametrize(
    ("choice", "landmarks"),
    [
        ("ultraface_rfb_320", "yunet_2022mar"),
        ("yunet_2022mar", "yunet_2022mar"),
        ("yunet_2023mar", "yunet_2023mar"),
    ],
)
def test_embeddings_tell_two_people_apart(
    media_dir: Path, models_dir: Path, choice: str, landmarks: str
) -> None:
    detect = real(Faces, models_dir, ("faces", choice))
    embed = real(FaceEmbeddings, models_dir, ("face_landmarks", landmarks))
    faces, embeddings = [], []
    for frames in frames_of(media_dir / HEAD_POSE):
        faces.append(detect.run(frames, {}))
        embeddings.append(embed.run(frames, {"faces": faces[-1]}))
    table = pa.concat_tables(embeddings)
    assert set(table["aligned_by"].to_pylist()) == {"points"}
    her, him = vectors_by_side(pa.concat_tables(faces), table, 240)
    assert len(her) >= 10 and len(him) >= 10
    np.testing.assert_allclose(np.linalg.norm(her, axis=1), 1, atol=1e-5)
    assert pairs(her).min() > SAME_PERSON
    assert pairs(him).min() > SAME_PERSON
    assert (her @ him.T).max() < OTHER_PERSON


def test_small_faces_gain_from_full_resolution(media_dir: Path, models_dir: Path) -> None:
    """Two people, small in a 1080p frame: regions cut from it, and from what a quarter of its size shows."""
    detect, embed = real(Faces, models_dir), real(FaceEmbeddings, models_dir)
    gaps = {}
    (clip,) = (frames for frames in frames_of(media_dir / HEAD_POSE, step=6))
    near = detect.run(clip, {})
    corner = np.zeros((len(clip), 1080, 1920, 3), np.uint8)
    corner[:, 500:770, 900:1380] = clip.rgb()
    full = ArrayFrames(corner, clip.frame_index, clip.pts_seconds)
    small = ArrayFrames(full.rgb((480, 270)), clip.frame_index, clip.pts_seconds)
    at = read_faces(near, clip)
    for name, frames, zoom in (("full", full, 1.0), ("small", small, 0.25)):
        boxes = (at.boxes + np.array([900, 500, 900, 500], np.float32)) * np.float32(zoom)
        edges = [pa.array(edge) for edge in boxes.T.copy()]
        moved = near.set_column(4, "box", pa.StructArray.from_arrays(edges, fields=list(near["box"].type)))
        table = embed.run(frames, {"faces": moved})
        her, him = vectors_by_side(near, table, 240)
        gaps[name] = float(np.median(np.concatenate([pairs(her), pairs(him)])) - np.max(her @ him.T))
    assert gaps["full"] > 0.4
    assert gaps["full"] > gaps["small"] + 0.2


def test_emotions_of_real_faces_are_probabilities(media_dir: Path, models_dir: Path) -> None:
    detect, classify = real(Faces, models_dir), real(Emotions, models_dir)
    for frames in frames_of(media_dir / "video" / "pose_squats.mp4", step=20):
        faces = detect.run(frames, {})
        table = classify.run(frames, {"faces": faces})
        assert table.num_rows == faces.num_rows > 0
        for row in table.to_pylist():
            chances = dict(row["probabilities"])
            assert sum(chances.values()) == pytest.approx(1, abs=1e-4)
            assert row["score"] == max(chances.values()) == chances[row["label"]]
        # A calm face, seen from the front throughout.
        assert table["label"].to_pylist().count("neutral") > table.num_rows / 2


def test_squares_keep_the_centre() -> None:
    squares = square_around(np.array([[10, 20, 30, 60]], np.float32), 1.5)
    np.testing.assert_allclose(squares, [[20 - 30, 40 - 30, 20 + 30, 40 + 30]])


def test_a_batch_equals_one_face_at_a_time(media_dir: Path, models_dir: Path) -> None:
    detect, embed = real(Faces, models_dir), real(FaceEmbeddings, models_dir)
    (frames,) = frames_of(media_dir / HEAD_POSE, step=8)
    faces = detect.run(frames, {})
    together = np.stack(embed.run(frames, {"faces": faces})["vector"].to_numpy())
    alone = [
        np.stack(embed.run(frames, {"faces": faces.slice(row, 1)})["vector"].to_numpy())
        for row in range(faces.num_rows)
    ]
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-5)
