"""Small ONNX graphs made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    weights: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Writes a model of float32 inputs and outputs with these shapes."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
        [numpy_helper.from_array(v, k) for k, v in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path), **options)
    return path


def scaler(path: Path, batch: int | str = 1, factor: float = 2.0) -> Path:
    """Flattens rows [3, 4, 4] to [48] by a `Reshape` whose constant names the batch, then scales them."""
    return save(
        path,
        [
            helper.make_node("Reshape", ["x", "shape"], ["flat"]),
            helper.make_node("Mul", ["flat", "factor"], ["y"]),
        ],
        {"x": [batch, 3, 4, 4]},
        {"y": [batch, 48]},
        {"shape": np.array([1 if batch == 1 else -1, 48]), "factor": np.array([factor], np.float32)},
    )


def mixer(path: Path, batch: int | str = 1) -> Path:
    """Subtracts the mean over everything: rows depend on their neighbours once there are any."""
    return save(
        path,
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        {"x": [batch, 3, 4, 4]},
        {"y": [batch, 3, 4, 4]},
    )


def quantizer(path: Path) -> Path:
    """Has a DynamicQuantizeLinear."""
    return save(
        path,
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        {"x": ["n", 3, 4, 4]},
        {"y": ["n", 3, 4, 4]},
    )


def external(path: Path) -> Path:
    """Keeps its weight in `weights.bin` beside it."""
    return save(
        path,
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": [1, 8]},
        {"y": [1, 8]},
        {"w": np.eye(8, dtype=np.float32)},
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
