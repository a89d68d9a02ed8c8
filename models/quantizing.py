"""Eight-bit variants of a model, with scales calibrated on real rows.

Two files are made. Processors multiply unsigned activations by signed weights (VNNI: U8S8); TensorRT takes
signed ones on both sides, with their zero in the middle (S8S8). Both hold float weights beside
QuantizeLinear and DequantizeLinear pairs, so that any provider can run them. Only convolutions and matrix
products are eight-bit, and never the last ones, whose outputs are the result. Nagel et al., "A White Paper
on Neural Network Quantization", arXiv:2106.08295.

The scales are fixed, so rows do not depend on their neighbours, and the batch axis is free where the
original's could be freed.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from framemill.errors import ModelError
from framemill.models.checked_files import check_file
from framemill.models.folders import digest_file
from framemill.models.onnx_batching import check_batching, free_batch_axis, load_graph
from framemill.models.registry import ModelEntry

# Metadata of the file for processors: the digest of the one for TensorRT, which lies beside it.
_SIGNED_KEY = "framemill.signed_sha256"
# Metadata: the digest of the model that it was made from.
_ORIGIN_KEY = "framemill.origin_sha256"
_OPERATORS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
MIN_ROWS, MAX_ROWS = 8, 24  # calibration holds every layer's output of every row in memory
# Share of values that keep their place; a few outliers would cost all others their precision.
_PERCENTILE = 99.999
_OPSET = 13  # the first in which weights may have a scale for each channel

Rows = Sequence[Mapping[str, npt.NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much of a model becomes eight-bit.

    Attributes:
        name: in words. keep_depthwise: whether convolutions of single channels stay as they are: their few
            weights span wide ranges, and they take little of the time.
    """

    name: str
    keep_depthwise: bool


# Tried in turn until one is accurate enough.
RECIPES = (
    Recipe("all but the last layers", False),
    Recipe("all but the last and the depthwise layers", True),
)


def quantize(entry: ModelEntry, path: Path, rows: Rows, target: Path, recipe: Recipe = RECIPES[0]) -> Path:
    """Writes both files of a model.

    Args:
        entry: the model. path: its file. recipe: what becomes eight-bit.
        rows: calibration: inputs by name, one row each, from real media, at least `MIN_ROWS`.
        target: the file for processors; the other is `<stem>-signed.onnx` beside it.

    Returns:
        `target`.

    Raises:
        ModelError: too few rows, a model without anything to quantise, or one that cannot be.
    """
    if len(rows) < MIN_ROWS:
        raise ModelError(
            f"{len(rows)} rows to calibrate on; at least {MIN_ROWS} are needed: name more videos"
        )
    import onnxruntime as ort

    ort.set_default_logger_severity(3)  # the tools below open the model many times, and it warns each time
    graph = load_graph(path)
    # Weights that are also inputs could be replaced by a caller, so that nothing is folded into them.
    weights = {tensor.name for tensor in graph.graph.initializer}
    for value in [value for value in graph.graph.input if value.name in weights]:
        graph.graph.input.remove(value)
    present = {node.op_type for node in graph.graph.node}
    if "QuantizeLinear" in present or "DynamicQuantizeLinear" in present:
        raise ModelError(f"model {entry.name} is quantised already")
    if not present & set(_OPERATORS):
        raise ModelError(f"model {entry.name} has none of {', '.join(_OPERATORS)}: nothing to quantise")
    if check_batching(graph, entry.input_size)[0] == "fixed":
        graph = free_batch_axis(graph)
    signed = signed_beside(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".quantizing-") as folder:
        plain = Path(folder) / "plain.onnx"
        _prepare(entry, graph, plain)
        kept = _kept_nodes(load_graph(plain), recipe)
        rows = rows[:MAX_ROWS]
        _write(entry, plain, Path(folder) / "signed.onnx", rows, kept, is_signed=True, extra={})
        (Path(folder) / "signed.onnx").replace(signed)
        extra = {_SIGNED_KEY: digest_file(signed), _ORIGIN_KEY: entry.sha256}
        _write(entry, plain, Path(folder) / "unsigned.onnx", rows, kept, is_signed=False, extra=extra)
        (Path(folder) / "unsigned.onnx").replace(target)
    return target


def signed_file(graph: Any, path: Path) -> Path | None:
    """The file for TensorRT that belongs to a quantised one; None where this one is not of that kind.

    Raises:
        ModelError: it belongs to it, but is missing or has other bytes.
    """
    wanted = _metadata(graph, _SIGNED_KEY)
    if not wanted:
        return None
    signed = signed_beside(path)
    if not signed.is_file() or check_file(signed, wanted) != wanted:
        raise ModelError(f"{signed} is missing or changed; run `framemill models quantize` again")
    return signed


def variant_name(entry: ModelEntry) -> str:
    """The name under which the eight-bit variant of a model is registered."""
    return f"{entry.name}-int8"


def is_made_from(variant: ModelEntry, entry: ModelEntry) -> bool:
    """Whether a variant's file is there and was made from the model as it is now.

    Raises:
        ModelError: the file is no ONNX model.
    """
    path = Path(variant.path)
    return path.is_file() and _metadata(load_graph(path), _ORIGIN_KEY) == entry.sha256


def _metadata(graph: Any, key: str) -> str:
    return next((str(item.value) for item in graph.metadata_props if item.key == key), "")


def signed_beside(path: Path) -> Path:
    """Where the file for TensorRT lies that belongs to the one for processors at `path`."""
    return path.with_name(f"{path.stem}-signed.onnx")


def _prepare(entry: ModelEntry, graph: Any, path: Path) -> None:
    """Folds what can be folded and infers the shapes that quantising needs."""
    from onnx import version_converter
    from onnxruntime.quantization.shape_inference import quant_pre_process

    raw = path.with_name("raw.onnx")  # of a model in memory it would put the weights into another file
    try:
        if next(opset.version for opset in graph.opset_import if opset.domain == "") < _OPSET:
            graph = version_converter.convert_version(graph, _OPSET)
        raw.write_bytes(graph.SerializeToString())
        quant_pre_process(str(raw), str(path), skip_symbolic_shape=True)
    except Exception as exc:  # of any class: the optimiser's, the parser's
        raise ModelError(f"model {entry.name} cannot be quantised: {str(exc)[:300]}") from exc
    _name_nodes(path)


def _name_nodes(path: Path) -> None:
    """Gives each node a name of its own: nodes are kept as they are by name, and many exports give none."""
    import onnx

    model = onnx.load(str(path))
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name}#{number}"
        taken.add(node.name)
    onnx.save(model, str(path))


def _write(
    entry: ModelEntry,
    plain: Path,
    path: Path,
    rows: Rows,
    kept: Sequence[str],
    *,
    is_signed: bool,
    extra: Mapping[str, str],
) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    options: dict[str, Any] = {"CalibPercentile": _PERCENTILE}
    if is_signed:
        # TensorRT supports neither zero points nor quantised biases.
        options |= {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
    try:
        # The calibrator prints what it does.
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                str(plain),
                str(path),
                _Rows(rows),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_OPERATORS),
                nodes_to_exclude=list(kept),
                per_channel=True,
                activation_type=QuantType.QInt8 if is_signed else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options=options,
            )
    except Exception as exc:  # of any class: the calibrator's, the runtime's
        raise ModelError(f"model {entry.name} cannot be quantised: {str(exc)[:300]}") from exc
    made = onnx.load(str(path))
    if not any(node.op_type == "QuantizeLinear" for node in made.graph.node):
        raise ModelError(
            f"model {entry.name}: nothing in it became eight-bit: its products are all last layers"
        )
    for key, value in extra.items():
        made.metadata_props.add(key=key, value=value)
    onnx.save(made, str(path))


def _kept_nodes(graph: Any, recipe: Recipe) -> list[str]:
    """Names of the nodes that stay as they are."""
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    kept: list[str] = []
    leads_on: set[str] = set()  # values from which another product follows
    for node in reversed(graph.graph.node):  # which are in the order of their computation
        is_product = node.op_type in _OPERATORS
        if is_product and not leads_on & set(node.output):
            kept.append(node.name)
        if is_product or leads_on & set(node.output):
            leads_on |= set(node.input)
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        first = weights.get(node.input[1]) if is_product and len(node.input) > 1 else None
        if recipe.keep_depthwise and groups > 1 and first is not None and first.dims[1] == 1:
            kept.append(node.name)
    return kept


class _Rows:
    """Calibration rows in the form that ONNX Runtime asks for them."""

    def __init__(self, rows: Rows) -> None:
        self._left: Iterator[Mapping[str, npt.NDArray[Any]]] = iter(rows)

    def get_next(self) -> Mapping[str, npt.NDArray[Any]] | None:
        return next(self._left, None)
