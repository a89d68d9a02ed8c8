"""The ONNX file of a model that is a folder; where it holds bare weights, made from them.

Sentence models are published as safetensors: tensors by name, and the shape of the network in
`config.json`. The network is BERT (Devlin et al., arXiv:1810.04805), with its layers named as Hugging
Face's transformers names them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.errors import ModelError
from framemill.models.checked_files import read_checked
from framemill.models.download import replacing
from framemill.models.entry import ModelEntry
from framemill.models.store import cache_folder

GRAPH_VERSION = 1  # raise it when `bert_graph` would make another graph of the same weights
_OPSET, _IR_VERSION = 20, 9  # the first with Gelu, and its file format
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_MASKED = -1e4  # added to what attention must not see; e**-1e4 is 0 in float32
MAX_HEADER_BYTES = 100 << 20

Weights = Mapping[str, npt.NDArray[np.float32]]


def graph_file(entry: ModelEntry, path: Path) -> Path:
    """The ONNX file of a verified model: its file, the one in its folder, or the one made from its weights.

    Raises:
        ModelError: the folder holds no weights that can be used.
    """
    if not entry.files:
        return path
    names = [file.name for file in entry.files]
    graphs = [name for name in names if name.endswith(".onnx")]
    if graphs:
        return path / graphs[0]
    if "model.safetensors" not in names or "config.json" not in names:
        raise ModelError(
            f"model {entry.name}: {path} holds {', '.join(names)}; it needs an .onnx file, or "
            "model.safetensors with config.json"
        )
    made = cache_folder() / "graphs" / f"{entry.sha256[:32]}-v{GRAPH_VERSION}.onnx"
    if not made.is_file():
        config = json.loads(read_checked(path / "config.json"))
        model = bert_graph(read_safetensors(path / "model.safetensors"), config)
        with replacing(made) as file:
            file.write(model.SerializeToString())
    return made


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """The float32 tensors of a file: length of the header (8 bytes, little-endian), JSON, then the bytes.

    Raises:
        ModelError: the file is damaged.
    """
    content = read_checked(path)
    length = int.from_bytes(content[:8], "little")
    try:
        if length > min(MAX_HEADER_BYTES, len(content) - 8):
            raise ValueError(f"a header of {length} bytes in a file of {len(content)}")
        header = json.loads(content[8 : 8 + length])
        body = memoryview(content)[8 + length :]
        return {
            name: np.frombuffer(body[slice(*tensor["data_offsets"])], "<f4").reshape(tensor["shape"])
            for name, tensor in header.items()
            if name != "__metadata__" and tensor["dtype"] == "F32"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"{path} is no safetensors file: {exc}; fetch it again") from exc


def bert_graph(weights: Weights, config: Mapping[str, Any]) -> Any:
    """An `onnx.ModelProto` of a BERT encoder.

    Inputs are `input_ids`, `attention_mask` and `token_type_ids`, int64 [n, tokens]; the output is
    `last_hidden_state`, float32 [n, tokens, hidden_size].

    Args:
        weights: tensors by name; those of a network with a head of its own begin with `bert.`.

    Raises:
        ModelError: another kind of network, or a tensor is missing.
    """
    if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
        raise ModelError(
            f"a network of type {config.get('model_type')!r} with {config.get('hidden_act')!r} cannot be "
            "built; only bert with gelu can: export the model as ONNX"
        )
    try:
        named = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
        builder = _Builder(named, float(config["layer_norm_eps"]))
        return builder.encoder(
            num_layers=int(config["num_hidden_layers"]),
            num_heads=int(config["num_attention_heads"]),
            width=int(config["hidden_size"]),
        )
    except KeyError as exc:
        raise ModelError(f"the weights or config.json lack {exc}; fetch the model again") from exc


class _Builder:
    """Collects nodes; each method returns the name of the value it adds."""

    def __init__(self, weights: Weights, epsilon: float) -> None:
        self._weights = weights
        self._epsilon = epsilon
        self._nodes: list[Any] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}

    def encoder(self, num_layers: int, num_heads: int, width: int) -> Any:
        from onnx import TensorProto, helper, numpy_helper

        hidden = self._embeddings()
        bias = self._mask_bias()
        for layer in range(num_layers):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, bias, num_heads, width // num_heads)
        self._nodes.append(helper.make_node("Identity", [hidden], ["last_hidden_state"]))
        ids = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "tokens"]) for n in _INPUTS]
        output = helper.make_tensor_value_info(
            "last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", width]
        )
        tensors = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in self._constants.items()]
        graph = helper.make_graph(self._nodes, "bert", ids, [output], tensors)
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self._constants[name] = value
        return name

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _linear(self, name: str, value: str) -> str:
        matrix = self._constant(f"{name}.matrix", self._weights[f"{name}.weight"].T)
        return self._op("Add", self._op("MatMul", value, matrix), self._weight(f"{name}.bias"))

    def _norm(self, name: str, value: str) -> str:
        gain, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self._op("LayerNormalization", value, gain, bias, axis=-1, epsilon=self._epsilon)

    def _embeddings(self) -> str:
        table = "embeddings.{}_embeddings.weight"
        words = self._op("Gather", self._weight(table.format("word")), "input_ids")
        kinds = self._op("Gather", self._weight(table.format("token_type")), "token_type_ids")
        length = self._op("Shape", "input_ids", start=1, end=2)
        zero = self._constant("zero", np.zeros(1, np.int64))
        places = self._op("Slice", self._weight(table.format("position")), zero, length, zero)
        return self._norm("embeddings.LayerNorm", self._op("Add", self._op("Add", words, kinds), places))

    def _mask_bias(self) -> str:
        """0 for tokens, `_MASKED` for padding, float32 [n, 1, 1, tokens]."""
        seen = self._op("Cast", "attention_mask", to=1)
        hidden = self._op("Sub", self._constant("one", np.ones(1, np.float32)), seen)
        bias = self._op("Mul", hidden, self._constant("masked", np.full(1, _MASKED, np.float32)))
        return self._op("Unsqueeze", bias, self._constant("head_axes", np.array([1, 2], np.int64)))

    def _layer(self, name: str, hidden: str, bias: str, num_heads: int, head_width: int) -> str:
        split = self._constant("split_heads", np.array([0, 0, num_heads, head_width], np.int64))
        join = self._constant("join_heads", np.array([0, 0, num_heads * head_width], np.int64))

        def heads(which: str, order: list[int]) -> str:
            flat = self._linear(f"{name}.attention.self.{which}", hidden)
            return self._op("Transpose", self._op("Reshape", flat, split), perm=order)

        alike = self._op("MatMul", heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]))
        scale = self._constant("scale", np.full(1, 1 / math.sqrt(head_width), np.float32))
        shares = self._op("Softmax", self._op("Add", self._op("Mul", alike, scale), bias), axis=-1)
        mixed = self._op("MatMul", shares, heads("value", [0, 2, 1, 3]))
        mixed = self._op("Reshape", self._op("Transpose", mixed, perm=[0, 2, 1, 3]), join)
        added = self._op("Add", self._linear(f"{name}.attention.output.dense", mixed), hidden)
        hidden = self._norm(f"{name}.attention.output.LayerNorm", added)
        inner = self._op("Gelu", self._linear(f"{name}.intermediate.dense", hidden))
        added = self._op("Add", self._linear(f"{name}.output.dense", inner), hidden)
        return self._norm(f"{name}.output.LayerNorm", added)
