"""Arithmetic of boxes: letterboxing, overlap, and non-maximum suppression.

Boxes are float32 [n, 4] with columns x0, y0, x1, y1, half-open ranges in pixels.
"""

from __future__ import annotations

import pyarrow as pa

from framemill.models.arrays import argsort, array_module
from framemill.ops.chunks import Float32Array, Int64Array
from framemill.ops.columns import column

BOX = pa.struct(
    [
        column(name, pa.float32(), f"{side} edge in display pixels, within the frame")
        for name, side in (("x0", "left"), ("y0", "top"), ("x1", "right"), ("y1", "bottom"))
    ]
)


def letterbox_size(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the largest picture of the same shape that fits `size`, at least 1 x 1 pixel."""
    across, down = size
    if width * down >= height * across:
        return across, max(1, height * across // width)
    return max(1, width * down // height), down


def areas(boxes: Float32Array) -> Float32Array:
    """Area of each box in square pixels, float32 [n]; 0 where its edges are out of order."""
    xp = array_module(boxes)
    sides = xp.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None)
    product: Float32Array = sides[:, 0] * sides[:, 1]
    return product


def overlaps(box: Float32Array, boxes: Float32Array) -> Float32Array:
    """Intersection over union of one box [4] with each of `boxes`, float32 [n], 0..1; 0 for empty boxes."""
    xp = array_module(boxes)
    low = xp.maximum(box[:2], boxes[:, :2])
    sides = xp.clip(xp.minimum(box[2:], boxes[:, 2:]) - low, 0.0, None)
    shared = sides[:, 0] * sides[:, 1]
    union = areas(box[None, :]) + areas(boxes) - shared
    is_valid = union > 0
    ratio: Float32Array = xp.where(is_valid, shared, 0.0) / xp.where(is_valid, union, 1.0)
    return ratio


def nms(
    boxes: Float32Array, scores: Float32Array, labels: Int64Array, max_overlap: float, max_boxes: int
) -> Int64Array:
    """Greedy non-maximum suppression within each label.

    Takes the best box, drops those of its label that overlap it by more than `max_overlap`, and repeats. On a
    device every step waits for the one before it: move small numbers of boxes to the host first.

    Args:
        scores, labels: [n].

    Returns:
        Positions of the chosen boxes by descending score, equal scores by position; at most `max_boxes`.
    """
    xp = array_module(boxes)
    waiting = argsort(-scores)
    chosen: list[int] = []
    while waiting.shape[0] and len(chosen) < max_boxes:
        best, rest = waiting[0], waiting[1:]
        chosen.append(int(best))
        same = xp.take(labels, rest) == labels[int(best)]
        overlapping = overlaps(boxes[int(best), :], xp.take(boxes, rest, axis=0)) > max_overlap
        waiting = rest[~(same & overlapping)]
    positions: Int64Array = xp.asarray(chosen, dtype=xp.int64)
    return positions
