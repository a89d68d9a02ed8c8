"""Decoding the raw outputs of object detectors, by family (layouts: `framemill.models.model_io`).

Each decoder takes the outputs for a batch of pictures by name, their (width, height) in pixels and the least
score, and gives the `Candidates` that reach it, wherever the outputs lie: of those on a device, nothing else
needs to be copied to the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np

from framemill.models.arrays import array_module
from framemill.ops.chunks import Float32Array, Int64Array
from framemill.ops.pixels.boxes import letterbox_size

STRIDES = (8, 16, 32)
Outputs = Mapping[str, Any]


class Detections(NamedTuple):
    """Objects of one picture.

    Attributes:
        scores: float32 [k], 0..1. labels: int64 [k]. boxes: float32 [k, 4] in display pixels.
    """

    scores: Float32Array
    labels: Int64Array
    boxes: Float32Array


class Candidates(NamedTuple):
    """Objects of a batch of pictures before overlapping ones are dropped, by picture.

    Attributes:
        pictures: int64 [k], 0-based position in the batch of the picture that each is in.
        scores: float32 [k], 0..1. labels: int64 [k]. boxes: float32 [k, 4] in the model's pixels.
    """

    pictures: Int64Array
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

    decode: Callable[[Outputs, tuple[int, int], float], Candidates]
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
def cell_grid(size: tuple[int, int], xp: ModuleType = np) -> tuple[Float32Array, Float32Array]:
    """Column and row of every cell, float32 [cells, 2], and its stride in pixels, float32 [cells, 1].

    Args:
        size: (width, height) of the picture. xp: the module of arrays to give them in.
    """
    places, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: size[1] // stride, : size[0] // stride]
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    grid = (np.concatenate(parts).astype(np.float32) for parts in (places, strides))
    return tuple(xp.asarray(part) for part in grid)


def decode_yolox(outputs: Outputs, size: tuple[int, int], least_score: float) -> Candidates:
    """YOLOX: float32 [n, cells, 5 + classes]: centre, logarithm of the size, objectness, class probabilities.

    The export leaves the last step to the caller: an anchor-free grid at three strides, where a cell
    states its box's centre relative to itself and the logarithm of its size, in units of the stride.
    """
    (cells,) = outputs.values()
    xp, num_cells = array_module(cells), cells.shape[1]
    # A class probability is at most 1, so objectness alone rules out nearly every cell.
    at = _reaching(cells[:, :, 4], least_score)
    picked = _rows(cells, at)
    labels, shares = _best(picked[:, 5:])
    scores = picked[:, 4] * shares
    good = _reaching(scores, least_score)
    at, labels, scores = (xp.take(part, good) for part in (at, labels, scores))
    picked = xp.take(picked, good, axis=0)
    places, strides = (xp.take(part, at % num_cells, axis=0) for part in cell_grid(size, xp))
    centres = (picked[:, :2] + places) * strides
    with np.errstate(over="ignore"):  # a size beyond float32 is clipped to the frame
        sizes = xp.exp(picked[:, 2:4]) * strides
    return Candidates(at // num_cells, scores, labels, _around(centres, sizes))


def decode_yolov8(outputs: Outputs, size: tuple[int, int], least_score: float) -> Candidates:
    """YOLOv8: float32 [n, 4 + classes, guesses]: centre and size in the model's pixels, a score per class."""
    (guesses,) = outputs.values()
    xp = array_module(guesses)
    _, num_values, num_guesses = guesses.shape
    best = xp.max(guesses[:, 4:, :], axis=1)
    at = _reaching(best, least_score)
    pictures = at // num_guesses
    # What is told of a guess lies as far apart as there are guesses.
    first = pictures * (num_values * num_guesses) + at % num_guesses
    places = first[:, None] + xp.arange(num_values)[None, :] * num_guesses
    values = xp.take(xp.reshape(guesses, (-1,)), xp.reshape(places, (-1,)))
    picked = xp.reshape(values, (-1, num_values))
    labels, scores = _best(picked[:, 4:])
    return Candidates(pictures, scores, labels, _around(picked[:, :2], picked[:, 2:4]))


def decode_end_to_end(outputs: Outputs, size: tuple[int, int], least_score: float) -> Candidates:
    """End-to-end YOLO: float32 [n, objects, 6]: edges in the model's pixels (left, top ..), score, label."""
    (rows,) = outputs.values()
    at = _reaching(rows[:, :, 4], least_score)
    picked = _rows(rows, at)
    return Candidates(at // rows.shape[1], picked[:, 4], _whole(picked[:, 5]), picked[:, :4])


def decode_sized(outputs: Outputs, size: tuple[int, int], least_score: float) -> Candidates:
    """RT-DETR and D-FINE deployed: `labels` and `scores` [n, q], `boxes` [n, q, 4] in the size asked for."""
    scores = outputs["scores"]
    xp, at = array_module(scores), _reaching(scores, least_score)
    chosen, labels = (xp.take(xp.reshape(part, (-1,)), at) for part in (scores, outputs["labels"]))
    return Candidates(at // scores.shape[1], chosen, _whole(labels), _rows(outputs["boxes"], at))


def decode_detr(outputs: Outputs, size: tuple[int, int], least_score: float) -> Candidates:
    """RT-DETR, D-FINE, RF-DETR bare: `logits` [n, q, classes]; `pred_boxes` [n, q, 4], centre, size, 0..1.

    Every class of a query stands for itself (focal loss), so a query may be read as several objects.
    """
    logits = outputs["logits"]
    xp = array_module(logits)
    _, num_queries, num_classes = logits.shape
    with np.errstate(over="ignore"):
        scores = xp.reciprocal(1 + xp.exp(-logits))
    at = _reaching(scores, least_score)
    query = at // num_classes
    boxes = _rows(outputs["pred_boxes"], query) * xp.asarray(size * 2, dtype=xp.float32)
    chosen = xp.take(xp.reshape(scores, (-1,)), at)
    around = _around(boxes[:, :2], boxes[:, 2:])
    return Candidates(query // num_queries, chosen, at % num_classes, around)


def _reaching(scores: Any, least_score: float) -> Int64Array:
    """Positions in the flattened array of the scores that reach the least."""
    xp = array_module(scores)
    reaching: Int64Array = xp.nonzero(xp.reshape(scores >= least_score, (-1,)))[0]
    return reaching


def _rows(values: Any, at: Int64Array) -> Float32Array:
    """Rows of values [n, q, m] by their position among all n * q."""
    xp = array_module(values)
    rows: Float32Array = xp.take(xp.reshape(values, (-1, values.shape[2])), at, axis=0)
    return rows


def _best(values: Any) -> tuple[Int64Array, Float32Array]:
    """Position and value of the largest in each row."""
    xp = array_module(values)
    return xp.argmax(values, axis=1), xp.max(values, axis=1)


def _whole(labels: Any) -> Int64Array:
    xp = array_module(labels)
    whole: Int64Array = xp.astype(labels, xp.int64)
    return whole


def _around(centres: Float32Array, sizes: Float32Array) -> Float32Array:
    halves = sizes / 2
    around: Float32Array = array_module(sizes).concat([centres - halves, centres + halves], axis=1)
    return around


FAMILIES: Mapping[str, Family] = {
    "yolox": Family(decode_yolox, "corner", True),
    "yolov8": Family(decode_yolov8, "centre", True),
    "yolo_end_to_end": Family(decode_end_to_end, "centre", False),
    "rtdetr": Family(decode_sized, "stretched", False),
    "dfine": Family(decode_sized, "stretched", False),
    "detr": Family(decode_detr, "stretched", False),
    "rfdetr": Family(decode_detr, "stretched", False),
}
