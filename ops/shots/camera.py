"""How a camera moved between two pictures: points are followed, and most of them tell what the camera did.

Lucas and Kanade, "An iterative image registration technique with an application to stereo vision", 1981;
Shi and Tomasi, "Good features to track", 1994; RANSAC: Fischler and Bolles, 1981.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import BoolArray, Float32Array, Float64Array, ShardInfo, UInt8Array

# One point in each cell, so that a part of the picture with much detail counts no more than any other.
_CELLS = 12  # along the longer side
# Smallest eigenvalue of a cell's corner. Noise of 4 levels has none; at four times as much, the empty road of
# a street scene had hardly a point, and the cars on it decided what the camera did.
_LEAST_CORNER = 5e-5
_CORNER_SAMPLES = 5
_LEAST_POINTS = 8
# What follows a point. Larger windows, more rounds and fewer levels changed the error by less than a tenth of
# it, at up to twice the cost: 0.15 pixels of 1280 in the median, 0.3 in nine of ten cases (shifts up to 60
# pixels, growth up to 6%, turns up to 4 degrees, on samples 8 pixels apart with noise).
_WINDOW, _LEVELS, _ROUNDS = 11, 3, 5
# Long sides by which a point may differ from the camera's move and still count as moved by it: one sample.
FITS = 0.004
# Share of the points that have to agree. Between pictures of different shots 6% do, at most.
_LEAST_SHARE = 0.2
# Where so many points, by those that the largest group has, stay where they are, it is the group that moves
# and the camera stands: behind a camera that moves hardly anything stays.
_STANDING = 0.5
# Mean difference in levels of flat pictures that are the same but for coding noise, as in `stretches`.
_SAME = 0.255


@dataclass(frozen=True, slots=True)
class CameraStep:
    """How the picture as it is shown changed from one look at it to the next.

    Attributes:
        shift_x, shift_y: of its middle, to the right and down, in long sides of the picture.
        scale: factor by which it grew, > 0. roll_degrees: by which it turned clockwise.
        tracked: share of the points that moved so, 0..1.
        movement: mean way of all points, in long sides. own_movement: the same less the camera's part.
    """

    shift_x: float
    shift_y: float
    scale: float
    roll_degrees: float
    tracked: float
    movement: float
    own_movement: float


_STANDS = CameraStep(0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)


def view_of(shard: ShardInfo, shape: tuple[int, ...]) -> Float64Array:
    """What takes places in a plane, -0.5 to 0.5, to the picture as it is shown, in its long sides; [2, 2].

    Args:
        shape: height and width of the plane.
    """
    width, height = (shard.width, shard.height) if shard.width and shard.height else (shape[1], shape[0])
    longer = max(width, height)
    mirrored = np.diag([-1.0 if shard.is_mirrored else 1.0, 1.0])
    turned = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), shard.rotation_quarters)
    view: Float64Array = np.diag([width / longer, height / longer]) @ turned @ mirrored
    return view


def measure_camera(before: UInt8Array, after: UInt8Array, view: Float64Array) -> CameraStep | None:
    """The step between two planes uint8 [h, w]; None where too few points agree on one.

    Args:
        view: of `view_of`.
    """
    difference = cv2.norm(before, after, cv2.NORM_L1) / before.size
    if difference == 0:
        return _STANDS
    before, after = (np.asarray(cv2.GaussianBlur(plane, (3, 3), 0), np.uint8) for plane in (before, after))
    points = _corners(before)
    if len(points) < _LEAST_POINTS:
        return _STANDS if difference <= _SAME else None
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ROUNDS, 0.03)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, None, winSize=(_WINDOW, _WINDOW), maxLevel=_LEVELS, criteria=criteria  # type: ignore[call-overload]
    )  # fmt: skip
    is_found = found.ravel() > 0
    if is_found.sum() < _LEAST_POINTS:
        return None
    size = np.array(before.shape[::-1])
    start, end = (((each[is_found] + 0.5) / size - 0.5) @ view.T for each in (points, moved))
    fit = _fitted(start, end)
    if fit is None:
        return None
    matrix, fits = fit
    share = float(fits.sum() / len(points))
    if share < _LEAST_SHARE:
        return None
    own = end - (start @ matrix[:, :2].T + matrix[:, 2])
    return CameraStep(
        shift_x=float(matrix[0, 2]),
        shift_y=float(matrix[1, 2]),
        scale=math.hypot(matrix[0, 0], matrix[1, 0]),
        roll_degrees=math.degrees(math.atan2(matrix[1, 0], matrix[0, 0])),
        tracked=share,
        movement=float(np.linalg.norm(end - start, axis=1).mean()),
        own_movement=float(np.linalg.norm(own, axis=1).mean()),
    )


def _corners(plane: UInt8Array) -> Float32Array:
    """The best corner of each cell as x, y, float32 [n, 2], where that is a good one."""
    # At half the size, which is fine enough to choose by and takes a quarter of the time.
    half = cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    strength = np.asarray(cv2.cornerMinEigenVal(half, _CORNER_SAMPLES))
    side = max(1, max(half.shape) // _CELLS)
    rows, columns = (length // side for length in half.shape)
    grid = strength[: rows * side, : columns * side].reshape(rows, side, columns, side)
    cells = grid.transpose(0, 2, 1, 3).reshape(rows * columns, side * side)
    best = cells.argmax(axis=1)
    row, column = np.divmod(np.arange(len(cells)), max(columns, 1))
    places = np.stack([column * side + best % side, row * side + best // side], axis=1)
    good: Float32Array = places[cells[np.arange(len(cells)), best] >= _LEAST_CORNER].astype(np.float32)
    return 2 * good + 0.5


def _fitted(start: Float64Array, end: Float64Array) -> tuple[Float64Array, BoolArray] | None:
    """Shift, growth and turn that most points share, as a matrix [2, 3], and which points these are."""
    matrix, fits = _similarity(start, end)
    if matrix is None:
        return None
    stays = np.linalg.norm(end - start, axis=1) < FITS
    moves = fits & ~stays
    if 2 * moves.sum() > fits.sum() and stays.sum() >= max(_LEAST_POINTS // 2, _STANDING * fits.sum()):
        standing, _ = _similarity(start[stays], end[stays])
        if standing is not None:
            return standing, stays
    return matrix, fits


def _similarity(start: Float64Array, end: Float64Array) -> tuple[Float64Array | None, BoolArray]:
    matrix, fits = cv2.estimateAffinePartial2D(
        start, end, method=cv2.RANSAC, ransacReprojThreshold=FITS, maxIters=200, confidence=0.99
    )
    return matrix, fits.ravel() > 0  # type: ignore[return-value]
