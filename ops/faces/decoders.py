"""Decoding the raw outputs of face detectors, by family.

UltraFace: github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB; boxes come decoded.
YuNet: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023. Its releases of 2021 and 2022
have priors of several sizes per cell, that of 2023 has one anchor-free guess per cell.
SCRFD: Guo et al., arXiv:2105.04714; two guesses per cell, as distances from the cell's corner.

Each function takes the outputs for one picture as float32 [rows, columns] by name, and the picture's
(width, height); it raises `OutputError` where the shapes are not those of the family.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from framemill.ops.chunks import Float32Array

Outputs = Mapping[str, Float32Array]
# Sides of the square priors in pixels, per stride 8, 16, 32, 64: the same in UltraFace and YuNet.
_PRIOR_SIDES = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))
# Centres are stated in tenths, the logarithm of sizes in fifths of the prior (SSD's "variances").
_CENTRE_UNIT, _SIZE_UNIT = 0.1, 0.2
_STRIDES = (8, 16, 32)


class Candidates(NamedTuple):
    """Faces before non-maximum suppression.

    Attributes:
        scores: float32 [k], 0..1. boxes: float32 [k, 4] in the model's pixels.
        points: float32 [k, 5, 2], x and y of the eye on the picture's left, the other eye, the tip of the
            nose, the corner of the mouth on the picture's left, and the other; None where there are none.
    """

    scores: Float32Array
    boxes: Float32Array
    points: Float32Array | None


class OutputError(Exception):
    """Outputs are not those of the family; the text says which were expected."""


def _expect(outputs: Outputs, shapes: Mapping[str, tuple[int, int]]) -> list[Float32Array]:
    if any(name not in outputs or outputs[name].shape != shape for name, shape in shapes.items()):
        raise OutputError({name: list(shape) for name, shape in shapes.items()})
    return [outputs[name] for name in shapes]


def decode_ultraface(outputs: Outputs, size: tuple[int, int]) -> Candidates:
    """UltraFace of any size."""
    rows = sum(
        len(sides) * -(-size[0] // stride) * -(-size[1] // stride)
        for sides, stride in zip(_PRIOR_SIDES, (8, 16, 32, 64), strict=True)
    )
    scores, boxes = _expect(outputs, {"scores": (rows, 2), "boxes": (rows, 4)})
    return Candidates(scores[:, 1], boxes * np.array(size * 2, np.float32), None)


def decode_yunet(outputs: Outputs, size: tuple[int, int]) -> Candidates:
    """YuNet of 2022 or 2023, told apart by the names of the outputs."""
    return _yunet_cells(outputs, size) if "cls_8" in outputs else _yunet_priors(outputs, size)


def _yunet_priors(outputs: Outputs, size: tuple[int, int]) -> Candidates:
    centres, sides = _priors(size)
    rows = len(centres)
    loc, conf, iou = _expect(outputs, {"loc": (rows, 14), "conf": (rows, 2), "iou": (rows, 1)})
    middles = centres + loc[:, :2] * (_CENTRE_UNIT * sides)
    halves = sides * np.exp(loc[:, 2:4] * _SIZE_UNIT) / 2
    points = centres[:, None] + loc[:, 4:].reshape(-1, 5, 2) * (_CENTRE_UNIT * sides[:, None])
    scores = np.sqrt(conf[:, 1] * np.clip(iou[:, 0], 0, 1))
    return Candidates(scores, np.concatenate([middles - halves, middles + halves], axis=1), points)


def _yunet_cells(outputs: Outputs, size: tuple[int, int]) -> Candidates:
    found = []
    for stride in _STRIDES:
        corners = _corners(size, stride)
        shapes = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
        classes, objects, boxes, points = _expect(
            outputs, {f"{name}_{stride}": (len(corners), width) for name, width in shapes.items()}
        )
        middles = corners + boxes[:, :2] * stride
        halves = np.exp(boxes[:, 2:]) * stride / 2
        found.append(
            Candidates(
                np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1)),
                np.concatenate([middles - halves, middles + halves], axis=1),
                corners[:, None] + points.reshape(-1, 5, 2) * stride,
            )
        )
    return _joined(found)


def decode_scrfd(outputs: Outputs, size: tuple[int, int]) -> Candidates:
    """SCRFD with or without points."""
    # Exports name the outputs by number, but no two have the same shape.
    by_shape = {values.shape: values for values in outputs.values()}
    found = []
    widths = (1, 4, 10) if any(values.shape[1] == 10 for values in outputs.values()) else (1, 4)
    for stride in _STRIDES:
        corners = _corners(size, stride).repeat(2, axis=0)
        shapes = [(len(corners), width) for width in widths]
        if len(outputs) != len(_STRIDES) * len(widths) or any(shape not in by_shape for shape in shapes):
            raise OutputError(
                f"per stride {_STRIDES} scores, boxes and mostly points, such as {shapes} for stride {stride}"
            )
        scores, sides, *points = (by_shape[shape] for shape in shapes)
        boxes = np.concatenate([corners - sides[:, :2] * stride, corners + sides[:, 2:] * stride], axis=1)
        marks = corners[:, None] + points[0].reshape(-1, 5, 2) * stride if points else None
        found.append(Candidates(scores[:, 0], boxes, marks))
    return _joined(found)


def _joined(found: list[Candidates]) -> Candidates:
    points = [part.points for part in found if part.points is not None]
    return Candidates(
        np.concatenate([part.scores for part in found]),
        np.concatenate([part.boxes for part in found]),
        np.concatenate(points) if points else None,
    )


@lru_cache(maxsize=16)
def _corners(size: tuple[int, int], stride: int) -> Float32Array:
    """Top left corner of each cell in pixels, float32 [cells, 2], row by row."""
    rows, columns = np.mgrid[: -(-size[1] // stride), : -(-size[0] // stride)]
    return (np.stack([columns.ravel(), rows.ravel()], axis=1) * stride).astype(np.float32)


@lru_cache(maxsize=8)
def _priors(size: tuple[int, int]) -> tuple[Float32Array, Float32Array]:
    """Centre, float32 [rows, 2], and side, float32 [rows, 1], of YuNet's priors in pixels."""
    # The network halves twice before the first map, rounding up once, and then down each time.
    wide, high = (size[0] + 1) // 2 // 2, (size[1] + 1) // 2 // 2
    centres, lengths = [], []
    for stride, sides in zip((8, 16, 32, 64), _PRIOR_SIDES, strict=True):
        wide, high = wide // 2, high // 2
        rows, columns = np.mgrid[:high, :wide]
        middle = (np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5) * stride
        centres.append(middle.repeat(len(sides), axis=0))
        lengths.append(np.tile(sides, high * wide))
    return np.concatenate(centres).astype(np.float32), np.concatenate(lengths)[:, None].astype(np.float32)
