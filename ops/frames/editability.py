"""Room for editing around each sampled frame: for crops, captions, and cuts before and after it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.ops.chunks import Float32Array, Float64Array, ShardInfo
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.objects.rows import ObjectRows, read_objects
from framemill.ops.operation import TableOp
from framemill.ops.pixels.boxes import areas

# A box this close to the edge, in sides of the frame, is taken to be cut off by it.
_EDGE = 0.005
# The lower third is looked at in cells of this many columns and rows.
_CAPTION_CELLS = (64, 24)


class Editability(TableOp):
    """One row a frame of `frames`; every object counts as something that has to stay in the picture."""

    name = "editability"
    after = ("frames", "objects", "scenes", "stretches")
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column(
                "crop_9x16",
                pa.float32(),
                "largest share of the objects' area, by score, that one upright 9:16 window keeps, 0..1; 1 "
                "where there is no object",
            ),
            column("crop_9x16_x", pa.float32(), "left edge of that window in display pixels, >= 0"),
            column("crop_1x1", pa.float32(), "the same for a square window, 0..1"),
            column("crop_1x1_x", pa.float32(), "left edge of the square window in display pixels, >= 0"),
            column("caption_room", pa.float32(), "share of the lower third that no object covers, 0..1"),
            column("num_cut_off", pa.int32(), "objects that reach an edge of the frame, >= 0"),
            column(
                "lead_in_seconds",
                pa.float64(),
                "steady picture before the frame: since its scene began or the camera last trembled, >= 0; 0 "
                "in a shaky stretch",
            ),
            column(
                "lead_out_seconds",
                pa.float64(),
                "steady picture from the frame on: until its scene ends or the camera trembles, >= 0; 0 in "
                "a shaky stretch",
            ),
        ]
    )

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        frames = upstream["frames"].sort_by("frame_index")
        index, seconds = frames["frame_index"].to_numpy(), frames["pts_seconds"].to_numpy()
        if not len(index):
            return self.schema.empty_table()
        objects = read_objects(upstream["objects"])
        starts = np.searchsorted(objects.frame_index, np.append(index, np.iinfo(np.int64).max))
        size = (source.width, source.height)
        rows = [
            _measures_of(objects.take(np.arange(start, stop)), size)
            for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        ]
        measures = [list(values) for values in zip(*rows, strict=True)]
        leads = steady_around(index, seconds, upstream["scenes"], upstream["stretches"])
        return pa.table([index, seconds, *measures, *leads], schema=self.schema)


def _measures_of(objects: ObjectRows, size: tuple[int, int]) -> tuple[float, float, float, float, float, int]:
    width, height = size
    upright = best_window(objects.boxes, objects.scores, size, 9 / 16)
    square = best_window(objects.boxes, objects.scores, size, 1.0)
    edge = np.array([width, height], np.float32) * _EDGE
    near = (objects.boxes[:, :2] <= edge) | (objects.boxes[:, 2:] >= np.array(size) - edge)
    return (*upright, *square, caption_room(objects.boxes, size), int(near.any(axis=1).sum()))


def best_window(
    boxes: Float32Array, weights: Float32Array, size: tuple[int, int], shape: float
) -> tuple[float, float]:
    """How much of some boxes fits into one window of a shape, as large as the frame allows.

    Args:
        boxes: float32 [m, 4] in pixels. weights: float32 [m], what a pixel of each counts.
        size: (width, height) of the frame. shape: width over height of the window.

    Returns:
        Share of the weighted area that it keeps, 0..1, and the window's left edge in pixels; of equal
        windows the one nearest the middle. A window wider than the frame is the frame's width, and then lower
        than the frame: it stands in the middle.
    """
    width, height = size
    wide, high = min(float(width), height * shape), min(float(height), width / shape)
    middle, top = (width - wide) / 2, (height - high) / 2
    exact = boxes.astype(np.float64)
    total = float((areas(boxes) * weights).sum())
    if total <= 0:
        return 1.0, middle
    # What is kept is linear in the window's place between the places where an edge meets a box's edge.
    edges = np.concatenate([exact[:, 0], exact[:, 2], exact[:, 0] - wide, exact[:, 2] - wide])
    places = np.unique(np.append(np.clip(edges, 0, width - wide), middle))
    across = _shared(exact[:, 0], exact[:, 2], places[:, None], places[:, None] + wide)
    down = _shared(exact[:, 1], exact[:, 3], top, top + high)
    kept = across @ (down * weights) / total
    good = places[kept >= kept.max() - 1e-6]
    return min(float(kept.max()), 1.0), float(good[np.abs(good - middle).argmin()])


def _shared(low: Float64Array, high: Float64Array, start: npt.ArrayLike, stop: npt.ArrayLike) -> Float64Array:
    """Length that ranges share with others."""
    shared: Float64Array = np.maximum(np.minimum(high, stop) - np.maximum(low, start), 0)
    return shared


def caption_room(boxes: Float32Array, size: tuple[int, int]) -> float:
    """Share of the frame's lower third that no box covers, 0..1."""
    columns, rows = _CAPTION_CELLS
    x = (np.arange(columns) + 0.5) / columns * size[0]
    y = (2 + (np.arange(rows) + 0.5) / rows) / 3 * size[1]
    in_x = (boxes[:, :1] <= x) & (x < boxes[:, 2:3])
    in_y = (boxes[:, 1:2] <= y) & (y < boxes[:, 3:])
    covered = (in_y[:, :, None] & in_x[:, None, :]).any(axis=0)
    return float(1 - covered.mean())


def steady_around(
    index: npt.NDArray[np.int64], seconds: Float64Array, scenes: pa.Table, stretches: pa.Table
) -> tuple[Float64Array, Float64Array]:
    """Seconds of steady picture of the same scene before each frame and from it on, float64 [n] each."""
    bounds = []
    for table in (scenes, _not_shaky(stretches)):
        table = table.sort_by("start_frame")
        first, stop = table["start_frame"].to_numpy(), table["end_frame"].to_numpy()
        start_seconds, end_seconds = table["start_seconds"].to_numpy(), table["end_seconds"].to_numpy()
        at = np.searchsorted(first, index, side="right") - 1
        inside = (at >= 0) & (index < np.append(stop, 0)[at])
        at = np.where(inside, at, 0)
        bounds.append(
            (
                np.where(inside, np.append(start_seconds, 0.0)[at], np.inf),
                np.where(inside, np.append(end_seconds, 0.0)[at], -np.inf),
            )
        )
    start = np.maximum(bounds[0][0], bounds[1][0])
    end = np.minimum(bounds[0][1], bounds[1][1])
    return np.maximum(seconds - start, 0.0), np.maximum(end - seconds, 0.0)


def _not_shaky(stretches: pa.Table) -> pa.Table:
    """Runs of stretches that are not shaky, joined."""
    rows = stretches.sort_by("start_frame")
    shaky = np.array([kind == "shaky" for kind in rows["kind"].to_pylist()], np.bool_)
    edges = np.flatnonzero(np.diff(np.concatenate([[True], shaky, [True]]).astype(np.int8)))
    firsts, lasts = edges[::2], edges[1::2] - 1
    return pa.table(
        {
            "start_frame": rows["start_frame"].to_numpy()[firsts],
            "end_frame": rows["end_frame"].to_numpy()[lasts],
            "start_seconds": rows["start_seconds"].to_numpy()[firsts],
            "end_seconds": rows["end_seconds"].to_numpy()[lasts],
        }
    )
