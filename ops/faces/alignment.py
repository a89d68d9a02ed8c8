"""Five points of each face, found in full resolution, and the upright picture that embeddings take.

A detector runs on the whole frame at reduced size, so its points are accurate to pixels of that small
picture only; embeddings need them within a few per cent of the face. So the detector runs twice more on a
region around each face: first as it is, then turned upright by the points of the first pass. On the head-pose
clip (faces of 60 pixels) the least similarity of one person grows from 0.18 to 0.68, and the largest of two
people shrinks from 0.48 to 0.32 (measured with YuNet's points from the whole frame and with those from here).
Where `faces` has points, the first pass looks by them; without it, the least similarity is 0.15 with those of
yunet_2023mar (measured).
"""

from __future__ import annotations

import numpy as np

from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import BoolArray, Float32Array, Float64Array, Frames, UInt8Array
from framemill.ops.faces.crops import crop_squares, square_around
from framemill.ops.faces.detectors import FaceDetector
from framemill.ops.faces.rows import FaceRows

# Side of the region cut around a face, in sides of its box and in pixels. A turned view reaches beyond
# the shown part, and 384 / 3.5 = 110 pixels of face fill the picture that embeddings take.
REGION = 3.5
REGION_PIXELS = 384
# Height of what the landmark model sees, in sides of the box: its own training faces fill about this share.
VIEW = 2.6
# The first pass only has to find which way is up. In the second, faces turned upright score 0.99 and above
# with yunet_2022mar, backs of heads that the detector took for faces at most 0.9 and mostly under 0.6
# (measured); an entry states where its model parts them (`ModelEntry.sure_from`).
FIRST_SCORE = 0.3
# Largest distance of the points' centre from the face's, in sides of the box; beyond it is another face.
NEAR = 0.5
# Side of a square around a face without points, in longer sides of its box.
BOX_MARGIN = 1.2

# Where the five points lie in a picture of 112 x 112 pixels: the template of ArcFace (Deng et al.,
# arXiv:1801.07698), which models of that kind are trained with.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float64,
)
TEMPLATE_SIDE = 112


def align_faces(
    frames: Frames,
    faces: FaceRows,
    detector: FaceDetector,
    size: tuple[int, int],
    region_pixels: int = REGION_PIXELS,
) -> tuple[UInt8Array, BoolArray]:
    """Upright pictures of faces at the size that a model takes.

    Args:
        faces: not many: each takes up to 7 MB while it is worked on, or as many times more as there are more
            pixels in a region.
        detector: finds the five points.
        size: (width, height).
        region_pixels: side of the regions that are cut out.

    Returns:
        uint8 [m, height, width, 3] RGB, and whether each is aligned by points rather than by its box alone.
    """
    squares = square_around(faces.boxes, REGION)
    regions = crop_squares(frames, faces.at, squares, region_pixels)
    zoom = region_pixels / (squares[:, 2] - squares[:, 0]).astype(np.float64)
    centre = np.full((len(faces), 2), region_pixels / 2)
    sides = np.full(len(faces), region_pixels / REGION)
    middles, angles = centre, np.zeros(len(faces))
    given = None
    if faces.points is not None:  # from the whole frame: they tell where to look, and which way is up
        given = (faces.points - squares[:, None, :2]) * zoom[:, None, None]
        middles, angles = given.mean(axis=1), tilts(given)
    points, found = _find_points(regions, middles, sides, angles, detector, FIRST_SCORE)
    if given is not None:
        points, found = np.where(found[:, None, None], points, given), np.ones(len(faces), np.bool_)
    middles = np.where(found[:, None], points.mean(axis=1), centre)
    points, found = _find_points(regions, middles, sides, tilts(points) * found, detector, detector.sure_from)
    # Without points the template is laid over the box's square.
    squared = (TEMPLATE / TEMPLATE_SIDE - 0.5) * (sides * BOX_MARGIN)[:, None, None] + centre[:, None]
    points = np.where(found[:, None, None], points, squared)
    target = TEMPLATE * (np.array(size) / TEMPLATE_SIDE)
    aligned = np.empty((len(faces), size[1], size[0], 3), np.uint8)
    for region, warp, out in zip(regions, similarities(points, target), aligned, strict=True):
        cv2.warpAffine(region, warp, size, dst=out, flags=cv2.INTER_LINEAR)
    return aligned, found


def similarities(points: Float64Array, target: Float64Array) -> Float64Array:
    """The similarity transforms that bring points closest to a target in the least-squares sense.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991; in
    two dimensions, with reflections left out, the optimum has this closed form in complex numbers.

    Args:
        points: [m, k, 2]. target: [k, 2].

    Returns:
        float64 [m, 2, 3]: matrices for `cv2.warpAffine` from the points' picture to the target's.
    """
    middles, goal = points.mean(axis=1), target.mean(axis=0)
    ours = (points - middles[:, None]) @ np.array([1, 1j])
    theirs = (target - goal) @ np.array([1, 1j])
    spread = (np.abs(ours) ** 2).sum(axis=1)
    factor = (ours.conj() * theirs).sum(axis=1) / np.maximum(spread, 1e-9)
    matrix = np.empty((len(points), 2, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = factor.real
    matrix[:, 0, 1], matrix[:, 1, 0] = -factor.imag, factor.imag
    matrix[:, :, 2] = goal - np.einsum("mij,mj->mi", matrix[:, :, :2], middles)
    return matrix


def tilts(points: Float64Array) -> Float64Array:
    """Angle of the line between the eyes in radians, [m], 0 where it is level."""
    line = points[:, 1] - points[:, 0]
    angle: Float64Array = np.arctan2(line[:, 1], line[:, 0])
    return angle


def _find_points(
    regions: UInt8Array,
    middles: Float64Array,
    sides: Float64Array,
    tilts: Float64Array,
    detector: FaceDetector,
    least_score: float,
) -> tuple[Float64Array, BoolArray]:
    """Points of the faces at `middles`, found in views that are turned back by `tilts`.

    Returns:
        float64 [m, 5, 2] in the regions' pixels, and whether there were any; the others are 0.
    """
    wide, high = detector.size
    zoom = high / (VIEW * sides)
    turn = np.stack([np.cos(tilts) * zoom, np.sin(tilts) * zoom], axis=1)
    matrix = np.stack([turn, np.stack([-turn[:, 1], turn[:, 0]], axis=1)], axis=1)
    centre = np.array([wide / 2, high / 2])
    shift = centre - np.einsum("mij,mj->mi", matrix, middles)
    views = np.empty((len(regions), high, wide, 3), np.uint8)
    warps = np.concatenate([matrix, shift[:, :, None]], axis=2)
    for region, warp, view in zip(regions, warps, views, strict=True):
        cv2.warpAffine(region, warp, (wide, high), dst=view, flags=cv2.INTER_LINEAR)
    points = np.zeros((len(regions), 5, 2))
    seen = np.zeros(len(regions), np.bool_)
    for row, candidates in enumerate(detector.candidates(views, least_score)):
        best = _best(candidates.points, candidates.scores, centre, NEAR * high / VIEW)
        if best is not None:
            points[row] = (best - shift[row]) @ np.linalg.inv(matrix[row]).T
            seen[row] = True
    return points, seen


def _best(
    points: Float32Array | None, scores: Float32Array, centre: Float64Array, reach: float
) -> Float32Array | None:
    """The points of the best-scored face whose middle lies within `reach` of `centre`."""
    if points is None or not len(points):
        return None
    near = np.linalg.norm(points.mean(axis=1) - centre, axis=1) <= reach
    if not near.any():
        return None
    best: Float32Array = points[np.where(near, scores, -1).argmax()]
    return best
