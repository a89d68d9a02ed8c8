"""Tiny networks with exactly the inputs and outputs of CLIP, SigLIP and DINOv2, and known answers.

A picture's vector is its mean red, green and blue as the network gets them; a text's is the sum of its
tokens' rows in a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from framemill.models.entry import ModelEntry
from tests.ops.frames.embedding_stand_ins import folder_entry, word_tokenizer


def image_tower(path: Path, family: str) -> Path:
    """`pixel_values` f32 [n, 3, 224, 224]; every family gives `last_hidden_state` [n, 2, 3].

    CLIP gives `image_embeds` and SigLIP `pooler_output` beside it; of DINOv2 the first token is the vector.
    """
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values", "sides"], ["colour"], keepdims=0),
        helper.make_node("Unsqueeze", ["colour", "one"], ["row"]),
        helper.make_node("Neg", ["row"], ["others"]),
        helper.make_node("Concat", ["row", "others"], ["last_hidden_state"], axis=1),
    ]
    outputs = {"last_hidden_state": ["n", 2, 3]}
    name = {"clip": "image_embeds", "siglip": "pooler_output"}.get(family)
    if name:
        nodes.append(helper.make_node("Identity", ["colour"], [name]))
        outputs[name] = ["n", 3]
    weights = {"sides": np.array([2, 3], np.int64), "one": np.array([1], np.int64)}
    return _save(path, nodes, {"pixel_values": (TensorProto.FLOAT, ["n", 3, 224, 224])}, outputs, weights)


def text_tower(path: Path, family: str, table: npt.NDArray[np.float32]) -> Path:
    """`input_ids` i64 [n, tokens]; CLIP also takes `attention_mask` and gives `text_embeds`, SigLIP takes
    exactly 64 tokens and gives `pooler_output`. OpenCLIP: `text` i32 [1, 77], and one `embedding`."""
    if family == "openclip_text":
        nodes = [
            helper.make_node("Gather", ["table", "text"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "one"], ["embedding"], keepdims=0),
        ]
        inputs = {"text": (TensorProto.INT32, [1, 77])}
        weights = {"table": table, "one": np.array([1], np.int64)}
        return _save(path, nodes, inputs, {"embedding": [1, table.shape[1]]}, weights)
    output = "text_embeds" if family == "clip_text" else "pooler_output"
    tokens: Any = "tokens" if family == "clip_text" else 64
    inputs = {"input_ids": (TensorProto.INT64, ["n", tokens])}
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]
    if family == "clip_text":
        inputs["attention_mask"] = (TensorProto.INT64, ["n", tokens])
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["seen"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["seen", "last"], ["weight"]),
            helper.make_node("Mul", ["rows", "weight"], ["counted"]),
            helper.make_node("ReduceSum", ["counted", "one"], [output], keepdims=0),
        ]
    else:
        nodes.append(helper.make_node("ReduceSum", ["rows", "one"], [output], keepdims=0))
    weights = {"table": table, "one": np.array([1], np.int64), "last": np.array([2], np.int64)}
    return _save(path, nodes, inputs, {output: ["n", table.shape[1]]}, weights)


def word_tower(folder: Path, family: str, points: Mapping[str, Sequence[float]], **others: Any) -> ModelEntry:
    """The entry of a text tower of the role labels: a sentence points where its one word of `points` does."""
    folder.mkdir(parents=True, exist_ok=True)
    word_tokenizer(folder / "tokenizer.json", list(points))
    # Before the words stand what is unknown and </s>, which fills texts up: they point nowhere.
    table = np.array([(0,) * 3, (0,) * 3, *points.values()], np.float32)
    text_tower(folder / "model.onnx", family, table)
    return folder_entry(folder, f"tiny_{family}", "labels", family, **others)


def _save(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, list[Any]],
    weights: dict[str, npt.NDArray[Any]],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), str(path))
    return path
