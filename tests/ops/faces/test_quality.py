"""Blur and eyes of faces: rows from known answers, a tiny network of the contract, and real points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from framemill.actors.pictures import read_pictures
from framemill.errors import ModelError, UsageError
from framemill.models.onnx_batching import dynamic_variant
from framemill.models.registry import parse_entry
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.ops.chunks import Frames
from framemill.ops.faces.faces import Faces
from framemill.ops.faces.quality import FaceQuality, FaceQualityOptions
from framemill.ops.pixels.boxes import BOX
from tests.ops.faces.face_stand_ins import FACE_STAND_INS, EyeRunner, YunetRunner
from tests.ops.frames_stub import ArrayFrames
from tests.small_models import SMALL

HEAD_POSE = "gif/head-pose-face-detection-female-and-male.gif"


def stand_in(**options: Any) -> FaceQuality:
    asked = FaceQualityOptions(**options)
    loaded = {role: Model(SMALL[role], FACE_STAND_INS[role]()) for role in FaceQuality.roles(asked)}
    return FaceQuality(asked, loaded)


def face_rows(frames: Frames, *boxes: tuple[float, float, float, float]) -> pa.Table:
    """One face a frame."""
    count = len(frames)
    edges = [pa.array(np.array(edge, np.float32)) for edge in zip(*boxes, strict=True)]
    columns = [
        pa.array(frames.frame_index),
        pa.array(frames.pts_seconds),
        pa.array(np.zeros(count, np.int32)),
        pa.array(np.full(count, 0.9, np.float32)),
        pa.StructArray.from_arrays(edges, fields=list(BOX)),
        pa.nulls(count, Faces.schema.field("landmarks").type),
    ]
    return pa.table(columns, schema=Faces.schema)


def shades(*values: int) -> ArrayFrames:
    return ArrayFrames(np.stack([np.full((360, 640, 3), value, np.uint8) for value in values]))


LARGE = (250.0, 100.0, 370.0, 220.0)


def test_large_faces_are_measured_and_others_are_null() -> None:
    frames = shades(40, 200, 200)
    faces = face_rows(frames, LARGE, LARGE, (250.0, 100.0, 320.0, 179.0))
    rows = stand_in().run(frames, {"faces": faces})
    assert rows.schema.equals(FaceQuality.schema)
    dark, bright, small = rows["eyes_open"].to_pylist()
    assert 0 <= dark < 0.3 < 0.6 < bright <= 1 and small is None
    assert rows["blur"].to_pylist()[2] is None and rows["blur"].null_count == 1
    assert stand_in(least_pixels=79).run(frames, {"faces": faces})["eyes_open"].null_count == 0


def test_no_faces_are_no_rows() -> None:
    frames = shades(100)
    assert stand_in().run(frames, {"faces": Faces.schema.empty_table()}).num_rows == 0


def test_eyes_can_be_left_out_with_their_models() -> None:
    assert FaceQuality.roles(FaceQualityOptions(eyes=False)) == ()
    frames = shades(100, 200)
    rows = stand_in(eyes=False).run(frames, {"faces": face_rows(frames, LARGE, LARGE)})
    assert rows["eyes_open"].null_count == 2 and rows["blur"].null_count == 0


def test_a_blurred_face_in_a_sharp_frame_is_told() -> None:
    texture = np.random.default_rng(1).integers(0, 256, (2, 90, 160, 3), np.uint8)
    pixels = texture.repeat(4, axis=1).repeat(4, axis=2)
    pixels[1, 100:220, 250:370] = cv2.GaussianBlur(pixels[1, 100:220, 250:370], (0, 0), 12)
    frames = ArrayFrames(pixels)
    rows = stand_in(eyes=False).run(frames, {"faces": face_rows(frames, LARGE, LARGE)})
    sharp, blurred = rows["blur"].to_pylist()
    assert sharp < 0.35 < 0.5 < blurred


class _OpenAlone(EyeRunner):
    """As OCEC answers: a chance of open for each picture of 40 x 24, red first, 0..1."""

    def run(self, inputs: Any) -> dict[str, npt.NDArray[Any]]:
        ((_, eyes),) = inputs.items()
        assert eyes.shape[1:] == (3, 24, 40)
        return {"prob_open": eyes[:, 0].mean(axis=(1, 2))}


def test_a_model_may_tell_the_open_class_alone() -> None:
    block = {"name": "ocec_s", "role": "eyes", "family": "ocec", "sha256": "0" * 64, "input_size": [40, 24]}
    models = {
        "face_landmarks": Model(SMALL["face_landmarks"], FACE_STAND_INS["face_landmarks"]()),
        "eyes": Model(parse_entry(block), _OpenAlone()),
    }
    frames = shades(51, 204)
    faces = face_rows(frames, LARGE, LARGE)
    rows = FaceQuality(FaceQualityOptions(), models).run(frames, {"faces": faces})
    assert rows["eyes_open"].to_pylist() == pytest.approx([0.2, 0.8])


class _NoFace(YunetRunner):
    """A landmark model that finds nothing."""

    def run_whole(self, inputs: Any) -> dict[str, npt.NDArray[Any]]:
        shapes = {"loc": 14, "conf": 2, "iou": 1}
        return {name: np.zeros((1076, width), np.float32) for name, width in shapes.items()}


def test_faces_without_points_have_no_eyes() -> None:
    models = {
        "face_landmarks": Model(SMALL["face_landmarks"], _NoFace()),
        "eyes": Model(SMALL["eyes"], EyeRunner()),
    }
    frames = shades(200)
    rows = FaceQuality(FaceQualityOptions(), models).run(frames, {"faces": face_rows(frames, LARGE)})
    assert rows["eyes_open"].null_count == 1 and rows["blur"].null_count == 0


def test_wrong_options_and_models_are_refused() -> None:
    with pytest.raises(UsageError, match="must be 16 to 1024"):
        FaceQualityOptions(least_pixels=8)
    loaded = {role: Model(SMALL[role], FACE_STAND_INS[role]()) for role in FaceQuality.models}
    for wrong in ({"family": "yolox"}, {"labels": ("shut",)}, {"input_size": None}):
        entry = replace(SMALL["eyes"], **wrong)
        with pytest.raises(ModelError, match="eye_state or ocec with its picture size and a label 'open'"):
            FaceQuality(FaceQualityOptions(), {**loaded, "eyes": Model(entry, EyeRunner())})
    entry = replace(SMALL["eyes"], labels=("open", "shut", "half"))
    op = FaceQuality(FaceQualityOptions(), {**loaded, "eyes": Model(entry, EyeRunner())})
    frames = shades(100)
    with pytest.raises(ModelError, match=r"ask for one output \[2, 3\]"):
        op.run(frames, {"faces": face_rows(frames, LARGE)})


def eye_network(path: Path) -> Path:
    """A graph as the default model's is: one picture, chances of closed and open as [1, 2, 1, 1]."""
    weights = np.zeros((2, 3, 32, 32), np.float32)
    weights[0], weights[1] = -1 / 3072, 1 / 3072
    bias = np.full(2, 0.5, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input.1", "w", "b"], ["19"])],
        "eyes",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("19", TensorProto.FLOAT, [1, 2, 1, 1])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_network_of_the_contract_is_opened_and_asked_in_batches(tmp_path: Path) -> None:
    path = eye_network(tmp_path / "eyes.onnx")
    entry = replace(SMALL["eyes"], sha256="0" * 64)
    assert dynamic_variant(entry, path) is not None
    opened, _ = open_model(entry, path, 1, "cpu")
    landmarks = Model(SMALL["face_landmarks"], FACE_STAND_INS["face_landmarks"]())
    frames = shades(20, 240)
    models = {"face_landmarks": landmarks, "eyes": Model(entry, opened.runner)}
    rows = FaceQuality(FaceQualityOptions(), models).run(frames, {"faces": face_rows(frames, LARGE, LARGE)})
    # Of evenly grey pictures: the mean of (value - 127) / 255, and half.
    assert rows["eyes_open"].to_pylist() == pytest.approx([0.5 - 107 / 255, 0.5 + 113 / 255], abs=0.01)


class _Watcher(EyeRunner):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[npt.NDArray[Any]] = []

    def run(self, inputs: Any) -> dict[str, npt.NDArray[Any]]:
        self.seen.append(next(iter(inputs.values())))
        return super().run(inputs)


def test_eyes_of_a_real_face_lie_in_the_middle_of_what_is_cut(media_dir: Path, models_dir: Path) -> None:
    """The man on the right of the head-pose clip, whose eyes are open: the iris is what is darkest."""
    loaded = {}
    for role in ("faces", "face_landmarks"):
        entry = SMALL[role]
        loaded[role], _ = open_model(entry, models_dir / entry.file_name, 1, "cpu")
    watcher = _Watcher()
    models = {"face_landmarks": loaded["face_landmarks"], "eyes": Model(SMALL["eyes"], watcher)}
    op = FaceQuality(FaceQualityOptions(least_pixels=50), models)
    count = 0
    for frames in read_pictures(str(media_dir / HEAD_POSE), np.arange(0, 40, 5)):
        faces = Faces(Faces.Options(), {"faces": loaded["faces"]}).run(frames, {})
        at_right = pa.array([box["x0"] > frames.width / 2 for box in faces["box"].to_pylist()])
        count += op.run(frames, {"faces": faces.filter(at_right)}).num_rows
    eyes = np.concatenate(watcher.seen).mean(axis=1)
    assert count >= 6 and len(eyes) == 2 * count
    middle = eyes[:, 12:20, 12:20].mean(axis=(1, 2))
    assert (middle < eyes[:, 24:].mean(axis=(1, 2))).mean() > 0.9, "the lower edge shows the cheek"
