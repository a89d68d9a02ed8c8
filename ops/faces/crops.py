"""Square pictures of faces, cut from full resolution."""

from __future__ import annotations

import numpy as np

from framemill.ops.chunks import Float32Array, Frames, Int64Array, UInt8Array

# Each output pixel of a crop comes from four samples, so a face much larger than the crop would alias:
# it is cut at up to this many times the size and averaged down.
_MAX_OVERSAMPLING = 4


def square_around(boxes: Float32Array, factor: float) -> Float32Array:
    """Squares with the boxes' centres and `factor` times their longer sides, float32 [m, 4]."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) * (factor / 2)
    return np.concatenate([centres - halves, centres + halves], axis=1)


def crop_squares(frames: Frames, at: Int64Array, squares: Float32Array, side: int) -> UInt8Array:
    """Square regions of the full-resolution frames at `side` x `side` pixels without aliasing.

    Returns:
        uint8 [m, side, side, 3] RGB; parts outside the frame are black.
    """
    out = np.empty((len(at), side, side, 3), np.uint8)
    ratio = (squares[:, 2] - squares[:, 0]) / side
    steps = np.clip(2 ** np.floor(np.log2(np.maximum(ratio, 1))), 1, _MAX_OVERSAMPLING).astype(int)
    for step in np.unique(steps):
        ours = np.flatnonzero(steps == step)
        large = frames.crops(at[ours], squares[ours], (side * step, side * step))
        if step > 1:
            cells = large.reshape(len(ours), side, step, side, step, 3)
            large = np.rint(cells.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
        out[ours] = large
    return out
