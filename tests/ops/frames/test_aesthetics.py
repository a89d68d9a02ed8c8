"""Aesthetics: tiny networks with exactly the contracts of LAION's heads and of NIMA, and known answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from framemill.cluster.request import ExtractRequest
from framemill.cluster.run.planning import plan_ops
from framemill.errors import ModelError, UsageError
from framemill.models.adding import add
from framemill.models.entry import ModelEntry
from framemill.models.family_defaults import FAMILY_DEFAULTS
from framemill.models.registry import resolve
from framemill.models.session import open_model
from framemill.models.store import find
from framemill.ops.frames.aesthetics import Aesthetics, mean_vote
from framemill.ops.frames.embeddings import ImageEmbeddings, vector_column
from tests.ops.frames_stub import ArrayFrames
from tests.small_models import SMALL

HEAD = SMALL["aesthetics"]
SIZE = (8, 8)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("FRAMEMILL_MODEL_MIRROR", raising=False)


def network(path: Path, shape: list[Any], nodes: list[Any], outputs: int, weights: dict[str, Any]) -> Path:
    graph = helper.make_graph(
        nodes,
        "votes",
        [helper.make_tensor_value_info("given", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("told", TensorProto.FLOAT, [shape[0], outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def head(path: Path, weights: list[float], batch: int | str = 1) -> Path:
    """One layer, as LAION's: the dot product of a vector with `weights`, plus 5."""
    nodes = [helper.make_node("Gemm", ["given", "w", "b"], ["told"], transB=1)]
    layer = {"w": np.array([weights], np.float32), "b": np.array([5], np.float32)}
    return network(path, [batch, len(weights)], nodes, 1, layer)


def votes(path: Path, *, channels_last: bool, softmax: bool = True) -> Path:
    """All votes on 1 + (what comes in as red, on average), as sure as a softmax of 40 lets them be."""
    shape = ["n", 8, 8, 3] if channels_last else ["n", 3, 8, 8]
    nodes = [
        helper.make_node("ReduceMean", ["given", "sides"], ["colour"], keepdims=0),
        helper.make_node("Gather", ["colour", "red"], ["level"], axis=1),
        helper.make_node("Sub", ["places", "level"], ["off"]),
        helper.make_node("Abs", ["off"], ["far"]),
        helper.make_node("Mul", ["far", "steep"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["told"]),
    ]
    weights = {
        "sides": np.array([1, 2] if channels_last else [2, 3]),
        "red": np.array([0]),
        "places": np.arange(10, dtype=np.float32)[None],
        "steep": np.array([-40], np.float32),
    }
    return network(path, shape, nodes, 10, weights)


def opened(entry: ModelEntry, path: Path) -> Aesthetics:
    model, _ = open_model(entry, path, 1, "cpu")
    return Aesthetics(Aesthetics.Options(), {"aesthetics": model})


def frames(*reds: int) -> ArrayFrames:
    pixels = np.zeros((len(reds), 40, 60, 3), np.uint8)
    pixels[..., 0] = np.array(reds)[:, None, None]
    return ArrayFrames(pixels)


def embedded(*vectors: list[float]) -> dict[str, pa.Table]:
    index = np.arange(len(vectors))
    columns = [index, index / 25, vector_column(np.array(vectors, np.float32))]
    return {"image_embeddings": pa.table(columns, schema=ImageEmbeddings.schema)}


def test_a_head_scores_the_vectors_of_each_frame(tmp_path: Path) -> None:
    op = opened(HEAD, head(tmp_path / "head.onnx", [1.0, -2.0, 0.5]))
    upstream = embedded([1, 0, 0], [0, 0.6, 0.8])
    upstream = {name: rows.take([1, 0]) for name, rows in upstream.items()}  # in no particular order
    rows = op.run(frames(0, 0), upstream)
    assert rows.schema.equals(Aesthetics.schema, check_metadata=True)
    assert rows["frame_index"].to_pylist() == [0, 1]
    np.testing.assert_allclose(rows["score"].to_numpy(), [6, 4.2], atol=1e-5)
    assert rows["deviation"].null_count == 2


@pytest.mark.parametrize("family", ["nima", "nima_keras"])
def test_a_network_gives_shares_of_votes(tmp_path: Path, family: str) -> None:
    path = votes(tmp_path / "nima.onnx", channels_last=family == "nima_keras")
    told = add(str(path), "aesthetics", family=family, mean=[0], scale=[9 / 255], name="mine")
    assert (told["input_size"], told["batching"]) == (SIZE, "dynamic")
    entry = resolve("aesthetics", "mine")
    rows = opened(entry, find(entry)).run(frames(0, 255, 85, 99), {})
    # 99 / 255 * 9 = 3.494: votes for 4 and 5 in proportion.
    np.testing.assert_allclose(rows["score"].to_numpy()[:3], [1, 10, 4], atol=1e-4)
    near = 1 / (1 + np.exp(-40 * (1 - 2 * 99 / 255 * 9 + 2 * 3)))
    np.testing.assert_allclose(rows["score"][3].as_py(), 4 * near + 5 * (1 - near), atol=1e-3)
    assert rows["deviation"][0].as_py() < 1e-3 and 0.4 < rows["deviation"][3].as_py() < 0.51


def test_pictures_are_normalised_as_the_family_s(tmp_path: Path) -> None:
    assert FAMILY_DEFAULTS["nima_keras"]["mean"] == (127.5,)
    entry = replace(resolve("aesthetics", "nima_mobilenet"), input_size=SIZE, batching="dynamic")
    rows = opened(entry, votes(tmp_path / "nima.onnx", channels_last=True)).run(frames(0, 255), {})
    np.testing.assert_allclose(rows["score"].to_numpy(), [1, 2], atol=1e-4)  # red comes in as -1 and 1


def test_votes_have_their_mean_and_deviation() -> None:
    shares = np.zeros((3, 10), np.float32)
    shares[0, [0, 9]] = 0.5
    shares[1, 6] = 1
    shares[2] = 0.1
    mean, deviation = mean_vote(shares)
    np.testing.assert_allclose(mean, [5.5, 7, 5.5])
    np.testing.assert_allclose(deviation, [4.5, 0, np.sqrt(8.25)], rtol=1e-6)


def test_other_outputs_are_refused_by_name(tmp_path: Path) -> None:
    nima = replace(resolve("aesthetics", "nima_mobilenet"), input_size=SIZE)
    path = votes(tmp_path / "raw.onnx", channels_last=True, softmax=False)
    with pytest.raises(ModelError, match=r"sum to .* export it with its softmax"):
        opened(nima, path).run(frames(9), {})
    with pytest.raises(
        ModelError, match=r"gives \{'told': \[1, 10\]\} .* family laion gives one output \[1, 1\]"
    ):
        wide = network(
            tmp_path / "wide.onnx",
            ["n", 3],
            [helper.make_node("Gemm", ["given", "w"], ["told"])],
            10,
            {"w": np.zeros((3, 10), np.float32)},
        )
        opened(HEAD, wide).run(frames(9), embedded([1, 0, 0]))
    with pytest.raises(
        ModelError, match=r"refuses vectors of 2 numbers: .*`models=\{'image_embeddings': 'NAME'\}`"
    ):
        opened(HEAD, head(tmp_path / "head.onnx", [1, 1, 1])).run(frames(9), embedded([1, 0]))
    with pytest.raises(ModelError, match="laion, nima, nima_keras"):
        opened(replace(HEAD, family="clip"), head(tmp_path / "head.onnx", [1]))


def test_what_is_no_head_is_refused_when_added(tmp_path: Path) -> None:
    path = votes(tmp_path / "m.onnx", channels_last=True)
    with pytest.raises(ModelError, match=r"takes given \[n, 8, 8, 3\], .*'laion' asks for \[any, any\]"):
        add(str(path), "aesthetics", family="laion")
    with pytest.raises(ModelError, match=r"takes given \[n, 8, 8, 3\], .*'nima' asks for \[any, 3, 8, 8\]"):
        add(str(path), "aesthetics", family="nima")


def _plan(**models: str) -> Any:
    return plan_ops(
        ExtractRequest(sources=("x",), output="o", ops=("aesthetics",), models=models, accept_licence=True),
        60.0,
    )


def test_a_head_runs_after_the_vectors_that_it_was_trained_on() -> None:
    plan = _plan(image_embeddings="clip_vit_b32")
    assert plan.ops["aesthetics"].after == plan.added == ("image_embeddings",)
    with pytest.raises(
        UsageError, match=r"vectors of clip_vit_b32.*add `models=\{'image_embeddings': 'clip_vit_b32'\}`"
    ):
        _plan()
    with pytest.raises(
        UsageError, match=r"are clip_vit_l14's; .* for one that goes with clip_vit_l14: nima_mobilenet$"
    ):
        _plan(image_embeddings="clip_vit_l14")
    assert list(_plan(aesthetics="nima_mobilenet").ops) == ["aesthetics"]
