"""Arithmetic of boxes: letterboxing, overlap, and non-maximum suppression.

Boxes are float32 [n, 4] with columns x0, y0, x1, y1, half-open ranges in pixels.
"""

from __future__ import annotations

from math import inf

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
    """Area of each box [.., 4] in square pixels, float32 [..]; 0 where its edges are out of order."""
    xp = array_module(boxes)
    sides = xp.clip(boxes[..., 2:] - boxes[..., :2], 0.0, None)
    product: Float32Array = sides[..., 0] * sides[..., 1]
    return product


def overlaps(box: Float32Array, boxes: Float32Array) -> Float32Array:
    """Intersection over union of one box [4] with each of `boxes`, or of each [n, 4] with its partner.

    Returns:
        float32 [n], 0..1; 0 for empty boxes.
    """
    xp = array_module(boxes)
    low = xp.maximum(box[..., :2], boxes[..., :2])
    sides = xp.clip(xp.minimum(box[..., 2:], boxes[..., 2:]) - low, 0.0, None)
    shared = sides[..., 0] * sides[..., 1]
    union = areas(box) + areas(boxes) - shared
    is_valid = union > 0
    ratio: Float32Array = xp.where(is_valid, shared, 0.0) / xp.where(is_valid, union, 1.0)
    return ratio


def nms(
    boxes: Float32Array,
    scores: Float32Array,
    labels: Int64Array,
    max_overlap: float,
    max_boxes: int,
    frames: Int64Array | None = None,
) -> Int64Array:
    """Greedy non-maximum suppression within each label, of many frames in one pass.

    Takes the best box of every label of every frame at once, drops those of its own that overlap it by more
    than `max_overlap`, and repeats: as many rounds as the label with most boxes keeps, whatever their number.
    On a device every round waits for the one before it: move small numbers of boxes to the host first.

    Args:
        scores, labels: [n]. labels: >= 0. max_overlap: infinity keeps all.
        max_boxes: of one frame. frames: int64 [n] >= 0, the frame of each box; None where all are of one.

    Returns:
        Positions of the chosen boxes by frame, then by descending score, equal scores by position.
    """
    xp = array_module(boxes)
    groups = labels
    if frames is not None and labels.shape[0]:
        groups = frames * (xp.max(labels) + 1) + labels
    order = argsort(-scores)
    waiting = xp.take(order, argsort(xp.take(groups, order)))
    chosen = [] if max_overlap != inf else [waiting]
    while waiting.shape[0] and max_overlap != inf and len(chosen) < max_boxes:
        group = xp.take(groups, waiting)
        is_best = xp.concat([xp.ones(1, dtype=xp.bool), group[1:] != group[:-1]])
        best = waiting[is_best]
        chosen.append(best)
        rest = waiting[~is_best]
        mine = xp.take(best, (xp.cumulative_sum(xp.astype(is_best, xp.int64)) - 1)[~is_best])
        overlapping = overlaps(xp.take(boxes, mine, axis=0), xp.take(boxes, rest, axis=0)) > max_overlap
        waiting = rest[~overlapping]
    if not chosen:
        return xp.zeros(0, dtype=xp.int64)  # type: ignore[no-any-return]
    positions: Int64Array = xp.sort(xp.concat(chosen))
    positions = xp.take(positions, argsort(-xp.take(scores, positions)))
    if frames is None:
        return positions[:max_boxes]
    positions = xp.take(positions, argsort(xp.take(frames, positions)))
    frame = xp.take(frames, positions)
    first: Int64Array = positions[xp.arange(frame.shape[0]) - xp.searchsorted(frame, frame) < max_boxes]
    return first
