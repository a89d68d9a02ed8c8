"""Defects of each sampled frame: blur, exposure, noise, blocks, bars (frozen or shaky: see `stretches`)."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from framemill.ops.chunks import Frames
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.frames.frames import LUMA_LONG_SIDE, working_size
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.defects import measure_defects


class Quality(FrameOp):
    """One row a frame. Noise and blocks are measured at full size, the rest where the long side is 512."""

    name = "quality"
    on_device = True
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column(
                "blur",
                pa.float32(),
                "perceived blur (Crete et al. 2007), 0 (sharp) to 1 (flat); blurred above about 0.5",
            ),
            column("underexposed", pa.float32(), "share of pixels within 5% of black, 0..1"),
            column("overexposed", pa.float32(), "share of pixels within 5% of white, 0..1"),
            column(
                "noise",
                pa.float32(),
                "standard deviation of noise (Immerkaer 1996) in 8-bit steps, >= 0; fine texture adds to it",
            ),
            column(
                "blockiness",
                pa.float32(),
                "steps across an 8 x 8 grid over steps elsewhere (after Wang, Sheikh and Bovik 2002), >= 0; "
                "about 1 without visible blocks; says nothing where pixels are not shown as they were coded",
            ),
            *(
                column(
                    f"bar_{side}",
                    pa.float32(),
                    f"black bar at the {side}, as a share of the frame's {extent}, 0..1 (limit as in "
                    "FFmpeg's cropdetect); 0 in a black frame",
                )
                for side, extent in (
                    ("left", "width"),
                    ("top", "height"),
                    ("right", "width"),
                    ("bottom", "height"),
                )
            ),
            column(
                "is_black",
                pa.bool_(),
                "whether 98% of the pixels are within 10% of black (limits of FFmpeg's blackdetect)",
            ),
        ]
    )

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        if not len(frames):
            return self.schema.empty_table()
        small = frames.luma(working_size(frames.width, frames.height, LUMA_LONG_SIDE))
        found = measure_defects(small, frames.luma())
        rows = [(d.blur, d.dark, d.bright, d.noise, d.blockiness, *d.bars, d.is_black) for d in found]
        measures = [list(values) for values in zip(*rows, strict=True)]
        return pa.table([frames.frame_index, frames.pts_seconds, *measures], schema=self.schema)
