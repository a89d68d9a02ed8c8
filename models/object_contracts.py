"""What the families of object detectors take and give, so that a file of another layout is refused.

yolox: Ge et al., arXiv:2107.08430; the graph of the authors' export.
yolov8: the raw head of Ultralytics' export (YOLOv8, YOLO11): centres and sizes, then a score per class.
yolo_end_to_end: exports that choose among the boxes themselves (YOLOv10, or with suppression built in).
rtdetr, dfine: the deployed graphs of the authors of RT-DETR (Zhao et al., arXiv:2304.08069) and D-FINE
(Peng et al., arXiv:2410.13842), which are told the size that boxes are wanted in.
detr: the bare network of either, as Hugging Face's exports give it: a logit per class and relative boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.entry import ModelEntry
from models.errors import ModelError

# Axes of inputs or outputs by name; None is an axis of any length. The name "" stands for the only one
# there is, whatever the export calls it.
Shapes = Mapping[str, tuple[int | None, ...]]

# How each family's pictures are normalised unless the entry says otherwise.
_UNIT_RGB: Mapping[str, Any] = {"colour": "rgb", "mean": (), "scale": (1 / 255,)}
OBJECT_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "yolox": {"colour": "bgr", "mean": (), "scale": ()},
    "yolov8": _UNIT_RGB,
    "yolo_end_to_end": _UNIT_RGB,
    "rtdetr": _UNIT_RGB,
    "dfine": _UNIT_RGB,
    "detr": _UNIT_RGB,
}
# Families whose graph has a second input: the (width, height) that boxes are stated in, int64 [n, 2].
SIZED_FAMILIES = ("rtdetr", "dfine")
OBJECT_FAMILIES: Mapping[str, tuple[str, ...]] = {"objects": tuple(OBJECT_DEFAULTS)}

_FLOAT16 = 10  # `onnx.TensorProto.FLOAT16`, without the cost of importing it


def input_contract(entry: ModelEntry) -> Shapes:
    """What a detector of the entry's family takes."""
    width, height = entry.input_size or (None, None)
    picture = (None, 3, height, width)
    return {"images": picture, "orig_target_sizes": (None, 2)} if _is_sized(entry) else {"": picture}


def output_contract(entry: ModelEntry) -> Shapes:
    """What a detector of the entry's family gives; empty for yolox, whose rows depend on its grid."""
    num_labels = len(entry.labels)
    if _is_sized(entry):
        return {"labels": (None, None), "boxes": (None, None, 4), "scores": (None, None)}
    shapes: Mapping[str, Shapes] = {
        "yolov8": {"": (None, 4 + num_labels, None)},
        "yolo_end_to_end": {"": (None, None, 6)},
        "detr": {"logits": (None, None, num_labels), "pred_boxes": (None, None, 4)},
    }
    return shapes.get(entry.family, {})


def check_outputs(entry: ModelEntry, found: Mapping[str, Sequence[int | str]]) -> None:
    """Raises ModelError where outputs (axes by name, a text for an open one) are not the family's.

    Outputs besides those of the family are of no concern.
    """
    wanted = output_contract(entry)
    ours = found if "" in wanted else {name: axes for name, axes in found.items() if name in wanted}
    if wanted and not _fits(wanted, ours):
        raise ModelError(_complaint(entry, "gives", wanted, found))


def check_graph(entry: ModelEntry, model: Any) -> None:
    """Raises ModelError where an `onnx.ModelProto` states other inputs or outputs than its family's."""
    if entry.role != "objects":
        return
    weights = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in weights]
    inputs = {value.name: _axes(value) for value in values}
    if not _fits(input_contract(entry), inputs):
        raise ModelError(_complaint(entry, "takes", input_contract(entry), inputs))
    if any(value.type.tensor_type.elem_type == _FLOAT16 for value in values):
        raise ModelError(f"objects: model {entry.name} takes float16, not float32; export it without halving")
    check_outputs(entry, {value.name: _axes(value) for value in model.graph.output})


def _is_sized(entry: ModelEntry) -> bool:
    return entry.family in SIZED_FAMILIES


def _axes(value: Any) -> list[int | str]:
    return [axis.dim_value or axis.dim_param or "?" for axis in value.type.tensor_type.shape.dim]


def _fits(wanted: Shapes, found: Mapping[str, Sequence[int | str]]) -> bool:
    if "" in wanted and len(found) == 1:
        found = {"": next(iter(found.values()))}
    return set(found) == set(wanted) and all(
        not found[name]  # the graph does not state it
        or (
            len(found[name]) == len(axes)
            and all(a is None or isinstance(b, str) or a == b for a, b in zip(axes, found[name], strict=True))
        )
        for name, axes in wanted.items()
    )


def _complaint(entry: ModelEntry, verb: str, wanted: Shapes, found: Mapping[str, Sequence[int | str]]) -> str:
    return (
        f"objects: model {entry.name} {verb} {_words(found)}, but family {entry.family!r} with "
        f"{len(entry.labels)} labels asks for {_words(wanted)}; add it with its own family, input size "
        "and labels"
    )


def _words(shapes: Mapping[str, Sequence[int | str | None]]) -> str:
    return ", ".join(
        f"{name} [{', '.join('any' if axis is None else str(axis) for axis in axes)}]".strip()
        for name, axes in shapes.items()
    )
