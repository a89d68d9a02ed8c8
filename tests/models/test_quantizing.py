from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from framemill.errors import ModelError
from framemill.models.folders import digest_file
from framemill.models.onnx_batching import check_batching, load_graph
from framemill.models.providers import session_options
from framemill.models.quantizing import MIN_ROWS, RECIPES, _kept_nodes, quantize, signed_beside, signed_file
from framemill.models.session import open_model
from tests.models.graphs import quantizer, save, scaler
from tests.models.test_session import entry_of


def network(path: Path) -> Path:
    """A convolution, one of single channels, and a last one; opset 17, batch fixed at 1."""
    from onnx import helper

    rng = np.random.default_rng(0)
    weights = {
        "a": rng.standard_normal((8, 3, 3, 3)).astype(np.float32) / 5,
        "b": rng.standard_normal((8, 1, 3, 3)).astype(np.float32) / 3,
        "c": rng.standard_normal((4, 8, 1, 1)).astype(np.float32) / 3,
    }
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["p"], name="first"),
        helper.make_node("Relu", ["p"], ["q"], name="relu"),
        helper.make_node("Conv", ["q", "b"], ["r"], name="depthwise", group=8),
        helper.make_node("Conv", ["r", "c"], ["y"], name="last"),
    ]
    return save(path, nodes, {"x": [1, 3, 12, 12]}, {"y": [1, 4, 8, 8]}, weights)


def rows(count: int = MIN_ROWS) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.random((1, 3, 12, 12), np.float32)} for _ in range(count)]


def nameless(path: Path) -> Path:
    """The same without names of nodes, as PyTorch's older exports are."""
    model = onnx.load(str(network(path)))
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, str(path))
    return path


def single(path: Path) -> Path:
    """One convolution, which is the last."""
    from onnx import helper

    weights = {"a": np.ones((4, 3, 3, 3), np.float32)}
    nodes = [helper.make_node("Conv", ["x", "a"], ["y"], name="only")]
    return save(path, nodes, {"x": [1, 3, 12, 12]}, {"y": [1, 4, 10, 10]}, weights)


def run(path: Path, inputs: dict[str, Any]) -> Any:
    options = session_options(onnxruntime, path, 1)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def test_two_files_that_compute_nearly_the_same(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx")
    target = quantize(entry_of(path), path, rows(), tmp_path / "made" / "net-int8.onnx")
    signed = signed_beside(target)
    assert {file.name for file in target.parent.iterdir()} == {"net-int8.onnx", "net-int8-signed.onnx"}
    inputs = rows(1)[0]
    expected = run(path, inputs)
    for file in (target, signed):
        graph = onnx.load(str(file)).graph
        error = np.abs(run(file, inputs) - expected).max() / np.abs(expected).max()
        assert 0 < error < 0.05
        inputs_of = {node.name: node.input for node in graph.node if node.op_type == "Conv"}
        assert inputs_of["first"][1].startswith("a_Dequantize") and inputs_of["last"][1] == "c"


def test_activations_are_unsigned_for_processors_and_centred_for_tensorrt(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx")
    target = quantize(entry_of(path), path, rows(), tmp_path / "net-int8.onnx")
    for file, kinds in ((target, {np.uint8}), (signed_beside(target), {np.int8})):
        graph = onnx.load(str(file)).graph
        values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        zeros = [values[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"]
        assert {zero.dtype.type for zero in zeros} == kinds
        if file != target:
            assert not any(zero.any() for zero in zeros)
        weights = [v for name, v in values.items() if name.endswith("_quantized")]
        assert weights and {w.dtype.type for w in weights} == {np.int8}


def test_the_batch_is_free_and_rows_stand_alone(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx")
    target = quantize(entry_of(path), path, rows(), tmp_path / "net-int8.onnx")
    assert check_batching(load_graph(target), None)[0] == "dynamic"
    _, report = open_model(entry_of(target, "dynamic"), target, 1)
    assert (report.provider, report.precision) == ("cpu", "int8")
    assert open_model(entry_of(path), path, 1)[1].precision == "fp32"


def test_nodes_need_no_names(tmp_path: Path) -> None:
    named, other = network(tmp_path / "named.onnx"), nameless(tmp_path / "nameless.onnx")
    made = [quantize(entry_of(p), p, rows(), tmp_path / p.stem / "int8.onnx") for p in (named, other)]
    kinds = [[node.op_type for node in onnx.load(str(path)).graph.node] for path in made]
    assert kinds[0] == kinds[1] and "QuantizeLinear" in kinds[0]
    for file in (made[1], signed_beside(made[1])):
        assert open_model(entry_of(file, "dynamic"), file, 1)[1].precision == "int8"


def test_what_stays_as_it_is(tmp_path: Path) -> None:
    graph = load_graph(network(tmp_path / "net.onnx"))
    assert _kept_nodes(graph, RECIPES[0]) == ["last"]
    assert sorted(_kept_nodes(graph, RECIPES[1])) == ["depthwise", "last"]


def test_the_file_for_tensorrt_is_found_and_checked(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx")
    target = quantize(entry_of(path), path, rows(), tmp_path / "net-int8.onnx")
    signed = signed_file(load_graph(target), target)
    assert signed == signed_beside(target) and digest_file(signed)
    assert signed_file(load_graph(path), path) is None
    signed.write_bytes(signed.read_bytes() + b" ")
    with pytest.raises(ModelError, match="missing or changed; run `framemill models quantize` again"):
        signed_file(load_graph(target), target)


@pytest.mark.parametrize(
    ("make", "count", "words"),
    [
        (network, MIN_ROWS - 1, "7 rows to calibrate on; at least 8"),
        (quantizer, MIN_ROWS, "is quantised already"),
        (scaler, MIN_ROWS, "nothing to quantise"),
        (single, MIN_ROWS, "nothing in it became eight-bit"),
    ],
)
def test_models_that_cannot_be_quantised(tmp_path: Path, make: Any, count: int, words: str) -> None:
    path = make(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=words):
        quantize(entry_of(path), path, rows(count), tmp_path / "net-int8.onnx")
    assert not (tmp_path / "net-int8.onnx").exists()
