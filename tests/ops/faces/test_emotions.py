"""Faces as classifiers of expressions take them: as they are, or upright by their five points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from framemill.errors import ModelError
from framemill.models.registry import resolve
from framemill.models.session import open_model
from framemill.ops.chunks import Float64Array
from framemill.ops.faces.alignment import TEMPLATE
from framemill.ops.faces.emotions import Emotions
from framemill.ops.faces.faces import Faces
from framemill.ops.faces.rows import read_faces
from framemill.ops.faces.upright import to_level_box, to_template, warped
from framemill.ops.pixels.boxes import BOX
from tests.ops.frames_stub import ArrayFrames

# A face as the template has it, and how it is turned, sized and placed in the frame.
ANGLE, ZOOM, CENTRE = np.radians(100), 1.5, np.array([300.0, 200.0])


def in_frame(points: Float64Array) -> Float64Array:
    """From the template's picture of 112 x 112 to the frame."""
    turn = np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]]) * ZOOM
    return (points - 56) @ turn.T + CENTRE


def turned_face() -> np.ndarray:
    """A frame with a turned square: red above the line of the nose, blue below, grey all around."""
    frame = np.full((400, 600, 3), 128, np.uint8)
    for colour, top, bottom in (((255, 0, 0), 0, 72), ((0, 0, 255), 72, 112)):
        corners = np.array([[0, top], [112, top], [112, bottom], [0, bottom]], np.float64)
        cv2.fillPoly(frame, [np.rint(in_frame(corners)).astype(np.int32)], colour)
    return frame


def face_rows(*, with_points: bool) -> pa.Table:
    points = in_frame(TEMPLATE)
    sides = np.array([90.0, 110.0])  # of its box
    box = dict(zip(("x0", "y0", "x1", "y1"), [*(CENTRE - sides / 2), *(CENTRE + sides / 2)], strict=True))
    landmarks = [{"x": float(x), "y": float(y)} for x, y in points] if with_points else None
    kind = Faces.schema.field("landmarks").type
    return pa.table(
        [[0], [0.0], [0], [0.9], pa.array([box], BOX), pa.array([landmarks], kind)], schema=Faces.schema
    )


def network(path: Path, side: int, num_outputs: int) -> Path:
    """Logits: red and blue of the upper half, red and blue of the lower, then zeros."""
    half = side // 2
    nodes = []
    for name, start, end in (("upper", 0, half), ("lower", half, side)):
        consts = [
            numpy_helper.from_array(np.array([v], np.int64), f"{name}{k}")
            for k, v in enumerate((start, end, 2))
        ]
        nodes += [helper.make_node("Constant", [], [c.name], value=c) for c in consts]
        nodes.append(helper.make_node("Slice", ["data", f"{name}0", f"{name}1", f"{name}2"], [name]))
        nodes.append(helper.make_node("ReduceMean", [name, "sides"], [f"{name}_mean"], keepdims=0))
        nodes.append(helper.make_node("Gather", [f"{name}_mean", "channels"], [f"{name}_out"], axis=1))
    nodes.append(helper.make_node("Concat", ["upper_out", "lower_out"], ["four"], axis=1))
    nodes.append(helper.make_node("Pad", ["four", "pads"], ["logits"]))
    constants = [
        numpy_helper.from_array(np.array([2, 3]), "sides"),
        numpy_helper.from_array(np.array([0, 2]), "channels"),
        numpy_helper.from_array(np.array([0, 0, 0, num_outputs - 4]), "pads"),
    ]
    graph = helper.make_graph(
        nodes,
        "halves",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", num_outputs])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def rows_of(tmp_path: Path, name: str, *, with_points: bool, more: int = 0) -> dict[str, Any]:
    labels = ("red above", "blue above", "red below", "blue below")
    entry = replace(resolve("emotions", name), labels=labels)
    assert entry.input_size is not None
    path = network(tmp_path / "tiny.onnx", entry.input_size[0], len(labels) + more)
    model, _ = open_model(entry, path, 1, "cpu")
    rows = Emotions(None, {"emotions": model}).run(
        ArrayFrames(turned_face()[None]), {"faces": face_rows(with_points=with_points)}
    )
    (row,) = rows.to_pylist()
    return row | {"probabilities": dict(row["probabilities"])}


@pytest.mark.parametrize(("name", "more"), [("hsemotion_enet_b0_8", 2), ("emotion_mobilefacenet", 0)])
def test_a_turned_face_is_looked_at_upright(tmp_path: Path, name: str, more: int) -> None:
    upright = rows_of(tmp_path, name, with_points=True, more=more)
    turned = rows_of(tmp_path, name, with_points=False, more=more)
    assert (upright["aligned_by"], turned["aligned_by"]) == ("points", "box")

    def parted(row: dict[str, Any]) -> float:
        odds = row["probabilities"]
        return float(odds["red above"] * odds["blue below"] / (odds["blue above"] * odds["red below"]))

    # Turned by 100 degrees, the colours lie side by side; upright they part.
    assert parted(upright) > 3 * parted(turned)
    assert sum(upright["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_values_beside_the_classes_are_left_alone_where_the_family_has_them(tmp_path: Path) -> None:
    assert len(rows_of(tmp_path, "hsemotion_enet_b0_8", with_points=True)["probabilities"]) == 4
    assert len(rows_of(tmp_path, "hsemotion_enet_b0_8", with_points=True, more=2)["probabilities"]) == 4
    with pytest.raises(ModelError, match=r"gives .*\[1, 6\].* for 1 faces, but its 4 labels"):
        rows_of(tmp_path, "emotion_mobilefacenet", with_points=True, more=2)


def test_points_come_to_lie_where_the_template_has_them() -> None:
    frames = ArrayFrames(turned_face()[None])
    faces = read_faces(face_rows(with_points=True), frames)
    (matrix,) = to_template(faces, (112, 112))
    np.testing.assert_allclose(in_frame(TEMPLATE) @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-3)
    (picture,) = warped(frames, faces, to_template(faces, (112, 112)), (112, 112))
    np.testing.assert_array_equal(picture[30, 56], (255, 0, 0))
    np.testing.assert_array_equal(picture[100, 56], (0, 0, 255))
    # The colours part at line 72 of the picture, to the pixel.
    edge = np.flatnonzero(picture[:, 56, 2] > 128)[0]
    assert abs(int(edge) - 72) <= 1


def test_a_level_box_fills_the_picture() -> None:
    faces = read_faces(face_rows(with_points=True), ArrayFrames(turned_face()[None]))
    (matrix,) = to_level_box(faces, (224, 224))
    eyes = in_frame(TEMPLATE[:2]) @ matrix[:, :2].T + matrix[:, 2]
    assert eyes[0, 1] == pytest.approx(eyes[1, 1], abs=0.5) and eyes[0, 0] < eyes[1, 0]
    centre = CENTRE @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(centre, [112, 112], atol=1e-3)
    # 90 x 110 pixels of the frame fill it, whichever way they are turned.
    np.testing.assert_allclose(np.linalg.norm(matrix[:, :2], axis=1), [224 / 90, 224 / 110], rtol=1e-5)
