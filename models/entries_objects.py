"""Known models that find objects.

The digests are those that the origins state, each found the same in several published places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framemill.models.entry import ModelEntry
from framemill.models.family_defaults import FAMILY_DEFAULTS

# Class names of the COCO detection task in the order of its 80 training classes.
# fmt: off
COCO_80 = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
    "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on

_MEGVII = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/"
_COMMON: Mapping[str, Any] = {
    "role": "objects",
    "licence": "Apache-2.0",
    "commercial": True,
    "labels": COCO_80,
}


def _yolox(name: str, side: int, sha256: str, num_bytes: int) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="yolox",
        url=f"{_MEGVII}{name}.onnx",
        sha256=sha256,
        num_bytes=num_bytes,
        input_size=(side, side),
        batching="fixed",
        **_COMMON,
        **FAMILY_DEFAULTS["yolox"],
    )


def _dfine(size: str, commit: str, sha256: str, num_bytes: int) -> ModelEntry:
    return ModelEntry(
        name=f"dfine_{size}",
        family="detr",
        url=f"https://huggingface.co/onnx-community/dfine_{size}_coco-ONNX/resolve/{commit}/onnx/model.onnx",
        sha256=sha256,
        num_bytes=num_bytes,
        input_size=(640, 640),
        batching="dynamic",
        **_COMMON,
        **FAMILY_DEFAULTS["detr"],
    )


# The first is the role's default.
OBJECT_ENTRIES: tuple[ModelEntry, ...] = (
    # The same bytes are in opencv_zoo at 371cb249700106b50b2f934b7f18df3f9d127473; the release of the
    # model's authors is the origin of both.
    _yolox("yolox_nano", 416, "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d", 3_659_407),
    _yolox("yolox_tiny", 416, "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7", 20_219_662),
    # Also in opencv_zoo at c79d9191ff792df933d348bd1c4de05edf77ddf9, as object_detection_yolox_2022nov.onnx.
    _yolox("yolox_s", 640, "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063", 35_858_002),
    _dfine(
        "n",
        "380d2839c327efaf65dd0fe0c2c10ab7fadd5473",
        "0f684f409618ee8a822410e754a29caa817d1aa16283ce89cad936d0a48e2f35",
        15_258_358,
    ),
    _dfine(
        "s",
        "a3cf03147a9b86c78475139115c8ac142577352d",
        "cd8a49a945feda6d28c6304ae8ae85c2759ba1d78a5a83a22c5ce8db82ef7238",
        41_535_197,
    ),
    _dfine(
        "m",
        "489756db2825cb068a588fe930af239a656d1fe1",
        "70aaa837978a06ba44ad17398c7079ae5a1a7b1a9032b5d7053981e1ada02d6b",
        78_624_257,
    ),
)
