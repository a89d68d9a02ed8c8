"""Text detection: pictures for a DB network, and rectangles from its probability map.

DB: Liao et al., "Real-time Scene Text Detection with Differentiable Binarization", arXiv:1911.08947. The
network gives each pixel the probability of lying in the shrunk core of a line of text; each core is
wrapped in its smallest rectangle, which is grown back by area * UNCLIP / perimeter. Sizes and thresholds
are those with which RapidOCR runs PaddleOCR's models, so that both find the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Float32Array, UInt8Array
from framemill.ops.pixels.model_input import planes

SHORT_SIDE = 736  # smaller pictures are enlarged to it
LONG_SIDE = 2000  # larger ones are reduced to it
LONGEST_SIDE = 4 * SHORT_SIDE  # bounds the memory that very wide or tall pictures take
STRIDE = 32  # the sides of its input are multiples of it
CORE = 0.3  # least probability of a pixel of a core
UNCLIP = 1.6
MIN_CORE = 3.0  # pixels of the map
ARC = np.deg2rad(5.0)
LINE_PITCH = 10.0  # pixels between the tops of lines; closer ones are read from left to right


def picture_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the network's input for a frame of this size."""
    scale = min(1.0, LONG_SIDE / max(width, height))
    scale *= max(1.0, SHORT_SIDE / (scale * min(width, height)))
    scale = min(scale, LONGEST_SIDE / max(width, height))
    across, down = (max(STRIDE, round(int(side * scale) / STRIDE) * STRIDE) for side in (width, height))
    return across, down


def detect_text(
    pictures: Sequence[UInt8Array], model: Model, least_score: float, max_lines: int
) -> list[Float32Array]:
    """Lines of text in frames of one size.

    Args:
        pictures: uint8 [height, width, 3] RGB each.
        least_score: least mean probability within the core of a line, 0..1.
        max_lines: most cores considered in a frame.

    Returns:
        For each frame float32 [k, 4, 2]: corners x, y in the frame's pixels, clockwise from the top left,
        in reading order.

    Raises:
        ModelError: the model gives no map of the size of its picture.
    """
    height, width = pictures[0].shape[:2]
    size = picture_size(width, height)
    scaled = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR) for picture in pictures])
    batch = planes(
        scaled.astype(np.uint8, copy=False), model.entry.colour, model.entry.mean, model.entry.scale
    )
    found = []
    for probability in _probabilities(batch, model):
        quads = _grown_rectangles(probability, least_score, max_lines)
        quads = np.rint(quads * np.array([width / size[0], height / size[1]], np.float32))
        found.append(reading_order(_clipped(quads, width, height)))
    return found


def _probabilities(batch: Float32Array, model: Model) -> Float32Array:
    maps: Float32Array
    if model.entry.batching == "none":  # such files may give one map without a batch axis
        parts = [next(iter(model.runner.run_whole({"x": row[None]}).values())) for row in batch]
        maps = np.stack([np.squeeze(part) for part in parts])
    else:
        maps = next(iter(model.runner.run({"x": batch}).values()))
        if maps.ndim == 4 and maps.shape[1] == 1:
            maps = maps[:, 0]
    wanted = (len(batch), *batch.shape[2:])
    if maps.shape != wanted:
        raise ModelError(
            f"text: model {model.entry.name} gives {list(maps.shape)} for a picture of "
            f"{batch.shape[3]} x {batch.shape[2]}; a text detector gives {list(wanted)} probabilities"
        )
    return maps


def _grown_rectangles(probability: Float32Array, least_score: float, max_lines: int) -> Float32Array:
    """Rectangles around the lines of one map, float32 [k, 4, 2] in its pixels, in no particular order."""
    cores = cv2.dilate((probability > CORE).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(cores, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for contour in contours[:max_lines]:
        rectangle = cv2.minAreaRect(contour)
        if min(rectangle[1]) < MIN_CORE:
            continue
        quad = clockwise(cv2.boxPoints(rectangle))
        if _mean_within(probability, quad) < least_score:
            continue
        area, perimeter = cv2.contourArea(quad), cv2.arcLength(quad, True)
        grown = cv2.minAreaRect(grow(quad, area * UNCLIP / perimeter))
        if min(grown[1]) >= MIN_CORE + 2:
            found.append(clockwise(cv2.boxPoints(grown)))
    return np.array(found, np.float32).reshape(-1, 4, 2)


def _mean_within(probability: Float32Array, quad: Float32Array) -> float:
    high, wide = probability.shape
    x0, y0 = np.clip(np.floor(quad.min(axis=0)), 0, (wide - 1, high - 1)).astype(int)
    x1, y1 = np.clip(np.ceil(quad.max(axis=0)), 0, (wide - 1, high - 1)).astype(int)
    mask = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.uint8)
    cv2.fillPoly(mask, [(quad - (x0, y0)).astype(np.int32)], (1,))
    return float(cv2.mean(probability[y0 : y1 + 1, x0 : x1 + 1], mask)[0])


def grow(quad: Float32Array, distance: float) -> Float32Array:
    """Points of the outline at a distance around a convex quadrangle, with round corners.

    Corners are cut and the outline rounded to whole pixels, as Clipper's integer offsetting does it.

    Args:
        quad: float32 [4, 2], clockwise as seen (y points down).

    Returns:
        float32 [m, 2]; the outline is their convex hull.
    """
    corners = quad.astype(np.int32).astype(np.float64)
    edges = np.roll(corners, -1, axis=0) - corners
    outward = np.arctan2(-edges[:, 0], edges[:, 1])
    points = []
    for corner, before, after in zip(corners, np.roll(outward, 1), outward, strict=True):
        turn = (after - before) % (2 * np.pi)
        angles = before + np.linspace(0.0, turn, 2 + int(turn / ARC))
        points.append(corner + distance * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    outline: Float32Array = np.rint(np.concatenate(points)).astype(np.float32)
    return outline


def clockwise(quad: npt.NDArray[Any]) -> Float32Array:
    """The corners of a quadrangle from the top left: the upper of the two on the left, then clockwise."""
    by_x = quad[np.argsort(quad[:, 0], kind="stable")]
    left, right = (pair[np.argsort(pair[:, 1], kind="stable")] for pair in (by_x[:2], by_x[2:]))
    return np.array([left[0], right[0], right[1], left[1]], np.float32)


def _clipped(quads: Float32Array, width: int, height: int) -> Float32Array:
    """Within the frame; those that are at most three pixels wide or high are dropped."""
    if not len(quads):
        return quads
    inside = np.stack([clockwise(quad) for quad in quads])
    inside = np.clip(inside, 0, np.array([width - 1, height - 1], np.float32))
    across = np.linalg.norm(inside[:, 0] - inside[:, 1], axis=1)
    down = np.linalg.norm(inside[:, 0] - inside[:, 3], axis=1)
    kept: Float32Array = inside[np.minimum(across, down) >= 4]
    return kept


def reading_order(quads: Float32Array) -> Float32Array:
    """Top to bottom, and left to right where tops are less than `LINE_PITCH` pixels below the one before."""
    if not len(quads):
        return quads
    quads = quads[np.argsort(quads[:, 0, 1], kind="stable")]
    line = np.cumsum(np.diff(quads[:, 0, 1], prepend=quads[0, 0, 1]) >= LINE_PITCH)
    ordered: Float32Array = quads[np.lexsort((quads[:, 0, 0], line))]
    return ordered
