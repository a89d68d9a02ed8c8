"""Decoding the raw outputs of object detectors, by family (layouts: `framemill.models.model_io`).

Each decoder takes the outputs for one picture by name, without the batch axis, the picture's
(width, height) in pixels and the least score, and gives the `Detections` that reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import Float32Array, Int64Array
from framemill.ops.pixels.boxes import letterbox_size

STRIDES = (8, 16, 32)
Outputs = Mapping[str, npt.NDArray[Any]]


class Detections(NamedTuple):
    """Objects of one picture.

    Attributes:
        scores: float32 [k], 0..1. labels: int64 [k]. boxes: float32 [k, 4] in the model's pixels.
    """

    scores: Float32Array
    labels: Int64Array
    boxes: Float32Array


class Family(NamedTuple):
    """How a family of detectors is fed and read.

    Attributes:
        placing: where the frame lies in the model's picture: in its top left corner or its middle, the
            rest grey, or stretched over all of it.
        overlapping: whether the model finds one object several times, so that overlaps need NMS.
    """

    decode: Callable[[Outputs, tuple[int, int], float], Detections]
    placing: Literal["corner", "centre", "stretched"]
    overlapping: bool


def placed(
    display: tuple[int, int], size: tuple[int, int], placing: str
) -> tuple[tuple[int, int], tuple[int, int], tuple[float, float]]:
    """How a frame is laid into the model's picture.

    YOLOX's authors cut both sides off to whole pixels after multiplying in floating point, and divide boxes
    by the one ratio; a frame of 768 x 432 so has 233 rows of 416, not 234. Networks notice: with one row
    more, the scores of yolox_nano differ from theirs by up to 0.08.

    Args:
        display, size: (width, height) of the frame and of the model's picture. placing: as in `Family`.

    Returns:
        (width, height) of the frame inside, (left, top) of its corner, and display pixels across and down for
        each pixel of the model's.
    """
    if placing == "corner":
        ratio = min(size[0] / display[0], size[1] / display[1])
        within = (max(1, int(display[0] * ratio)), max(1, int(display[1] * ratio)))
        return within, (0, 0), (1 / ratio, 1 / ratio)
    inner = size if placing == "stretched" else letterbox_size(*display, size)
    corner = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
    return inner, corner, (display[0] / inner[0], display[1] / inner[1])


@lru_cache(maxsize=8)
def cell_grid(size: tuple[int, int]) -> tuple[Float32Array, Float32Array]:
    """Column and row of every cell, float32 [cells, 2], and its stride in pixels, float32 [cells, 1]."""
    places, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: size[1] // stride, : size[0] // stride]
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode_yolox(outputs: Outputs, size: tuple[int, int], least_score: float) -> Detections:
    """YOLOX: float32 [cells, 5 + classes]: centre, logarithm of the size, objectness, class probabilities.

    The export leaves the last step to the caller: an anchor-free grid at three strides, where a cell
    states its box's centre relative to itself and the logarithm of its size, in units of the stride.
    """
    (cells,) = outputs.values()
    # A class probability is at most 1, so objectness alone rules out nearly every cell.
    at = np.flatnonzero(cells[:, 4] >= least_score)
    picked = cells[at]
    labels = picked[:, 5:].argmax(axis=1)
    scores = picked[:, 4] * picked[np.arange(len(at)), 5 + labels]
    good = scores >= least_score
    at, picked = at[good], picked[good]
    places, strides = cell_grid(size)
    centres = (picked[:, :2] + places[at]) * strides[at]
    with np.errstate(over="ignore"):  # a size beyond float32 is clipped to the frame
        sizes = np.exp(picked[:, 2:4]) * strides[at]
    return Detections(scores[good], labels[good], _around(centres, sizes))


def decode_yolov8(outputs: Outputs, size: tuple[int, int], least_score: float) -> Detections:
    """YOLOv8: float32 [4 + classes, guesses]: centre and size in the model's pixels, a score per class."""
    (guesses,) = outputs.values()
    best = guesses[4:].max(axis=0)
    at = np.flatnonzero(best >= least_score)
    picked = guesses[:, at].T
    return Detections(best[at], picked[:, 4:].argmax(axis=1), _around(picked[:, :2], picked[:, 2:4]))


def decode_end_to_end(outputs: Outputs, size: tuple[int, int], least_score: float) -> Detections:
    """End-to-end YOLO: float32 [objects, 6]: left, top, right, bottom in the model's pixels, score, label."""
    (rows,) = outputs.values()
    picked = rows[rows[:, 4] >= least_score]
    return Detections(picked[:, 4], picked[:, 5].astype(np.int64), picked[:, :4])


def decode_sized(outputs: Outputs, size: tuple[int, int], least_score: float) -> Detections:
    """RT-DETR and D-FINE as deployed: `labels` [q], `boxes` [q, 4] in the size asked for, `scores` [q]."""
    scores = outputs["scores"]
    good = scores >= least_score
    return Detections(scores[good], outputs["labels"][good].astype(np.int64), outputs["boxes"][good])


def decode_detr(outputs: Outputs, size: tuple[int, int], least_score: float) -> Detections:
    """RT-DETR, D-FINE and RF-DETR bare: `logits` [q, classes]; `pred_boxes` [q, 4], centre and size, 0..1.

    Every class of a query stands for itself (focal loss), so a query may be read as several objects.
    """
    with np.errstate(over="ignore"):
        scores: Float32Array = np.reciprocal(1 + np.exp(-outputs["logits"]))
    queries, labels = np.nonzero(scores >= least_score)
    boxes = outputs["pred_boxes"][queries] * np.array(size * 2, np.float32)
    return Detections(scores[queries, labels], labels, _around(boxes[:, :2], boxes[:, 2:]))


def _around(centres: Float32Array, sizes: Float32Array) -> Float32Array:
    halves = sizes / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)


FAMILIES: Mapping[str, Family] = {
    "yolox": Family(decode_yolox, "corner", True),
    "yolov8": Family(decode_yolov8, "centre", True),
    "yolo_end_to_end": Family(decode_end_to_end, "centre", False),
    "rtdetr": Family(decode_sized, "stretched", False),
    "dfine": Family(decode_sized, "stretched", False),
    "detr": Family(decode_detr, "stretched", False),
    "rfdetr": Family(decode_detr, "stretched", False),
}
