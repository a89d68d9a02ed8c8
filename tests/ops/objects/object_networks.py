"""Tiny networks with the layouts of object detectors, whose answers are known numbers and picked pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# A place in an output (without the batch axis), and the (channel, row, column) of the pixel added there.
Picks = Sequence[tuple[tuple[int, ...], tuple[int, int, int]]]


def write_network(
    path: Path,
    size: tuple[int, int],
    answers: Mapping[str, Any],
    picks: Mapping[str, Picks] | None = None,
    *,
    sized: bool = False,
    input_name: str = "images",
    batch: int | str = "n",
    half: bool = False,
) -> Path:
    """A linear network: each output is its answer plus the pixels picked for it.

    Args:
        size: (width, height) of the picture.
        answers: arrays without the batch axis; those of int64 come as int64.
        sized: takes `orig_target_sizes` too, and gives `boxes` in units of it.
        half: has a cast at its start, so that it takes float16.
    """
    width, height = size
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(input_name, kind, [batch, 3, height, width])]
    nodes = [
        helper.make_node("Cast", [input_name], ["picture"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["picture"], ["pixels"]),
    ]
    if sized:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [batch, 2]))
        nodes += [
            helper.make_node("Cast", ["orig_target_sizes"], ["wh"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["wh", "wh"], ["whwh"], axis=1),
            helper.make_node("Unsqueeze", ["whwh", "one"], ["units"]),
        ]
    weights: dict[str, Any] = {"one": np.array([1])} if sized else {}
    outputs = []
    for name, answer in answers.items():
        answer = np.asarray(answer)
        chosen = np.zeros((3, height, width, *answer.shape), np.float32)
        for place, pixel in (picks or {}).get(name, ()):
            chosen[(*pixel, *place)] = 1
        whole = answer.dtype.kind == "i"
        weights |= {
            f"{name}_w": chosen.reshape(3 * height * width, -1),
            f"{name}_b": answer.astype(np.float32).ravel(),
            f"{name}_shape": np.array([-1, *answer.shape]),
        }
        nodes += [
            helper.make_node("MatMul", ["pixels", f"{name}_w"], [f"{name}_picked"]),
            helper.make_node("Add", [f"{name}_picked", f"{name}_b"], [f"{name}_flat"]),
            helper.make_node("Reshape", [f"{name}_flat", f"{name}_shape"], [f"{name}_raw"]),
        ]
        if sized and name == "boxes":
            nodes.append(helper.make_node("Mul", [f"{name}_raw", "units"], [name]))
        else:
            to = TensorProto.INT64 if whole else TensorProto.FLOAT
            nodes.append(helper.make_node("Cast", [f"{name}_raw"], [name], to=to))
        element = TensorProto.INT64 if whole else TensorProto.FLOAT
        outputs.append(helper.make_tensor_value_info(name, element, [batch, *answer.shape]))
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path
