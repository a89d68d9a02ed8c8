"""What the families of models take, and detectors give, so that a file of another layout is refused.

yolox: Ge et al., arXiv:2107.08430; the graph of the authors' export.
yolov8: the raw head of Ultralytics' export (YOLOv8, YOLO11): centres and sizes, then a score per class.
yolo_end_to_end: exports that choose among the boxes themselves (YOLOv10, or with suppression built in).
rtdetr, dfine: the deployed graphs of the authors of RT-DETR (Zhao et al., arXiv:2304.08069) and D-FINE
(Peng et al., arXiv:2410.13842), which take the size that boxes are wanted in.
detr: the bare network of either, as Hugging Face's exports give it: a logit per class and relative boxes.
rfdetr: the same of RF-DETR (Roboflow, 2025), whose classes are numbered as COCO does it.
rtmpose, rtmo: the graphs of MMPose's SDK.
transnetv2, transnetv2_bytes: exports of TransNet V2 (Soucek and Lokoc, arXiv:2008.04838) that take float32,
or bytes; what each calls its two outputs differs, their order does not.
depth_anything: Depth Anything V2 (Yang et al., arXiv:2406.09414), pictures of any size in multiples of 14.
owlv2: OWLv2 (Minderer et al., arXiv:2306.09683) as Hugging Face's Optimum exports it: words and picture in
one graph, a logit per place and word, and relative boxes.

Other families are described where they are decoded (`ops.faces.decoders`, `ops.objects.pose_families` and so
on); what they give is checked there, at the first call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from framemill.errors import ModelError
from framemill.models.entry import ModelEntry

# Axes of inputs or outputs by name; None is an axis of any length. The name "" stands for the only one
# there is, whatever the export calls it.
Shapes = Mapping[str, tuple[int | None, ...]]

# Families whose graph has a second input: the (width, height) that boxes are stated in, int64 [n, 2].
SIZED_FAMILIES = ("rtdetr", "dfine")
# Families that take normalised pictures with their channels first, or last; they need a picture size, which
# the entry states where the graph does not.
PLANAR_FAMILIES = (
    *(
        "yolox",
        "yolov8",
        "yolo_end_to_end",
        "rtdetr",
        "dfine",
        "detr",
        "rfdetr",
        "ultraface",
        "yunet",
        "scrfd",
    ),
    *("fer_aligned", "hsemotion"),
    *("arcface", "fer_rgb", "rtmpose", "rtmo", "imagenet", "nima", "text_orientation"),
    *("clip", "siglip", "dinov2", "dinov3"),
    *("eye_state", "ocec"),
)
CHANNELS_LAST_FAMILIES: Mapping[str, int] = {
    "blazepose": 3,
    "fer": 1,
    "mobilenet_embed": 3,
    "nima_keras": 3,
    "open_nsfw": 3,
}

# Families that take pictures as bytes; all others take float32.
_BYTES_FAMILIES = ("mobilenet_embed", "transnetv2_bytes")
# Inputs beside the pictures: sizes, and words as tokens.
_BESIDE = ("orig_target_sizes", "input_ids", "attention_mask")
# Families whose outputs are known by their order; an axis of length 1 at their end says nothing.
_ORDERED_FAMILIES = ("transnetv2", "transnetv2_bytes")

# `onnx.TensorProto`'s numbers of element types, without the cost of importing it.
_FLOAT32, _UINT8 = 1, 2
_TYPES = {
    _FLOAT32: "float32",
    _UINT8: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    10: "float16",
    11: "float64",
}


def expected_inputs(entry: ModelEntry) -> Shapes:
    """What a model of the entry's family takes; empty where that is looked at by the runtime alone."""
    width, height = entry.input_size or (None, None)
    picture: Mapping[str, Shapes] = {
        **{family: {"": (None, 3, height, width)} for family in PLANAR_FAMILIES},
        **{family: {"": (None, height, width, n)} for family, n in CHANNELS_LAST_FAMILIES.items()},
        **{
            family: {"images": (None, 3, height, width), "orig_target_sizes": (None, 2)}
            for family in SIZED_FAMILIES
        },
        "dbnet": {"": (None, 3, None, None)},
        "depth_anything": {"": (None, 3, None, None)},
        "owlv2": {
            "input_ids": (None, None),
            "attention_mask": (None, None),
            "pixel_values": (None, 3, height, width),
        },
        **{family: {"": (None, 100, 27, 48, 3)} for family in _ORDERED_FAMILIES},
        "ctc_text": {"": (None, 3, height, None)},
        "laion": {"": (None, None)},
        "yamnet": {"": (None,)},
        "panns": {"": (None, None)},
        "panns_16k": {"": (None, None)},
        "vggish": {"": (None, 1, 96, 64)},
        "openl3": {"": (None, 1, None)},
        "clap": {"": (None, 1, 1001, 64)},
        "pyannote_powerset": {"": (None, 1, None)},
        "wespeaker": {"": (None, None, None)},
        "3d_speaker": {"": (None, None, 80)},
        "ge2e": {"": (None, None, 40)},
    }
    return picture.get(entry.family, {})


def expected_outputs(entry: ModelEntry) -> Shapes:
    """What a detector, a model of poses by names, or one of shots, depth or moderation of the family gives.

    Empty for yolox, whose rows depend on its grid, and for all others.
    """
    num_labels = len(entry.labels)
    if _is_sized(entry):
        return {"labels": (None, None), "boxes": (None, None, 4), "scores": (None, None)}
    bare: Shapes = {"logits": (None, None, num_labels), "pred_boxes": (None, None, 4)}
    shapes: Mapping[str, Shapes] = {
        "detr": bare,
        "rfdetr": bare,
        "yolov8": {"": (None, 4 + num_labels, None)},
        "yolo_end_to_end": {"": (None, None, 6)},
        "rtmpose": {"simcc_x": (None, None, None), "simcc_y": (None, None, None)},
        "rtmo": {"dets": (None, None, 5), "keypoints": (None, None, None, 3)},
        "open_nsfw": {"": (None, 2)},
        "depth_anything": {"": (None, None, None)},
        "owlv2": {"logits": (None, None, None), "pred_boxes": (None, None, 4)},
        **{family: {"single": (None, 100), "many": (None, 100)} for family in _ORDERED_FAMILIES},
    }
    return shapes.get(entry.family, {})


def check_outputs(entry: ModelEntry, found: Mapping[str, Sequence[int | str]]) -> None:
    """Raises ModelError where outputs (axes by name, a text for an open one) are not the family's.

    Outputs besides those of the family are of no concern.
    """
    wanted = expected_outputs(entry)
    if entry.family in _ORDERED_FAMILIES and len(found) == len(wanted):
        flat = (axes[:-1] if len(axes) == 3 and axes[-1] == 1 else axes for axes in found.values())
        ours: Mapping[str, Sequence[int | str]] = dict(zip(wanted, flat, strict=True))
    else:
        ours = found if "" in wanted else {name: axes for name, axes in found.items() if name in wanted}
    if wanted and not _fits(wanted, ours):
        raise ModelError(_complaint(entry, "gives", wanted, found))


def check_graph(entry: ModelEntry, model: Any) -> None:
    """Checks what an `onnx.ModelProto` states of itself against the entry's family.

    Raises:
        ModelError: it takes or gives something else, or takes pictures of a size that nothing states.
    """
    from framemill.models.onnx_batching import axes_of  # planning imports this module, and wants no NumPy

    weights = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in weights]
    wanted, inputs = expected_inputs(entry), {value.name: axes_of(value) for value in values}
    if wanted and not _fits(wanted, inputs):
        raise ModelError(_complaint(entry, "takes", wanted, inputs))
    kind = _UINT8 if entry.family in _BYTES_FAMILIES else _FLOAT32
    pictures = {value.type.tensor_type.elem_type for value in values if value.name not in _BESIDE}
    if wanted and pictures != {kind}:
        found = ", ".join(_TYPES.get(number, f"element type {number}") for number in sorted(pictures))
        raise ModelError(
            f"{entry.role}: model {entry.name} takes {found}, but family {entry.family!r} takes "
            f"{_TYPES[kind]}; export it so"
        )
    if entry.input_size is None and entry.family in (*PLANAR_FAMILIES, *CHANNELS_LAST_FAMILIES):
        raise ModelError(
            f"{entry.role}: model {entry.name} takes pictures of any size, so the entry must state one; "
            "add it with `input_size='WIDTHxHEIGHT'`"
        )
    check_outputs(entry, {value.name: axes_of(value) for value in model.graph.output})


def _is_sized(entry: ModelEntry) -> bool:
    return entry.family in SIZED_FAMILIES


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
    labels = f" with {len(entry.labels)} labels" if entry.role == "objects" else ""
    return (
        f"{entry.role}: model {entry.name} {verb} {_words(found)}, but family {entry.family!r}{labels} asks "
        f"for {_words(wanted)}; add it with its own family, input size and labels"
    )


def _words(shapes: Mapping[str, Sequence[int | str | None]]) -> str:
    return ", ".join(
        f"{name} [{', '.join('any' if axis is None else str(axis) for axis in axes)}]".strip()
        for name, axes in shapes.items()
    )
