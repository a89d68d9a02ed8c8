"""Looks into ONNX files: refuses what is unsafe, and frees a batch axis that was fixed at 1.

Only `models add` and GPU sessions come here: importing `onnx` takes a quarter of a second.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.errors import ModelError
from framemill.models.checked_files import read_checked
from framemill.models.download import replacing
from framemill.models.entry import BATCH_TRANSFORM_VERSION, Batching, ModelEntry
from framemill.models.store import cache_folder

# Largest difference between a row alone and the same row in a batch, relative to the largest output.
_TOLERANCE = 1e-4
_QUANTIZED = "it has DynamicQuantizeLinear, whose scale would depend on the other rows of a batch"

MOST_GRAPH_BYTES = (2 << 30) - 1  # what a message of protobuf may have
MOST_TRIAL_VALUES = 1 << 24  # of a row that a model is tried with: a picture of 2048x2048 takes 12.6 million


def load_graph(path: Path, weights: Collection[str] = ()) -> Any:
    """The parsed `onnx.ModelProto` of a file that is safe to run.

    Args:
        weights: files beside it that may hold weights, as they have digests of their own; those stay there.

    Raises:
        ModelError: it is no ONNX file (a pickle, an archive), or keeps weights in other files.
    """
    return parse_graph(read_graph(path), path, weights)


def read_graph(path: Path) -> bytes:
    """The bytes of an ONNX file; raises ModelError where it cannot be read or has more than one can have."""
    try:
        num_bytes = path.stat().st_size
    except OSError as exc:
        raise ModelError(f"model file {path} cannot be read: {exc.strerror}; check the path") from exc
    if num_bytes > MOST_GRAPH_BYTES:
        raise ModelError(
            f"{path} has {num_bytes} bytes, and an ONNX file at most {MOST_GRAPH_BYTES}, as its format "
            "cannot hold more"
        )
    return read_checked(path)


def parse_graph(content: bytes, path: Path, weights: Collection[str] = ()) -> Any:
    """As `load_graph`, of the bytes of the file at `path`."""
    try:
        import onnx
    except ImportError as exc:
        raise ModelError(f"the package onnx is not usable ({exc}); install the extra `cpu` or `gpu`") from exc
    if content[:1] == b"\x80" or content[:2] == b"PK":
        raise ModelError(f"{path} is a pickle or an archive, which can run code; export it as ONNX")
    try:
        model = onnx.load_from_string(content)
    except Exception as exc:  # the parser has classes of its own
        raise ModelError(f"{path} is no valid ONNX model: {str(exc)[:200]}; export it again") from exc
    # What is in the graph the runtime judges when it opens it: `onnx.checker` refuses some that run, such as
    # those whose nodes are not in order.
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{path} is no valid ONNX model: it holds no graph; export it again")
    if external := sorted(set(_external_files(model)).difference(weights)):
        raise ModelError(
            f"{path} keeps weights in other files ({', '.join(external[:3])}), which no digest covers; "
            "save the model as one file"
        )
    return model


def input_shapes(model: Any) -> dict[str, list[int | str]]:
    """Shape of each input that has no weight behind it; an axis of free length is a text."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return {value.name: axes_of(value) for value in model.graph.input if value.name not in weights}


def axes_of(value: Any) -> list[int | str]:
    """Axes of an `onnx.ValueInfoProto`; an open one, which some exports write as -1, is a text."""
    axes = value.type.tensor_type.shape.dim
    return [axis.dim_value if axis.dim_value > 0 else axis.dim_param or "?" for axis in axes]


def check_batching(model: Any, input_size: tuple[int, int] | None) -> tuple[Batching, str]:
    """How a model may be batched (as in `ModelEntry.batching`), and why, in words.

    A batch is trusted only after random rows gave the same outputs together as alone.

    Args:
        input_size: (width, height) to try where the model leaves the picture's size open.
    """
    firsts = [shape[0] if shape else 0 for shape in input_shapes(model).values()]
    if any(node.op_type == "DynamicQuantizeLinear" for node in _nodes(model)):
        return "none", _QUANTIZED
    if firsts and all(isinstance(first, str) for first in firsts):
        problem = _difference(model, model, input_size)
        return ("none", problem) if problem else ("dynamic", "takes any number of rows; verified")
    if firsts and all(first == 1 for first in firsts):
        problem = _difference(model, free_batch_axis(model), input_size)
        return ("none", problem) if problem else ("fixed", "made dynamic, equal on random rows")
    return "none", f"the first axes of its inputs ({', '.join(map(str, firsts))}) are not one batch"


def free_batch_axis(model: Any) -> Any:
    """A copy of a model for one row that takes any number: to be verified, since it is a guess.

    The first axis of inputs and outputs gets a name instead of 1, and a leading 1 in the constant of a
    `Reshape` becomes 0, which ONNX defines as "as it comes in". Measured on YOLOX-nano: difference 0.
    """
    from onnx import ModelProto, numpy_helper

    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for value in [v for v in graph.input if v.name not in tensors] + list(graph.output):
        axes = value.type.tensor_type.shape.dim
        if len(axes) and axes[0].dim_value == 1:
            axes[0].dim_param = "batch"
    del graph.value_info[:]  # shapes inferred for one row
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    for name in {node.input[1] for node in graph.node if node.op_type == "Reshape"} & set(tensors):
        shape = numpy_helper.to_array(tensors[name]).copy()
        if shape.size and shape[0] == 1:
            shape[0] = 0
            tensors[name].CopyFrom(numpy_helper.from_array(shape, tensors[name].name))
    return copy


def dynamic_variant(entry: ModelEntry, path: Path) -> tuple[Path | None, str]:
    """The file of a `fixed` model with a free batch axis, made once and kept in the cache.

    Returns:
        Its path and an empty text, or None and the reason why there is none.
    """
    variant = cache_folder() / "dynamic" / f"{entry.sha256[:32]}-v{BATCH_TRANSFORM_VERSION}.onnx"
    if variant.is_file():
        return variant, ""
    model = load_graph(path)
    batching, reason = check_batching(model, entry.input_size)
    if batching == "dynamic":
        return path, ""
    if batching == "none":
        return None, reason
    with replacing(variant) as file:
        file.write(free_batch_axis(model).SerializeToString())
    return variant, ""


def _difference(alone: Any, together: Any, input_size: tuple[int, int] | None) -> str:
    """Why rows of `together` in a batch are not those of `alone` one by one; empty where they are."""
    rows = trial_rows(alone, input_size)
    if rows is None:
        return "its inputs have open axes besides the first; state the input size to have it tried"
    count = len(next(iter(rows.values())))
    try:
        single, batched = _open(alone), _open(together)
        expected = [single.run(None, {k: v[i : i + 1] for k, v in rows.items()}) for i in range(count)]
        got = batched.run(None, rows)
    except Exception as exc:  # ONNX Runtime raises a class of its own for each status code
        return f"a batch does not run: {str(exc)[:200]}"
    for index, output in enumerate(got):
        if any(np.shape(row[index])[:1] != (1,) for row in expected) or np.shape(output)[:1] != (count,):
            return f"output {index} has no batch axis"
        want = np.concatenate([row[index] for row in expected]).astype(np.float64)
        limit = _TOLERANCE * max(1.0, float(np.abs(want).max(initial=0)))
        worst = float(np.abs(output - want).max(initial=0))
        if output.shape != want.shape or not worst <= limit:
            return f"output {index} differs by {worst:g} between a batch and single rows (limit {limit:g})"
    return ""


def closed_rows(model: Any, input_size: tuple[int, int] | None) -> dict[str, tuple[int, ...]]:
    """Shape of one row of each input; empty where an axis stays open or there is no batch."""
    closed = {name: _closed(shape[1:], input_size) for name, shape in input_shapes(model).items() if shape}
    rows = {name: tuple(axes) for name, axes in closed.items() if axes is not None}
    return rows if len(rows) == len(input_shapes(model)) else {}


def trial_rows(model: Any, input_size: tuple[int, int] | None) -> dict[str, npt.NDArray[Any]] | None:
    """Random rows in the ranges that models are fed with: 0..1, 0..255 and around 0; None for open axes.

    Raises:
        ModelError: a row is larger than any that models take.
    """
    from onnx import helper

    rng = np.random.default_rng(0)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    rows = {}
    for name, shape in input_shapes(model).items():
        axes = _closed(shape[1:], input_size)
        if axes is None:
            return None
        if math.prod(axes) > MOST_TRIAL_VALUES:
            raise ModelError(
                f"input {name!r} takes {' x '.join(map(str, axes))} values a row, and a model at most "
                f"{MOST_TRIAL_VALUES:,}; export it for smaller ones"
            )
        values = np.stack([rng.random(axes), rng.random(axes) * 255, rng.standard_normal(axes)])
        dtype = helper.tensor_dtype_to_np_dtype(types[name])
        rows[name] = values.astype(dtype) if dtype.kind == "f" else np.abs(values).astype(dtype)
    return rows


def _closed(axes: Sequence[int | str], input_size: tuple[int, int] | None) -> list[int] | None:
    if input_size and len(axes) == 3:
        width, height = input_size
        last = axes[2] in (1, 3)
        sizes: Sequence[int | str] = (height, width, axes[2]) if last else (axes[0], height, width)
        axes = [size if isinstance(axis, str) else axis for axis, size in zip(axes, sizes, strict=True)]
    closed = [axis for axis in axes if isinstance(axis, int)]
    return closed if len(closed) == len(axes) else None


def _open(model: Any) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
                yield from _graphs(inner)


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _external_files(model: Any) -> Iterator[str]:
    """Names of the files that tensors of the model point to."""
    for graph in _graphs(model.graph):
        for tensor in graph.initializer:
            yield from _location(tensor)
        for sparse in graph.sparse_initializer:
            yield from _location(sparse.values)
            yield from _location(sparse.indices)
    for node in _nodes(model):
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                yield from _location(tensor)


def _location(tensor: Any) -> Iterator[str]:
    if tensor.data_location == tensor.EXTERNAL:
        yield next((e.value for e in tensor.external_data if e.key == "location"), "unnamed")
