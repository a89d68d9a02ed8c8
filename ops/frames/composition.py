"""Composition of each sampled frame: place and size of the subject, rule of thirds, saliency, symmetry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from framemill.ops.chunks import Frames, UInt8Array
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.objects.rows import ObjectRows, read_objects
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.saliency import SALIENCY_SIDE, centre, share_within, spectral_residual

_FLAT = 1.0  # standard deviation in levels below which a picture is even by itself


class Composition(FrameOp):
    """One row a frame. The subject is the object with the largest score times share of the saliency."""

    name = "composition"
    after = ("objects",)
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column(
                "subject_index",
                pa.int32(),
                "object_index of the subject: the object with the largest score times share of the saliency "
                "within its box; null where no object was found",
                nullable=True,
            ),
            column("subject_x", pa.float32(), "its centre from the left, 0..1; null without", nullable=True),
            column("subject_y", pa.float32(), "its centre from the top, 0..1; null without", nullable=True),
            column("subject_share", pa.float32(), "of the frame's area, 0..1; null without", nullable=True),
            column(
                "subject_saliency",
                pa.float32(),
                "share of the frame's saliency within its box, 0..1; null without",
                nullable=True,
            ),
            column(
                "headroom",
                pa.float32(),
                "from the frame's top to the subject's, in heights of the frame, 0..1; null without",
                nullable=True,
            ),
            column(
                "thirds_distance",
                pa.float32(),
                "from the subject's centre (without one, from the saliency's) to the nearest of the four "
                "points where the lines of thirds cross, in diagonals of the frame stretched to a square, "
                "0 (on it) to 0.33 (in a corner); rule of thirds as in Datta et al., ECCV 2006",
            ),
            column(
                "saliency_x", pa.float32(), "centre of the saliency (Hou and Zhang 2007) from the left, 0..1"
            ),
            column("saliency_y", pa.float32(), "centre of the saliency from the top, 0..1"),
            column(
                "symmetry",
                pa.float32(),
                "correlation of the luma at 64 x 64 with its mirror image, -1 to 1 (even, or flat)",
            ),
        ]
    )

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        if not len(frames):
            return self.schema.empty_table()
        objects = read_objects(upstream["objects"])
        starts = objects.starts(frames)
        sides = np.array((frames.width, frames.height) * 2, np.float32)
        rows = []
        for i, luma in enumerate(frames.luma((SALIENCY_SIDE, SALIENCY_SIDE))):
            here = objects.take(np.arange(starts[i], starts[i + 1]))
            rows.append(_compose(luma, replace(here, boxes=here.boxes / sides)))
        measures = [
            pa.array(values, field.type)
            for values, field in zip(zip(*rows, strict=True), list(self.schema)[2:], strict=True)
        ]
        columns = [pa.array(frames.frame_index), pa.array(frames.pts_seconds), *measures]
        return pa.table(columns, schema=self.schema)


def _compose(luma: UInt8Array, objects: ObjectRows) -> tuple[float | None, ...]:
    """The measures of one frame in the schema's order; boxes are shares of the frame's sides."""
    saliency = spectral_residual(luma)
    focus = centre(saliency)
    subject: tuple[float | None, ...] = (None,) * 6
    place = focus
    if len(objects):
        shares = share_within(saliency, objects.boxes)
        best = int(np.argmax(objects.scores * shares))
        x0, y0, x1, y1 = objects.boxes[best].tolist()
        place = (x0 + x1) / 2, (y0 + y1) / 2
        size = (x1 - x0) * (y1 - y0)
        subject = (int(objects.object_index[best]), *place, size, float(shares[best]), y0)
    return (*subject, thirds_distance(*place), *focus, symmetry(luma))


def thirds_distance(x: float, y: float) -> float:
    """From a place, 0..1 each way, to the nearest crossing of the lines of thirds, over the diagonal."""
    off_x, off_y = (min(abs(value - 1 / 3), abs(value - 2 / 3)) for value in (x, y))
    return float(np.hypot(off_x, off_y) / np.sqrt(2))


def symmetry(luma: UInt8Array) -> float:
    """Pearson correlation of a picture with its mirror image, -1..1; 1 where it is flat."""
    picture = luma.astype(np.float64)
    picture -= picture.mean()
    power = float((picture**2).sum())
    if power < _FLAT**2 * picture.size:
        return 1.0
    return float((picture * picture[:, ::-1]).sum() / power)
