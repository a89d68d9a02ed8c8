"""How pictures of each family are coloured and normalised, and its classes named, where an entry does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PLAIN_BGR: Mapping[str, Any] = {"colour": "bgr", "mean": (), "scale": ()}
_PLAIN_RGB: Mapping[str, Any] = {**_PLAIN_BGR, "colour": "rgb"}
# 0..255 to 0..1, and to -1..1.
_UNIT_RGB: Mapping[str, Any] = {"colour": "rgb", "mean": (), "scale": (1 / 255,)}
_CENTRED_RGB: Mapping[str, Any] = {"colour": "rgb", "mean": (127.5,), "scale": (1 / 127.5,)}
_CENTRED_BGR: Mapping[str, Any] = {**_CENTRED_RGB, "colour": "bgr"}
# Mean and deviation of ImageNet's pictures, in 0..255.
_IMAGENET: Mapping[str, Any] = {
    "colour": "rgb",
    "mean": (123.675, 116.28, 103.53),
    "scale": (1 / 58.395, 1 / 57.12, 1 / 57.375),
}
# Those of the pictures that CLIP was trained with (Radford et al., arXiv:2103.00020).
_CLIP: Mapping[str, Any] = {
    "colour": "rgb",
    "mean": tuple(255 * part for part in (0.48145466, 0.4578275, 0.40821073)),
    "scale": tuple(1 / (255 * part) for part in (0.26862954, 0.26130258, 0.27577711)),
}
_AUDIOSET: Mapping[str, Any] = {"colour": "", "mean": (), "scale": (), "labels": "audioset527"}

FAMILY_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "yolox": _PLAIN_BGR,
    **dict.fromkeys(("yolov8", "yolo_end_to_end", "rtdetr", "dfine", "detr"), _UNIT_RGB),
    "rfdetr": {**_IMAGENET, "labels": "coco91"},
    "ultraface": {"colour": "rgb", "mean": (127.0,), "scale": (1 / 128,)},
    "yunet": _PLAIN_BGR,
    "scrfd": {"colour": "rgb", "mean": (127.5,), "scale": (1 / 128,)},
    "arcface": _CENTRED_RGB,
    "fer": {"colour": "gray", "mean": (127.5,), "scale": (1 / 127.5,)},
    **dict.fromkeys(("fer_rgb", "fer_aligned"), _CENTRED_RGB),
    "hsemotion": _IMAGENET,
    "eye_state": {"colour": "bgr", "mean": (127.0,), "scale": (1 / 255,)},
    "ocec": {**_UNIT_RGB, "labels": ("open",)},
    "blazepose": _UNIT_RGB,
    "rtmo": _PLAIN_BGR,
    "imagenet": {**_IMAGENET, "labels": "imagenet1000"},
    **dict.fromkeys(("rtmpose", "dinov2", "dinov3"), _IMAGENET),
    "siglip": _CENTRED_RGB,
    **dict.fromkeys(("clip", "owlv2"), _CLIP),
    # DINOv2 is what Depth Anything V2 sees with.
    "depth_anything": _IMAGENET,
    **dict.fromkeys(("transnetv2", "transnetv2_bytes", "mobilenet_embed"), _PLAIN_RGB),
    # The means of Caffe's models, in its order of channels.
    "open_nsfw": {"colour": "bgr", "mean": (104.0, 117.0, 123.0), "scale": ()},
    "nima": _IMAGENET,
    "nima_keras": _CENTRED_RGB,
    **dict.fromkeys(("dbnet", "ctc_text", "text_orientation"), _CENTRED_BGR),
    **dict.fromkeys(("panns", "panns_16k"), _AUDIOSET),
}
