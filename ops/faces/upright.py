"""Faces turned upright by the five points that their detector found in the whole frame.

For what looks at a face as a whole this is enough; embeddings look for the points again, at full resolution
(`framemill.ops.faces.alignment`).
"""

from __future__ import annotations

import numpy as np

from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Float64Array, Frames, UInt8Array
from framemill.ops.faces.alignment import TEMPLATE, TEMPLATE_SIDE, similarities, tilts
from framemill.ops.faces.crops import crop_squares, square_around
from framemill.ops.faces.rows import FaceRows

# Side of the region that is cut out around a face, in longer sides of its box: a turned box fits in.
REGION = 2.0


def to_template(faces: FaceRows, size: tuple[int, int]) -> Float64Array:
    """Transforms that bring the points to where ArcFace has them: float64 [m, 2, 3], frame to picture."""
    return similarities(_points(faces), TEMPLATE * (np.array(size) / TEMPLATE_SIDE))


def to_level_box(faces: FaceRows, size: tuple[int, int]) -> Float64Array:
    """Transforms that turn boxes by the line between the eyes and stretch them over the picture.

    float64 [m, 2, 3], from the frame to a picture of (width, height).
    """
    boxes = faces.boxes.astype(np.float64)
    angles = tilts(_points(faces))
    zoom = np.array(size) / np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    turn = np.stack([np.cos(angles), np.sin(angles), -np.sin(angles), np.cos(angles)], axis=1).reshape(
        -1, 2, 2
    )
    matrix = turn * zoom[:, :, None]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    shift = np.array(size) / 2 - np.einsum("mij,mj->mi", matrix, centres)
    return np.concatenate([matrix, shift[:, :, None]], axis=2)


def warped(frames: Frames, faces: FaceRows, transforms: Float64Array, size: tuple[int, int]) -> UInt8Array:
    """Pictures of faces by transforms from the frame, uint8 [m, height, width, 3] RGB; outside is black."""
    squares = square_around(faces.boxes, REGION)
    pixels = round(REGION * max(size))
    regions = crop_squares(frames, faces.at, squares, pixels)
    out = np.empty((len(faces), size[1], size[0], 3), np.uint8)
    for region, square, transform, picture in zip(regions, squares, transforms, out, strict=True):
        side = float(square[2] - square[0]) / pixels  # pixels of the frame for one of the region
        from_region = np.concatenate(
            [transform[:, :2] * side, transform[:, :2] @ square[:2, None] + transform[:, 2:]], axis=1
        )
        cv2.warpAffine(region, from_region, size, dst=picture, flags=cv2.INTER_LINEAR)
    return out


def _points(faces: FaceRows) -> Float64Array:
    assert faces.points is not None
    return faces.points.astype(np.float64)
