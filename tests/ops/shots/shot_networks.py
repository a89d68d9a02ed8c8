"""Stand-ins for TransNet V2: a session that compares pictures, and tiny networks with its layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper


class ChangesRunner:
    """A frame ends a shot as likely as the next one is brighter or darker, in 255ths.

    Attributes:
        windows: all that it was given.
    """

    max_batch = 4

    def __init__(self) -> None:
        self.windows: list[npt.NDArray[Any]] = []

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        (windows,) = inputs.values()
        assert windows.shape[1:] == (100, 27, 48, 3) and windows.dtype in (np.uint8, np.float32)
        self.windows += list(windows)
        means = windows.mean(axis=(2, 3, 4), dtype=np.float64)
        changes = np.abs(np.diff(means, axis=1, append=means[:, -1:])) / 255
        told = changes.astype(np.float32)
        return {"first": told[..., None], "second": told}

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


def write_network(
    path: Path, kind: int = TensorProto.FLOAT, length: int = 100, scale: float = 1 / 255, outputs: int = 2
) -> Path:
    """A network that takes how bright a picture is, times `scale`, for how likely it ends a shot.

    Args:
        kind: ONNX's number of the element type of its input. length: of its windows.
    """
    nodes = [
        helper.make_node("Cast", ["clip"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "inner"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "scale"], ["534"]),
        helper.make_node("Unsqueeze", ["534", "last"], ["535"]),
    ]
    given = {
        "inner": np.array([2, 3, 4]),
        "scale": np.array(scale, np.float32),
        "last": np.array([2]),
    }
    shapes: list[list[int]] = [[1, length], [1, length, 1]]
    told = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(("534", "535"), shapes, strict=True)
    ]
    graph = helper.make_graph(
        nodes,
        "shots",
        [helper.make_tensor_value_info("clip", kind, [1, length, 27, 48, 3])],
        told[:outputs],
        [numpy_helper.from_array(value, name) for name, value in given.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path
