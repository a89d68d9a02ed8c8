"""Depth: tiny networks of Depth Anything's layout with known answers, and the sizes of its pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from framemill.errors import ModelError, UsageError
from framemill.models.adding import add
from framemill.models.entry import ModelEntry
from framemill.models.registry import DEFAULTS, resolve
from framemill.models.session import open_model
from framemill.ops.frames.depth import SIZE, Depth, picture_size
from tests.ops.frames_stub import ArrayFrames

ENTRY = replace(DEFAULTS["depth"], input_size=(28, 28))


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))


def network(path: Path, channels: int = 3, keepdims: int = 0, factor: float = 10.0) -> Path:
    """Ten times the brightness of a pixel, in 0..1, as its inverse distance; pictures of any size."""
    mean = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
    deviation = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
    given = {
        "deviation": deviation[:channels],
        "mean": mean[:channels],
        "factor": np.array(factor, np.float32),
        "axes": np.array([1]),
    }
    nodes = [
        helper.make_node("Mul", ["pixel_values", "deviation"], ["spread"]),
        helper.make_node("Add", ["spread", "mean"], ["colours"]),
        helper.make_node("ReduceMean", ["colours", "axes"], ["bright"], keepdims=keepdims),
        helper.make_node("Mul", ["bright", "factor"], ["predicted_depth"]),
    ]
    shape: list[Any] = ["n", "height", "width"]
    if keepdims:
        shape.insert(1, 1)
    graph = helper.make_graph(
        nodes,
        "depth",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", channels, "h", "w"])],
        [helper.make_tensor_value_info("predicted_depth", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in given.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def opened(path: Path, entry: ModelEntry = ENTRY, **options: Any) -> Depth:
    model, _ = open_model(entry, path, 1, "cpu")
    return Depth(Depth.Options(**options), {"depth": model})


def halves(dark: int, bright: int) -> ArrayFrames:
    """Two frames: dark on the left and bright on the right, and the other way round."""
    pixels = np.full((2, 112, 224, 3), dark, np.uint8)
    pixels[0, :, 112:] = pixels[1, :, :112] = bright
    return ArrayFrames(pixels)


def test_near_and_far_are_those_of_nearly_all_of_a_frame(tmp_path: Path) -> None:
    rows = opened(network(tmp_path / "m.onnx")).run(halves(51, 204), {})
    assert rows.schema.equals(Depth.schema, check_metadata=True)
    assert rows["frame_index"].to_pylist() == [0, 1]
    np.testing.assert_allclose(rows["far"].to_numpy(), 2.0, atol=0.02)
    np.testing.assert_allclose(rows["near"].to_numpy(), 8.0, atol=0.02)
    assert all(1.9 < value < 8.1 for value in rows["median"].to_pylist())


def test_a_speck_moves_neither(tmp_path: Path) -> None:
    pixels = np.full((1, 280, 280, 3), 102, np.uint8)
    pixels[0, :20, :20] = 255
    rows = opened(network(tmp_path / "m.onnx")).run(ArrayFrames(pixels), {})
    found = [rows[name][0].as_py() for name in ("near", "far", "median")]
    np.testing.assert_allclose(found, 4.0, atol=0.02)


def test_the_map_is_white_where_it_is_near(tmp_path: Path) -> None:
    op = opened(network(tmp_path / "m.onnx"), map_side=64)
    for data, near in zip(op.run(halves(51, 204), {})["map"].to_pylist(), ("right", "left"), strict=True):
        shades = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert shades.shape == (32, 64)  # grey, and in the shape of the frame
        sides = {"left": shades[:, :28].mean(), "right": shades[:, 36:].mean()}
        assert sides.pop(near) > 245 and min(sides.values()) < 10
    flat = op.run(ArrayFrames(np.full((1, 56, 56, 3), 80, np.uint8)), {})["map"][0].as_py()
    assert cv2.imdecode(np.frombuffer(flat, np.uint8), cv2.IMREAD_UNCHANGED).max() == 0
    without = opened(network(tmp_path / "n.onnx"), map_side=0).run(halves(51, 204), {})
    assert without["map"].null_count == 2


@pytest.mark.parametrize(
    ("display", "expected"),
    [
        ((1920, 1080), (924, 518)),
        ((1080, 1920), (518, 924)),
        ((518, 518), (518, 518)),
        ((320, 240), (686, 518)),
        ((9000, 30), (2072, 518)),
    ],
)
def test_pictures_have_the_sizes_that_the_authors_choose(
    display: tuple[int, int], expected: tuple[int, int]
) -> None:
    """The shorter side is 518, both are multiples of 14; what is far longer than high is squeezed."""
    assert picture_size(display, (518, 518)) == expected


def test_other_models_and_options_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gives \{'predicted_depth': \[2, 1, 28, 56\]\} for 2 frames of 56"):
        opened(network(tmp_path / "four.onnx", keepdims=1)).run(halves(0, 9), {})
    with pytest.raises(ModelError, match="values that are no numbers"):
        opened(network(tmp_path / "nan.onnx", factor=float("nan"))).run(halves(0, 9), {})
    with pytest.raises(ModelError, match=r"is of family 'nima'; add one of depth_anything"):
        opened(network(tmp_path / "m.onnx"), replace(ENTRY, family="nima"))
    with pytest.raises(UsageError, match=r"depth\.map_side is 8; it must be 16 to 1024, or 0"):
        Depth.Options(map_side=8)


def test_a_file_of_another_contract_is_refused_when_it_is_added(tmp_path: Path) -> None:
    four = network(tmp_path / "four.onnx", keepdims=1)
    with pytest.raises(
        ModelError, match=r"gives predicted_depth \[n, 1, height, width\], .* \[any, any, any\]"
    ):
        add(str(four), "depth")
    grey = network(tmp_path / "grey.onnx", channels=1)
    with pytest.raises(
        ModelError, match=r"takes pixel_values \[n, 1, h, w\], .* asks for \[any, 3, any, any\]"
    ):
        add(str(grey), "depth")
    told = add(str(network(tmp_path / "m.onnx")), "depth", name="mine", input_size=(28, 28))
    assert told["batching"] == "dynamic"
    assert resolve("depth", "mine").mean == (123.675, 116.28, 103.53)


def test_pictures_are_of_the_usual_size_where_nothing_states_one(tmp_path: Path) -> None:
    entry = resolve("depth", str(network(tmp_path / "m.onnx")))
    assert entry.input_size is None and DEFAULTS["depth"].input_size == SIZE
    rows = opened(tmp_path / "m.onnx", entry).run(halves(51, 204), {})
    np.testing.assert_allclose(rows["near"].to_numpy(), 8.0, atol=0.02)
