from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from framemill.errors import ModelError
from framemill.models.adding import add
from framemill.models.onnx_batching import check_batching, dynamic_variant, free_batch_axis, load_graph
from framemill.models.registry import DEFAULTS
from tests.models.graphs import external, mixer, quantizer, save, scaler


def test_a_fixed_batch_is_freed_and_verified(tmp_path: Path) -> None:
    model = load_graph(scaler(tmp_path / "m.onnx"))
    assert check_batching(model, None) == ("fixed", "made dynamic, equal on random rows")
    freed = onnxruntime.InferenceSession(free_batch_axis(model).SerializeToString())
    x = np.random.default_rng(0).random((5, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(freed.run(None, {"x": x})[0], x.reshape(5, 48) * 2)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1  # the original is untouched


def test_rows_that_depend_on_neighbours_keep_a_model_at_one(tmp_path: Path) -> None:
    for batch in (1, "n"):
        batching, reason = check_batching(load_graph(mixer(tmp_path / "m.onnx", batch)), None)
        assert batching == "none" and "differs by" in reason


def test_an_open_batch_is_verified_too(tmp_path: Path) -> None:
    assert check_batching(load_graph(scaler(tmp_path / "m.onnx", "n")), None)[0] == "dynamic"


def test_dynamic_quantisation_is_named(tmp_path: Path) -> None:
    batching, reason = check_batching(load_graph(quantizer(tmp_path / "m.onnx")), None)
    assert batching == "none" and "DynamicQuantizeLinear" in reason


def test_yolox_and_the_vad(models_dir: Path) -> None:
    from framemill.models.store import find

    assert check_batching(load_graph(models_dir / "yolox_nano.onnx"), None)[0] == "fixed"
    batching, reason = check_batching(load_graph(find(DEFAULTS["vad"])), None)
    assert batching == "none" and "not one batch" in reason


def test_open_picture_axes_need_a_size(tmp_path: Path) -> None:
    model = load_graph(mixer(tmp_path / "m.onnx", 1))
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_param = "side"
    assert "state the input size" in check_batching(model, None)[1]
    assert "differs by" in check_batching(model, (8, 6))[1]


def test_a_row_that_no_model_takes_is_not_tried(tmp_path: Path) -> None:
    for length in (1 << 25, 1 << 40, 1 << 62):
        path = tmp_path / f"{length}.onnx"
        save(path, [helper.make_node("ReduceSum", ["x"], ["y"])], {"x": ["n", length]}, {"y": ["n", 1]})
        with pytest.raises(ModelError, match=rf"'x' takes {length} values a row, and a model at most 16,777"):
            check_batching(load_graph(path), None)


def test_the_variant_is_made_once(tmp_path: Path) -> None:
    path = scaler(tmp_path / "m.onnx")
    entry = replace(DEFAULTS["objects"], input_size=None)
    variant, reason = dynamic_variant(entry, path)
    assert variant is not None and reason == "" and variant != path
    stamp = variant.stat().st_mtime_ns
    assert dynamic_variant(entry, tmp_path / "not-even-read.onnx") == (variant, "")
    assert variant.stat().st_mtime_ns == stamp
    assert dynamic_variant(replace(entry, sha256="1" * 64), mixer(tmp_path / "mixer.onnx"))[0] is None
    dynamic = scaler(tmp_path / "dynamic.onnx", "n")
    assert dynamic_variant(replace(entry, sha256="2" * 64), dynamic) == (dynamic, "")


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("data.pkl", b"")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"weights": 1}), "pickle or an archive"),
        (archive(), "pickle or an archive"),
        (b"<html>not found</html>", "no valid ONNX model"),
        (b"", "no valid ONNX model"),
    ],
)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words):
        load_graph(path)


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"other files \(weights.bin\)"):
        load_graph(external(tmp_path / "m.onnx"))


def test_a_graph_whose_nodes_are_not_in_order_is_judged_by_the_runtime(tmp_path: Path) -> None:
    """Published models are so: ONNX Runtime sorts them, while the checker of the package onnx refuses."""
    path = scaler(tmp_path / "m.onnx")
    model = onnx.load(str(path))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)
    onnx.save(model, str(path))
    assert check_batching(load_graph(path), None)[0] == "fixed"
    assert add(str(path), "objects", name="turned")["batching"] == "fixed"


def test_a_graph_that_does_not_run_is_refused_when_it_is_added(tmp_path: Path) -> None:
    node = helper.make_node("Sqrt", ["nowhere"], ["y"])
    path = save(tmp_path / "m.onnx", [node], {"x": [1, 3, 4, 4]}, {"y": [1, 48]})
    with pytest.raises(ModelError, match="cannot be run"):
        add(str(path), "objects")
