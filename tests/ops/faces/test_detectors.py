"""Decoders of face detectors: tiny networks with each family's contract and known answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from framemill.errors import ModelError
from framemill.models.registry import ModelEntry
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.ops.faces.detectors import FaceDetector
from tests.ops.faces.face_stand_ins import UltraFaceRunner
from tests.small_models import SMALL

SIZE = (96, 64)
Answers = dict[str, npt.NDArray[np.float32]]


def network(path: Path, input_name: str, answers: Answers, size: tuple[int, int]) -> None:
    """Gives the same answers whatever it sees, plus the mean of its picture times 0."""
    nodes = [
        helper.make_node("ReduceMean", [input_name], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["nothing"]),
    ]
    weights, outputs = [], []
    for name, values in answers.items():
        weights.append(numpy_helper.from_array(values, f"{name}_known"))
        nodes.append(helper.make_node("Add", [f"{name}_known", "nothing"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape))
    picture = helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [1, 3, size[1], size[0]])
    graph = helper.make_graph(nodes, "faces", [picture], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def detector(
    tmp_path: Path,
    family: str,
    input_name: str,
    answers: Answers,
    size: tuple[int, int] = SIZE,
    **changes: Any,
) -> FaceDetector:
    path = tmp_path / "tiny.onnx"
    network(path, input_name, answers, size)
    entry = ModelEntry(
        name="tiny",
        role="faces",
        family=family,
        sha256="0" * 64,
        num_bytes=path.stat().st_size,
        licence="CC0-1.0",
        commercial="yes",
        input_size=size,
    )
    model, _ = open_model(replace(entry, **changes), path, 1, "cpu")
    return FaceDetector("faces", model)


def pictures(size: tuple[int, int] = SIZE, count: int = 1) -> npt.NDArray[np.uint8]:
    return np.zeros((count, size[1], size[0], 3), np.uint8)


def scrfd_answers(*, points: bool, batch_axis: bool) -> Answers:
    """One face: stride 16, second guess of the cell in column 2, row 1, whose corner is (32, 16)."""
    answers: Answers = {}
    for group, width in (("score", 1), ("box", 4), ("kps", 10))[: 3 if points else 2]:
        for stride in (8, 16, 32):
            cells = (SIZE[0] // stride) * (SIZE[1] // stride) * 2
            answers[f"{group}_{stride}"] = np.zeros((cells, width), np.float32)
    row = (1 * 6 + 2) * 2 + 1
    answers["score_16"][row] = 0.75
    answers["box_16"][row] = 0.5, 0.25, 1.5, 2
    if points:
        answers["kps_16"][row] = [0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1]
    # Real exports name their outputs by numbers that say nothing.
    renamed = {str(440 + 3 * i): values for i, values in enumerate(answers.values())}
    return {name: values[None] for name, values in renamed.items()} if batch_axis else renamed


@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("batch_axis", [True, False])
def test_scrfd(tmp_path: Path, points: bool, batch_axis: bool) -> None:
    found = detector(
        tmp_path,
        "scrfd",
        "input.1",
        scrfd_answers(points=points, batch_axis=batch_axis),
        batching="fixed" if batch_axis else "none",
    )
    for faces in found.candidates(pictures(count=3), 0.5):
        np.testing.assert_allclose(faces.scores, [0.75])
        np.testing.assert_allclose(faces.boxes, [[32 - 8, 16 - 4, 32 + 24, 16 + 32]])
        if points:
            assert faces.points is not None
            np.testing.assert_allclose(faces.points[0], [[32, 16], [48, 16], [40, 24], [32, 32], [48, 32]])
        else:
            assert faces.points is None


def test_yunet_of_2023(tmp_path: Path) -> None:
    answers: Answers = {}
    for stride in (8, 16, 32):
        cells = (SIZE[0] // stride) * (SIZE[1] // stride)
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            answers[f"{name}_{stride}"] = np.zeros((1, cells, width), np.float32)
    row = 2 * 12 + 5  # stride 8, column 5, row 2: corner (40, 16)
    answers["cls_8"][0, row], answers["obj_8"][0, row] = 0.81, 0.64
    answers["bbox_8"][0, row] = 0.5, 1, np.log(2), np.log(4)
    answers["kps_8"][0, row] = [0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1]
    (faces,) = detector(tmp_path, "yunet", "input", answers).candidates(pictures(), 0.5)
    np.testing.assert_allclose(faces.scores, [0.72], rtol=1e-6)
    np.testing.assert_allclose(faces.boxes, [[44 - 8, 24 - 16, 44 + 8, 24 + 16]], rtol=1e-6)
    assert faces.points is not None
    np.testing.assert_allclose(faces.points[0], [[40, 16], [48, 16], [44, 20], [40, 24], [48, 24]])


def test_yunet_of_2022(tmp_path: Path) -> None:
    answers = {
        "loc": np.zeros((1076, 14), np.float32),
        "conf": np.zeros((1076, 2), np.float32),
        "iou": np.full((1076, 1), 2, np.float32),  # more than possible counts as 1
    }
    row = 900 + (3 * 10 + 4) * 2 + 1  # stride 16, column 4, row 3: centre (72, 56), side 48
    answers["conf"][row, 1] = 0.49
    answers["loc"][row, :4] = 5, -5, np.log(2) * 5, 0
    answers["loc"][row, 4:] = [0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1]
    (faces,) = detector(tmp_path, "yunet", "input", answers, (160, 120)).candidates(pictures((160, 120)), 0.5)
    np.testing.assert_allclose(faces.scores, [0.7], rtol=1e-6)
    np.testing.assert_allclose(faces.boxes, [[96 - 48, 32 - 24, 96 + 48, 32 + 24]], rtol=1e-5)
    assert faces.points is not None
    np.testing.assert_allclose(faces.points[0][1], [72 + 4.8, 56], rtol=1e-5)


@pytest.mark.parametrize("size", [(320, 240), (640, 480)])
def test_ultraface_of_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    rows = {(320, 240): 4420, (640, 480): 17640}[size]
    answers = {"scores": np.zeros((1, rows, 2), np.float32), "boxes": np.zeros((1, rows, 4), np.float32)}
    answers["scores"][0, -1] = 0.1, 0.9
    answers["boxes"][0, -1] = 0.25, 0.5, 0.5, 1
    (faces,) = detector(tmp_path, "ultraface", "input", answers, size).candidates(pictures(size), 0.5)
    np.testing.assert_allclose(faces.scores, [0.9])
    np.testing.assert_allclose(faces.boxes, [[size[0] / 4, size[1] / 2, size[0] / 2, size[1]]])
    assert faces.points is None


@pytest.mark.parametrize("family", ["scrfd", "yunet", "ultraface"])
def test_other_outputs_are_refused_with_both_shapes(tmp_path: Path, family: str) -> None:
    answers = {"scores": np.zeros((1, 7, 2), np.float32), "boxes": np.zeros((1, 7, 4), np.float32)}
    name = "input.1" if family == "scrfd" else "input"
    found = detector(tmp_path, family, name, answers)
    with pytest.raises(ModelError, match=r"tiny gives \{'scores': \[7, 2\].*the family " + family):
        found.candidates(pictures(), 0.5)


@pytest.mark.parametrize(
    ("changes", "reason"), [({"family": "yolox"}, "known: ultraface"), ({"input_size": None}, "picture size")]
)
def test_an_entry_that_cannot_be_used_is_refused(changes: dict[str, Any], reason: str) -> None:
    model = Model(replace(SMALL["faces"], **changes), UltraFaceRunner())
    with pytest.raises(ModelError, match=reason):
        FaceDetector("faces", model)


def test_small_pictures_lie_in_the_corner_on_the_familys_grey() -> None:
    seen: list[npt.NDArray[np.float32]] = []

    class Remember(UltraFaceRunner):
        def run(self, inputs: Any) -> Any:
            seen.append(inputs["input"])
            return super().run(inputs)

    white = np.full((2, 100, 320, 3), 255, np.uint8)
    FaceDetector("faces", Model(SMALL["faces"], Remember())).candidates(white, 0.5)
    assert (seen[0][:, :, :100] == 1).all()
    assert (seen[0][:, :, 100:] == 0).all()
